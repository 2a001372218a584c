//! Which vector instructions to use, and the macro that compiles one loop for each of them.

use std::ffi::OsStr;
use std::sync::LazyLock;

/// The variable of the environment that names the instruction set to use, for comparing processors on one machine.
pub const VARIABLE: &str = "DINOFLOW_ISA";

/// The instruction sets that kernels are compiled for, each with all that stand before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    Portable,
    Avx2,
    Avx512,
    /// AVX-512 with products of bf16 pairs: for matrix products, the rest is as with `Avx512`.
    Avx512Bf16,
}

impl Isa {
    const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

    /// The word for it in [`VARIABLE`].
    pub fn word(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
        }
    }

    /// Those that this processor has, the narrowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| *isa <= detected())
    }
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

/// What [`VARIABLE`] asks for: the widest of all where it is not set or empty.
fn chosen(word: Option<&OsStr>) -> Result<Isa, String> {
    let Some(word) = word.filter(|word| !word.is_empty()) else { return Ok(detected()) };
    match Isa::ALL.into_iter().find(|isa| word == isa.word()) {
        Some(isa) if isa <= detected() => Ok(isa),
        Some(isa) => {
            let has = listing(Isa::available());
            Err(format!("{VARIABLE}={}: this processor has not got it; expected {has}", isa.word()))
        }
        None => {
            let known = listing(Isa::ALL.into_iter());
            Err(format!("{VARIABLE}={}: no such instruction set; expected {known}", word.display()))
        }
    }
}

fn listing(all: impl Iterator<Item = Isa>) -> String {
    all.map(Isa::word).collect::<Vec<_>>().join(", ")
}

/// Asked once: a process computes all its numbers with the same instructions.
static CHOSEN: LazyLock<Result<Isa, String>> =
    LazyLock::new(|| chosen(std::env::var_os(VARIABLE).as_deref()));

/// The instruction set that kernels use: the widest that this processor has, or the one that [`VARIABLE`] names.
///
/// # Errors
/// When that is unknown, or the processor has not got it. Whoever goes on all the same meets a panic in the first kernel:
/// numbers by other instructions than were asked for would be worth nothing.
pub fn instructions() -> Result<Isa, String> {
    CHOSEN.clone()
}

fn found() -> Isa {
    match &*CHOSEN {
        Ok(isa) => *isa,
        Err(text) => panic!("{text}"),
    }
}

#[cfg(not(test))]
pub(super) fn isa() -> Isa {
    found()
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
    FORCED.get().map_or_else(found, |forced| forced.min(found()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_what_the_processor_has() {
        let said = |word: &str| chosen(Some(OsStr::new(word)));
        assert_eq!((chosen(None), said("")), (Ok(detected()), Ok(detected())));
        for isa in Isa::ALL {
            match said(isa.word()) {
                Ok(chosen) => assert!(chosen == isa && isa <= detected()),
                Err(text) => assert!(isa > detected() && text.contains("expected portable"), "{text}"),
            }
        }
        let unknown = said("sse2").unwrap_err();
        assert!(
            unknown.contains("DINOFLOW_ISA=sse2") && unknown.ends_with("avx512, avx512bf16"),
            "{unknown}"
        );
    }
}
