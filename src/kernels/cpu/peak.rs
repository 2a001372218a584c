//! What the processor's multiply-adders do at most: the figure that every share of the machine's peak refers to.
//!
//! A loop whose operands never leave the registers runs on every thread of the current pool at once. Twenty-four sums keep two
//! multiply-adders of four cycles' latency full with room to spare.

use super::isa::{Isa, isa};
use std::hint::black_box;
use std::time::Instant;

/// Sums that run beside each other where there are 32 registers; 16 registers hold twelve.
const SUMS: usize = 24;
const SUMS_OF_16: usize = 12;
/// Each figure is the best of this many runs of about `SECONDS`: the machine may be shared.
const RUNS: usize = 5;
const SECONDS: f64 = 0.05;

/// One instruction set's loop: how long it works on `rounds` rounds, and the operations of a round.
struct Loop {
    work: fn(usize) -> f32,
    flops: f64,
}

/// GFLOP/s of f32 multiply-adds on all threads of the current pool.
pub fn f32_gflops() -> f64 {
    let best = match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Loop { work: on_avx512, flops: (SUMS * 16 * 2) as f64 },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Loop { work: on_avx2, flops: (SUMS_OF_16 * 8 * 2) as f64 },
        _ => Loop { work: portable, flops: (SUMS_OF_16 * 4 * 2) as f64 },
    };
    measured(&best)
}

/// GFLOP/s of bf16 products summed in f32, where the processor multiplies pairs of bf16 itself.
pub fn bf16_gflops() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if isa() == Isa::Avx512 && is_x86_feature_detected!("avx512bf16") {
        return Some(measured(&Loop { work: on_avx512_bf16, flops: (SUMS * 32 * 2) as f64 }));
    }
    None
}

/// The best rate of several runs.
fn measured(kind: &Loop) -> f64 {
    let run = |rounds: usize| {
        let start = Instant::now();
        let threads = rayon::broadcast(|_| black_box((kind.work)(black_box(rounds)))).len();
        let seconds = start.elapsed().as_secs_f64().max(1e-9);
        (seconds, threads as f64 * rounds as f64 * kind.flops / seconds / 1e9)
    };
    // a first run says how many rounds fill the time, and wakes the threads
    let first = 200_000;
    let rounds = (first as f64 * SECONDS / run(first).0) as usize;
    (0..RUNS).map(|_| run(rounds.max(1)).1).fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
fn on_avx512(rounds: usize) -> f32 {
    #[target_feature(enable = "avx512f")]
    fn work(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let (x, y) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
        let mut sums = [y; SUMS];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, x, y));
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }
    // SAFETY: chosen only where `isa` has detected AVX-512
    unsafe { work(rounds) }
}

#[cfg(target_arch = "x86_64")]
fn on_avx512_bf16(rounds: usize) -> f32 {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn work(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        let mut sums = [_mm512_set1_ps(0.0); SUMS];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, x, x));
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }
    // SAFETY: chosen only where AVX-512 and its bf16 products were detected
    unsafe { work(rounds) }
}

#[cfg(target_arch = "x86_64")]
fn on_avx2(rounds: usize) -> f32 {
    #[target_feature(enable = "avx2,fma")]
    fn work(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let (x, y) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
        let mut sums = [y; SUMS_OF_16];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, x, y));
        }
        sums.iter().map(|sum| _mm256_cvtss_f32(*sum)).sum()
    }
    // SAFETY: chosen only where `isa` has detected AVX2 with FMA
    unsafe { work(rounds) }
}

/// Four lanes are what every processor's vectors hold at least.
fn portable(rounds: usize) -> f32 {
    let (x, y) = (black_box(0.5f32), black_box(1.0f32));
    let mut sums = [[y; 4]; SUMS_OF_16];
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = match cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") {
                true => sum.mul_add(x, y),
                false => *sum * x + y,
            };
        }
    }
    sums.as_flattened().iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::force;
    use super::*;

    #[test]
    fn wider_instructions_are_not_slower() {
        let pool = |isa| {
            let on = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(move |_| force(isa));
            on.build().unwrap().install(f32_gflops)
        };
        let [portable, avx2, avx512] = [Isa::Portable, Isa::Avx2, Isa::Avx512].map(pool);
        println!("portable {portable:.0}, AVX2 {avx2:.0}, AVX-512 {avx512:.0} GFLOP/s a core");
        // a shared machine may halve any of them; a loop that was optimised away would be a hundred times too fast
        assert!(portable > 0.5 && avx2 > 0.6 * portable && avx512 > 0.6 * avx2 && avx512 < 2000.0);
    }

    #[test]
    fn bf16_has_a_peak_only_where_the_processor_multiplies_it() {
        let Some(bf16) = bf16_gflops() else { return };
        let f32 = f32_gflops();
        println!("f32 {f32:.0}, bf16 {bf16:.0} GFLOP/s");
        assert!(bf16 > 0.8 * f32 && bf16 < 8.0 * f32);
    }
}
