//! Which vector instructions to use, and the macro that compiles one loop for each of them.

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    Portable,
    Avx2,
    Avx512,
    /// AVX-512 with products of bf16 pairs: for matrix products, the rest is as with `Avx512`.
    Avx512Bf16,
}

/// The widest instruction set that this processor has.
fn detected() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        if avx2 && avx512 && is_x86_feature_detected!("avx512bf16") {
            return Isa::Avx512Bf16;
        }
        if avx2 && avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Portable
}

#[cfg(not(test))]
pub(super) fn isa() -> Isa {
    detected()
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// Makes kernels on this thread use an instruction set, as far as the processor has it.
#[cfg(test)]
pub fn force(isa: Isa) {
    FORCED.set(Some(isa));
}

#[cfg(test)]
pub(super) fn isa() -> Isa {
    FORCED.get().map_or(detected(), |forced| forced.min(detected()))
}

/// Defines functions whose body is compiled once for each instruction set and chosen when called.
///
/// The type parameter named in angle brackets is the instruction set; bodies hand it to the functions of `lanes`. Everything a body calls must be `#[inline(always)]`, else it is compiled for the baseline.
macro_rules! vectorised {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$i:ident>($($arg:ident: $ty:ty),* $(,)?)
        $(-> $ret:ty)? $body:block)+) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$i: $crate::kernels::cpu::vectors::Vectors>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::kernels::cpu::vectors::Avx512>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::kernels::cpu::vectors::Avx2>($($arg),*)
            }

            match $crate::kernels::cpu::isa::isa() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` names an instruction set only after detecting it on this processor
                $crate::kernels::cpu::isa::Isa::Avx512Bf16 | $crate::kernels::cpu::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above
                $crate::kernels::cpu::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => body::<$crate::kernels::cpu::vectors::Portable>($($arg),*),
            }
        }
    )+};
}
