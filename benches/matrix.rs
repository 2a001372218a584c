//! Matrix products by shape, forward and backward through a linear layer, beside the `gemm` crate:
//! `cargo bench --bench matrix [FILTER]`. Elements are floating-point operations.

mod common {
    pub mod measure;
    pub mod numbers;
}

use common::measure::{self, elements};
use common::numbers::{PRECISIONS, Stored, filled, print_peak};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use dinoflow::kernels::cpu::matrix::{Add, Epilogue, Matrix, Store, product};
use dinoflow::kernels::{Numbers, Products};

/// (rows, columns, length of a sum).
type Shape = (usize, usize, usize);

/// One of a layer's products, and who computes it.
struct Case<'a, 'b> {
    group: &'a mut BenchmarkGroup<'b, WallTime>,
    /// forward, input or weight: what comes of the product.
    pass: &'a str,
    shape: Shape,
    a: Matrix<'a>,
    b: Matrix<'a>,
}

impl Case<'_, '_> {
    fn measure(&mut self, by: &str, mut work: impl FnMut()) {
        let (m, n, k) = self.shape;
        let id = BenchmarkId::new(format!("{} {by}", self.pass), format!("{m}x{n}x{k}"));
        self.group.throughput(elements(2 * m * n * k)).bench_function(id, |b| b.iter(&mut work));
    }

    fn ours(&mut self, (name, products): (&str, Products), epilogue: &impl Epilogue) {
        let (shape, a, b) = (self.shape, self.a, self.b);
        self.measure(name, || product(products, shape, a, b, epilogue));
    }

    /// The `gemm` crate alone, in f32; `adds` to what is there, as gradients of weights do.
    fn gemm(&mut self, adds: bool, c: &mut [f32]) {
        let (Numbers::F32(x), Numbers::F32(y)) = (self.a.data, self.b.data) else { return };
        let (shape, a, b) = (self.shape, self.a, self.b);
        self.measure("gemm", || gemm_product(shape, (x, a.row, a.col), (y, b.row, b.col), adds, c));
    }
}

/// A factor: numbers, from row to row, from column to column.
type Strided<'a> = (&'a [f32], usize, usize);

/// c = a b, or c += a b.
fn gemm_product((m, n, k): Shape, a: Strided<'_>, b: Strided<'_>, adds: bool, c: &mut [f32]) {
    assert!(a.0.len() >= m * k && b.0.len() >= k * n && c.len() >= m * n);
    let stride = |stride: usize| stride as isize;
    let (c_row, c_col) = (stride(n), 1);
    // SAFETY: the lengths are asserted and the strides are those of contiguous matrices
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_col,
            c_row,
            adds,
            a.0.as_ptr(),
            stride(a.2),
            stride(a.1),
            b.0.as_ptr(),
            stride(b.2),
            stride(b.1),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

/// A linear layer's three products: activations as they are stored beside them, weights in f32.
fn linear(group: &mut BenchmarkGroup<'_, WallTime>, rows: usize, inp: usize, out: usize) {
    let (w, bias) = (filled(out * inp), filled(out));
    let (turned, plain) = (Matrix::transposed(&w[..], inp), Matrix::rows(&w[..], inp));
    let mut dw = filled(out * inp);
    for kind in PRECISIONS {
        let (x, dy) = (Stored::filled(kind.1, rows * inp), Stored::filled(kind.1, rows * out));
        let (mut y, mut dx) = (Stored::filled(kind.1, rows * out), Stored::filled(kind.1, rows * inp));
        let (x_rows, dy_rows) = (Matrix::rows(x.read(), inp), Matrix::rows(dy.read(), out));

        let mut case =
            Case { group: &mut *group, pass: "forward", shape: (rows, out, inp), a: x_rows, b: turned };
        case.ours(kind, &Store::new(Some(&bias), out, y.write()));
        if let Stored::F32(y) = &mut y {
            case.gemm(false, y);
        }
        let mut case =
            Case { group: &mut *group, pass: "input", shape: (rows, inp, out), a: dy_rows, b: plain };
        case.ours(kind, &Store::new(None, inp, dx.write()));
        if let Stored::F32(dx) = &mut dx {
            case.gemm(false, dx);
        }
        let dy_turned = Matrix::transposed(dy.read(), out);
        let mut case =
            Case { group: &mut *group, pass: "weight", shape: (out, inp, rows), a: dy_turned, b: x_rows };
        case.ours(kind, &Add::new(inp, &mut dw));
        case.gemm(true, &mut dw);
    }
}

fn main() {
    print_peak();
    let mut c = measure::criterion();
    let mut group = measure::group(&mut c, "matrix");
    // ViT-S/16 at batch 8, ViT-B/8 at batch 1, ViT-Ti/4 at batch 64: rows of the global crops, and of ViT-S/16's local ones
    for (rows, dim) in [(16 * 197, 384), (64 * 37, 384), (2 * 785, 768), (128 * 65, 192)] {
        for (inp, out) in [(dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim)] {
            linear(&mut group, rows, inp, out);
        }
    }
    // the head: every crop is one row, the teacher's are thinner still
    for (inp, out) in [(384, 2048), (2048, 2048), (2048, 256), (256, 65_536)] {
        linear(&mut group, 80, inp, out);
        linear(&mut group, 16, inp, out);
    }
    // sides that no tile divides, and sums too short to pay for packing
    linear(&mut group, 611, 383, 385);
    linear(&mut group, 1000, 17, 33);
    group.finish();
    c.final_summary();
}
