//! What the processor's multiply-adders do at most: the figure that every share of the machine's peak refers to.
//!
//! A loop whose operands never leave the registers runs on every thread of the current pool at once. Twelve sums keep two
//! multiply-adders of six cycles' latency full, and fit the sixteen registers that compilers were seen to be content with.
// indices, not iterators: with these alone the sums are seen to stay in registers
#![allow(clippy::needless_range_loop)]

use super::isa::{Isa, isa};
use std::hint::black_box;
use std::time::Instant;

/// Sums that run beside each other.
const SUMS: usize = 12;
/// Each figure is the best of this many runs of about `SECONDS`: the machine may be shared.
const RUNS: usize = 5;
const SECONDS: f64 = 0.05;

/// One instruction set's loop: how long it works on `rounds` rounds, and the operations of a round.
struct Loop {
    work: fn(usize) -> f32,
    flops: f64,
}

const PORTABLE: Loop = Loop { work: portable, flops: (SUMS * 4 * 2) as f64 };

/// GFLOP/s of f32 multiply-adds on all threads of the current pool.
pub fn f32_gflops() -> f64 {
    // every set by name: one that is new must not fall back to the slowest unseen
    let best = match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 => Loop { work: on_avx512, flops: (SUMS * 16 * 2) as f64 },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Loop { work: on_avx2, flops: (SUMS * 8 * 2) as f64 },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Avx2 => PORTABLE,
        Isa::Portable => PORTABLE,
    };
    measured(&best)
}

/// GFLOP/s of bf16 products summed in f32, where the processor multiplies pairs of bf16 itself.
pub fn bf16_gflops() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if isa() == Isa::Avx512Bf16 {
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
            for i in 0..sums.len() {
                sums[i] = _mm512_fmadd_ps(sums[i], x, y);
            }
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
            for i in 0..sums.len() {
                sums[i] = _mm512_dpbf16_ps(sums[i], x, x);
            }
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }
    // SAFETY: chosen only where `isa` has detected AVX-512 and its bf16 products
    unsafe { work(rounds) }
}

#[cfg(target_arch = "x86_64")]
fn on_avx2(rounds: usize) -> f32 {
    #[target_feature(enable = "avx2,fma")]
    fn work(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let (x, y) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
        let mut sums = [y; SUMS];
        for _ in 0..rounds {
            for i in 0..sums.len() {
                sums[i] = _mm256_fmadd_ps(sums[i], x, y);
            }
        }
        sums.iter().map(|sum| _mm256_cvtss_f32(*sum)).sum()
    }
    // SAFETY: chosen only where `isa` has detected AVX2 with FMA
    unsafe { work(rounds) }
}

/// Four lanes, without a multiply-add of one instruction: what every processor of this family has. Compilers leave the loop below
/// in scalars.
#[cfg(target_arch = "x86_64")]
fn portable(rounds: usize) -> f32 {
    #[target_feature(enable = "sse")]
    fn work(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let (x, y) = (_mm_set1_ps(black_box(0.5)), _mm_set1_ps(black_box(1.0)));
        let mut sums = [y; SUMS];
        for _ in 0..rounds {
            for i in 0..sums.len() {
                sums[i] = _mm_add_ps(_mm_mul_ps(sums[i], x), y);
            }
        }
        sums.iter().map(|sum| _mm_cvtss_f32(*sum)).sum()
    }
    // SAFETY: every 64-bit processor of this family has SSE
    unsafe { work(rounds) }
}

/// Four lanes are what most processors' vectors hold.
#[cfg(not(target_arch = "x86_64"))]
fn portable(rounds: usize) -> f32 {
    let (x, y) = (black_box(0.5f32), black_box(1.0f32));
    let mut sums = [[y; 4]; SUMS];
    for _ in 0..rounds {
        sums = sums.map(|sum| sum.map(|sum| sum.mul_add(x, y)));
    }
    sums.as_flattened().iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::force;
    use super::*;

    /// On one thread: with the instructions that are found, or as if there were no wider ones.
    fn alone<T: Send>(most: Option<Isa>, peak: fn() -> T) -> T {
        let start = move |_| most.map_or((), force);
        rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(start).build().unwrap().install(peak)
    }

    /// Whatever else the machine does can only slow a loop down: the best of some counts.
    fn best(peak: impl Fn() -> f64) -> f64 {
        (0..5).map(|_| peak()).fold(0.0, f64::max)
    }

    #[test]
    fn wider_instructions_are_not_slower() {
        let widths = [Some(Isa::Portable), Some(Isa::Avx2), Some(Isa::Avx512), None];
        let peaks = widths.map(|most| best(|| alone(most, f32_gflops)));
        println!("portable, AVX2, AVX-512, found: {peaks:.0?} GFLOP/s a core");
        // a shared machine may halve any of them; a loop that was optimised away would be a hundred times too fast
        assert!(
            peaks.is_sorted_by(|narrow, wide| *wide > 0.6 * narrow) && peaks[0] > 0.5 && peaks[3] < 2000.0
        );
    }

    /// On a processor with bf16 products the loops fell back to the portable one once: such processors were told apart by
    /// a name of their own.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_the_processor_has_is_used() {
        let [portable, found] = [Some(Isa::Portable), None].map(|most| best(|| alone(most, f32_gflops)));
        if is_x86_feature_detected!("avx512bw") {
            assert!(found > 1.5 * portable, "{found:.0} GFLOP/s found, {portable:.0} portable");
        }
        let bf16 = alone(None, bf16_gflops).map(|first| best(|| alone(None, bf16_gflops).unwrap_or(first)));
        println!("f32 {found:.0}, bf16 {bf16:.0?} GFLOP/s a core");
        assert_eq!(
            bf16.is_some(),
            is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw")
        );
        assert!(bf16.is_none_or(|bf16| bf16 > 0.8 * found && bf16 < 8.0 * found));
    }
}
