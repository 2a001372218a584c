//! Rates of matrix products at the shapes of vision transformers, with the epilogues of training:
//! `cargo bench --bench matrix [FILTER]`. Shares are of what both kinds of multiply-add reach without memory.

use dinoflow::kernels::cpu::matrix::{Add, Epilogue, Gelu, GeluBackward, Matrix, Residual, Store, product};
use dinoflow::kernels::{Numbers, Products};
use half::bf16;
use std::time::Instant;

/// The best of several runs, in seconds: the machine may be shared.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = Instant::now();
    let mut runs = 0;
    while runs < 5 || (start.elapsed().as_secs_f64() < 0.3 && runs < 200) {
        let t = Instant::now();
        work();
        best = best.min(t.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

fn filled(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn halves(x: &[f32]) -> Vec<bf16> {
    x.iter().map(|x| bf16::from_f32(*x)).collect()
}

/// Multiply-adds on registers alone.
#[cfg(target_arch = "x86_64")]
mod registers {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Sums in flight: more than two a cycle that take six each.
    const CHAINS: usize = 16;

    /// # Safety
    /// AVX-512 F must be there.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn singles(rounds: usize) -> f32 {
        // hidden, lest equal sums trade places in memory
        let (mut sums, x) = black_box(([_mm512_setzero_ps(); CHAINS], _mm512_set1_ps(0.5)));
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(x, x, *sum));
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }

    /// # Safety
    /// AVX-512 F and BF16 must be there.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn pairs(rounds: usize) -> f32 {
        let (mut sums, half) = black_box(([_mm512_setzero_ps(); CHAINS], _mm512_set1_ps(0.5)));
        let x = _mm512_cvtne2ps_pbh(half, half);
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, x, x));
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }

    /// GFLOP/s of all threads together, or 0 without the instructions.
    pub fn peak(bf16: bool) -> f64 {
        const ROUNDS: usize = 1 << 20;
        if !is_x86_feature_detected!("avx512f") || bf16 && !is_x86_feature_detected!("avx512bf16") {
            return 0.0;
        }
        let threads = rayon::current_num_threads();
        let t = super::best(|| {
            rayon::broadcast(|_| {
                // SAFETY: the instructions were detected
                black_box(unsafe { if bf16 { pairs(ROUNDS) } else { singles(ROUNDS) } });
            });
        });
        let flops = ROUNDS * CHAINS * 16 * if bf16 { 4 } else { 2 };
        (flops * threads) as f64 / t / 1e9
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod registers {
    pub fn peak(_: bool) -> f64 {
        0.0
    }
}

struct Report {
    filter: String,
    /// GFLOP/s without memory, f32 and bf16.
    peaks: [f64; 2],
}

impl Report {
    fn line(&self, name: &str, kind: &str, peak: f64, (m, n, k): (usize, usize, usize), work: impl FnMut()) {
        let name = format!("{name:14} {kind:5} {m:5} {n:5} {k:5}");
        if name.contains(&self.filter) {
            let t = best(work);
            let rate = 2.0 * (m * n * k) as f64 / t / 1e9;
            let share = if peak > 0.0 { format!("{:5.1} %", 100.0 * rate / peak) } else { "-".into() };
            println!("{name} {:9.3} ms {rate:8.1} GFLOP/s {share}", t * 1e3);
        }
    }

    fn product(
        &self,
        name: &str,
        products: Products,
        shape: (usize, usize, usize),
        a: Matrix<'_>,
        b: Matrix<'_>,
        epilogue: &impl Epilogue,
    ) {
        let (kind, peak) = match products {
            Products::F32 => ("f32", self.peaks[0]),
            Products::Bf16 => ("bf16", self.peaks[1]),
        };
        self.line(name, kind, peak, shape, || product(products, shape, a, b, epilogue));
    }

    /// The `gemm` crate alone, in f32.
    fn gemm(
        &self,
        name: &str,
        (m, n, k): (usize, usize, usize),
        a: Matrix<'_>,
        b: Matrix<'_>,
        c: &mut [f32],
    ) {
        let (Numbers::F32(x), Numbers::F32(y)) = (a.data, b.data) else { return };
        assert!(x.len() >= m * k && y.len() >= k * n && c.len() >= m * n);
        let isize = |stride: usize| stride as isize;
        self.line(name, "gemm", self.peaks[0], (m, n, k), || {
            // SAFETY: the lengths are asserted and the strides are those of contiguous matrices
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    c.as_mut_ptr(),
                    1,
                    isize(n),
                    false,
                    x.as_ptr(),
                    isize(a.col),
                    isize(a.row),
                    y.as_ptr(),
                    isize(b.col),
                    isize(b.row),
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(0),
                );
            }
        });
    }
}

/// A linear layer, forward and backward: activations as they are stored with these products, weights in f32.
fn linear(report: &Report, rows: usize, inp: usize, out: usize) {
    let (x, w, dy, bias) = (filled(rows * inp), filled(out * inp), filled(rows * out), filled(out));
    let (x_half, dy_half) = (halves(&x), halves(&dy));
    let (mut y, mut dx, mut dw) = (filled(rows * out), filled(rows * inp), filled(out * inp));
    let (mut y_half, mut pre_half, mut dx_half) = (halves(&y), halves(&y), halves(&dx));
    let (forward, input, weight) = ((rows, out, inp), (rows, inp, out), (out, inp, rows));
    let (turned, plain) = (Matrix::transposed(&w[..], inp), Matrix::rows(&w[..], inp));

    let (b, bias) = (Products::Bf16, Some(&bias[..]));
    let (x_rows, dy_rows) = (Matrix::rows(&x_half[..], inp), Matrix::rows(&dy_half[..], out));
    let pre = Numbers::Bf16(&x_half);
    report.product("forward", b, forward, x_rows, turned, &Store::new(bias, out, y_half[..].as_mut().into()));
    let gelu = Gelu::new(bias, out, pre_half[..].as_mut().into(), y_half[..].as_mut().into());
    report.product("gelu", b, forward, x_rows, turned, &gelu);
    report.product("residual", b, forward, x_rows, turned, &Residual::new(bias, &dy, out, &mut y));
    report.product("input", b, input, dy_rows, plain, &Store::new(None, inp, dx_half[..].as_mut().into()));
    report.product(
        "input of gelu",
        b,
        input,
        dy_rows,
        plain,
        &GeluBackward::new(pre, inp, dx_half[..].as_mut().into()),
    );
    let dy_wide = Matrix::rows(&dy[..], out);
    report.product(
        "input from f32",
        b,
        input,
        dy_wide,
        plain,
        &Store::new(None, inp, dx_half[..].as_mut().into()),
    );
    report.product(
        "weight",
        b,
        weight,
        Matrix::transposed(&dy_half[..], out),
        x_rows,
        &Add::new(inp, &mut dw),
    );

    let (f, x_rows, dy_rows) = (Products::F32, Matrix::rows(&x[..], inp), Matrix::rows(&dy[..], out));
    let dy_turned = Matrix::transposed(&dy[..], out);
    report.product("forward", f, forward, x_rows, turned, &Store::new(bias, out, y[..].as_mut().into()));
    report.gemm("forward", forward, x_rows, turned, &mut y);
    report.product("input", f, input, dy_rows, plain, &Store::new(None, inp, dx[..].as_mut().into()));
    report.gemm("input", input, dy_rows, plain, &mut dx);
    report.product("weight", f, weight, dy_turned, x_rows, &Add::new(inp, &mut dw));
    report.gemm("weight", weight, dy_turned, x_rows, &mut dw);
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let report = Report { filter, peaks: [false, true].map(registers::peak) };
    println!("without memory: f32 {:.0} GFLOP/s, bf16 {:.0} GFLOP/s", report.peaks[0], report.peaks[1]);
    // ViT-S/16 at batch 8, ViT-B/8 at batch 1, ViT-Ti/4 at batch 64: global and local rows
    for (rows, dim) in [(16 * 197, 384), (64 * 37, 384), (2 * 785, 768), (8 * 145, 768), (128 * 65, 192)] {
        for (inp, out) in [(dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim)] {
            linear(&report, rows, inp, out);
        }
    }
    // the head
    for (inp, out) in [(384, 2048), (2048, 2048), (2048, 256), (256, 65_536)] {
        linear(&report, 80, inp, out);
        linear(&report, 16, inp, out);
    }
}
