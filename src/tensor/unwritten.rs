//! Memory for numbers that a kernel is about to overwrite.
//!
//! A ViT-S step on eight pictures makes 2.5 GB of activations; clearing them first, on one thread, took a thirtieth of its time.

use bytemuck::Pod;

/// So many numbers, each of them any: for whoever overwrites them all. In tests and debug builds they are NaN, so that a place
/// that was left out does not pass unseen.
pub fn unwritten<T: Pod>(len: usize) -> Vec<T> {
    if cfg!(any(test, debug_assertions)) {
        let ones = [0xff; 8];
        return vec![bytemuck::pod_read_unaligned(&ones[..size_of::<T>()]); len];
    }
    as_found(len)
}

/// Numbers of whatever bits the memory held before.
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn as_found<T: Pod>(len: usize) -> Vec<T> {
    let mut numbers = Vec::with_capacity(len);
    let memory: *mut T = numbers.as_mut_ptr();
    // SAFETY: the assembly is empty, but may write to the memory that it is given, so that the compiler has to take what lies there
    // for written by it; nor does it change later by itself, for glibc hands out pages that are in use or zero, none that the
    // system may still clear. Every bit pattern is a number (`Pod`), and there is room for `len` of them.
    unsafe {
        std::arch::asm!("/* {} */", in(reg) memory, options(nostack, preserves_flags));
        numbers.set_len(len);
    }
    numbers
}

/// Elsewhere an allocator may promise less.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
fn as_found<T: Pod>(len: usize) -> Vec<T> {
    vec![T::zeroed(); len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn tests_find_nan() {
        assert!(unwritten::<f32>(100).into_iter().all(f32::is_nan));
        assert!(unwritten::<bf16>(100).into_iter().all(bf16::is_nan));
    }

    #[test]
    fn numbers_as_found_can_be_written_and_read() {
        for len in [0, 1, 1000, 1 << 20] {
            let mut numbers = as_found::<f32>(len);
            assert_eq!(numbers.len(), len);
            numbers.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            assert!(numbers.iter().enumerate().all(|(i, x)| *x == i as f32));
            // found again or not, what was freed is numbers like any others
            drop(numbers);
            let again = as_found::<u32>(len);
            assert_eq!(again, again.clone());
        }
    }
}
