//! Test inputs, and the comparison of every fast kernel with its scalar twin.

use super::cpu::{Isa, force};
use super::{NumbersMut, Products};
use crate::keyed::Key;
use half::bf16;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::LazyLock;

/// Standard normal values that depend on their name and number alone.
pub fn values(name: &str, n: usize) -> Vec<f32> {
    let mut draws = Key::new(n as u64).named(name).draws();
    (0..n).map(|_| draws.normal() as f32).collect()
}

/// Rows of k probabilities.
pub fn distributions(name: &str, rows: usize, k: usize) -> Vec<f32> {
    let mut p: Vec<f32> = values(name, rows * k).into_iter().map(|v| (2.0 * v).exp()).collect();
    for row in p.chunks_mut(k) {
        let total: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= total);
    }
    p
}

/// An output to be overwritten: whatever a kernel leaves of it shows.
pub fn poison(n: usize) -> Vec<f32> {
    vec![f32::NAN; n]
}

fn pool(threads: usize, isa: Isa) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).start_handler(move |_| force(isa)).build().unwrap()
}

/// Pools whose results must be equal bit for bit: the same instructions on 1, 2 and 3 threads.
static COUNTS: LazyLock<[ThreadPool; 3]> = LazyLock::new(|| [1, 2, 3].map(|n| pool(n, Isa::Avx512Bf16)));
/// Pools whose results may differ by rounding: the other instruction sets.
static OTHERS: LazyLock<[ThreadPool; 3]> =
    LazyLock::new(|| [Isa::Avx512, Isa::Avx2, Isa::Portable].map(|isa| pool(2, isa)));

/// The largest |a - b| in units of |b| plus b's root mean square, so that what cancels to near 0 is not judged alone.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square: f64 = b.iter().map(|&b| f64::from(b).powi(2)).sum();
    let typical = (square / b.len().max(1) as f64).sqrt();
    let one = |(&a, &b): (&f32, &f32)| {
        let (a, b) = (f64::from(a), f64::from(b));
        // NaN must not pass for near, nor 0 / 0 for far
        if a == b {
            0.0
        } else {
            ((a - b).abs() / (b.abs() + typical)).max(if a.is_finite() { 0.0 } else { f64::MAX })
        }
    };
    a.iter().zip(b).map(one).fold(0.0, f64::max)
}

/// Runs a kernel and its twin from the same `outputs` and compares what they make of them.
pub fn agree<const N: usize>(
    name: &str,
    tolerance: f64,
    outputs: [Vec<f32>; N],
    fast: impl Fn(&mut [Vec<f32>; N]) + Sync,
    slow: impl Fn(&mut [Vec<f32>; N]),
) {
    let on = |pool: &ThreadPool| {
        let mut made = outputs.clone();
        pool.install(|| fast(&mut made));
        made
    };
    let mut want = outputs.clone();
    slow(&mut want);
    let [one, two, three] = COUNTS.each_ref().map(on);
    for (i, want) in want.iter().enumerate() {
        let far = distance(&one[i], want);
        assert!(far <= tolerance, "output {i} of {name} is {far:e} from its scalar twin");
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one[i]), bits(&two[i]), "output {i} of {name} on 1 and 2 threads");
        assert_eq!(bits(&one[i]), bits(&three[i]), "output {i} of {name} on 1 and 3 threads");
    }
    for (pool, isa) in OTHERS.iter().zip(["AVX-512", "AVX2", "portable"]) {
        for (i, (other, one)) in on(pool).iter().zip(&one).enumerate() {
            let far = distance(other, one);
            assert!(far <= tolerance.max(1e-5), "output {i} of {name} with {isa} code is {far:e} off");
        }
    }
}

/// Runs both twins of one kernel: `twins!(tolerance, family::kernel(arguments), output = start, ...)`.
macro_rules! twins {
    ($tolerance:expr, $family:ident :: $kernel:ident ($($arg:expr),* $(,)?), $($out:ident = $start:expr),+) => {
        $crate::kernels::probe::agree(
            concat!(stringify!($family), "::", stringify!($kernel)),
            $tolerance,
            [$($start),+],
            |[$($out),+]| { $crate::kernels::cpu::$family::$kernel($($arg),*); },
            |[$($out),+]| { $crate::kernels::scalar::$family::$kernel($($arg),*); },
        )
    };
}

/// An output in the precision that goes with `products`, and its numbers as f32 once a kernel has written them.
pub struct Stored<'a> {
    to: &'a mut Vec<f32>,
    half: Option<Vec<bf16>>,
}

impl<'a> Stored<'a> {
    pub fn new(products: Products, to: &'a mut Vec<f32>) -> Self {
        let half = (products == Products::Bf16).then(|| half(to));
        Stored { to, half }
    }

    pub fn view(&mut self) -> NumbersMut<'_> {
        match &mut self.half {
            Some(half) => NumbersMut::Bf16(half),
            None => NumbersMut::F32(self.to),
        }
    }

    pub fn finish(self) {
        if let Some(half) = self.half {
            self.to.iter_mut().zip(half).for_each(|(to, x)| *to = x.to_f32());
        }
    }
}

/// Runs both twins of a kernel whose last arguments, the outputs, are stored in the precision that goes with `products`:
/// `stored_twins!(tolerance, products, family::kernel(arguments; outputs))`.
macro_rules! stored_twins {
    ($tolerance:expr, $products:expr, $family:ident :: $kernel:ident ($($arg:expr),* ; $($out:ident: $len:expr),+)) => {{
        let products = $products;
        // two sums on either side of a tie are rounded a whole step of bf16 apart
        let tolerance = if products == Products::Bf16 { 8e-3 } else { $tolerance };
        $crate::kernels::probe::agree(
            concat!(stringify!($family), "::", stringify!($kernel)),
            tolerance,
            [$(poison($len)),+],
            |[$($out),+]| {
                $(let mut $out = $crate::kernels::probe::Stored::new(products, $out);)+
                $crate::kernels::cpu::$family::$kernel($($arg),*, $($out.view()),+);
                $($out.finish();)+
            },
            |[$($out),+]| {
                $(let mut $out = $crate::kernels::probe::Stored::new(products, $out);)+
                $crate::kernels::scalar::$family::$kernel($($arg),*, $($out.view()),+);
                $($out.finish();)+
            },
        )
    }};
}

/// The same values in the precision that goes with `products`.
pub fn half(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&v| bf16::from_f32(v)).collect()
}

/// Holds a gradient against central differences of `loss` around x.
pub fn differentiates(name: &str, x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    let step = 1.0 / 256.0;
    let slope = |i: usize| {
        let at = |sign: f32| {
            let mut x = x.to_vec();
            x[i] += sign * step;
            loss(&x)
        };
        ((at(1.0) - at(-1.0)) / f64::from(2.0 * step)) as f32
    };
    let slopes: Vec<f32> = (0..x.len()).map(slope).collect();
    let far = distance(gradient, &slopes);
    assert!(far < 2e-3, "{name} is {far:e} from the differences");
}

/// Σ weights · y, the scalar loss that a gradient `weights` belongs to.
pub fn weighted(weights: &[f32], y: &[f32]) -> f64 {
    weights.iter().zip(y).map(|(&w, &y)| f64::from(w) * f64::from(y)).sum()
}
