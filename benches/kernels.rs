//! The kernels of a step at ViT-S/16's shapes, batch 8, in both precisions: `cargo bench --bench kernels [FILTER]`.
//! Elements are floating-point operations where a group's name says products, and values read or written elsewhere.

mod common {
    pub mod measure;
    pub mod numbers;
}

use common::measure::{self, elements};
use common::numbers::{PRECISIONS, Stored, filled, print_peak};
use criterion::{BenchmarkId, Criterion};
use dinoflow::kernels::Rows;
use dinoflow::kernels::cpu::attention::{self, Dims};
use dinoflow::kernels::cpu::{layer_norm, linear, loss, normalize, optimizer};
use std::hint::black_box;

/// Rows of the two global crops of eight pictures, and the width of a token.
const ROWS: usize = 16 * 197;
const DIM: usize = 384;
/// The MLP's hidden width.
const HIDDEN: usize = 4 * DIM;
/// The head's outputs, its bottleneck, and what is compared: pictures and views of each.
const OUT: usize = 65_536;
const BOTTLENECK: usize = 256;
const BATCH: usize = 8;
const VIEWS: usize = 10;
/// The network's updated values: ViT-S/16 and the head.
const PARAMETERS: usize = 44_000_000;

/// The same products as `matrix` times, each with what a network does to its sums.
fn epilogues(c: &mut Criterion) {
    let mut group = measure::group(c, "products with epilogues");
    group.throughput(elements(2 * ROWS * DIM * HIDDEN));
    let (w1, b1, w2, b2) = (filled(HIDDEN * DIM), filled(HIDDEN), filled(DIM * HIDDEN), filled(DIM));
    let (residual, mut sum) = (filled(ROWS * DIM), filled(ROWS * DIM));
    for (name, p) in PRECISIONS {
        let (x, dy) = (Stored::filled(p, ROWS * DIM), Stored::filled(p, ROWS * DIM));
        let (mut pre, mut act) = (Stored::filled(p, ROWS * HIDDEN), Stored::filled(p, ROWS * HIDDEN));
        group.bench_function(BenchmarkId::new("gelu", name), |b| {
            b.iter(|| {
                let (pre, act) = (pre.write(), act.write());
                linear::forward_gelu(p, ROWS, DIM, HIDDEN, x.read(), &w1, Some(&b1), Some(pre), act);
            })
        });
        group.bench_function(BenchmarkId::new("residual", name), |b| {
            b.iter(|| {
                let bias = Some(&b2[..]);
                linear::forward_residual(
                    p,
                    Rows::All(ROWS),
                    HIDDEN,
                    DIM,
                    1.0,
                    act.read(),
                    &w2,
                    bias,
                    &residual,
                    &mut sum,
                );
            })
        });
        let (mut dpre, mut db) = (Stored::filled(p, ROWS * HIDDEN), filled(HIDDEN));
        group.bench_function(BenchmarkId::new("backward through gelu", name), |b| {
            b.iter(|| {
                let (pre, dpre) = (pre.write(), dpre.write());
                linear::backward_gelu(p, ROWS, HIDDEN, DIM, dy.read(), &w2, pre, dpre, &mut db);
            })
        });
    }
    group.finish();
}

/// Global crops, local crops, ViT-B/8's tokens, and the last block's queries: the CLS row alone.
fn attentions(c: &mut Criterion) {
    let mut group = measure::group(c, "products of attention");
    for (batch, tokens, queries, heads) in
        [(16, 197, 197, 6), (64, 37, 37, 6), (2, 785, 785, 12), (16, 197, 1, 6)]
    {
        let d = Dims { batch, tokens, queries, heads, head_dim: 64 };
        let (inputs, outputs) = (batch * tokens * 3 * heads * 64, batch * queries * heads * 64);
        let product = 2 * batch * heads * queries * tokens * 64;
        let shape = format!("{batch}x{heads}x{queries}x{tokens}");
        for (name, p) in PRECISIONS {
            let (qkv, dout) = (Stored::filled(p, inputs), Stored::filled(p, outputs));
            let (mut out, mut dqkv) = (Stored::filled(p, outputs), Stored::filled(p, inputs));
            let mut lse = filled(batch * heads * queries);
            attention::forward(p, d, 0.125, qkv.read(), out.write(), &mut lse);
            let id = |pass: &str| BenchmarkId::new(format!("{pass} {name}"), &shape);
            group.throughput(elements(2 * product)).bench_function(id("forward"), |b| {
                b.iter(|| attention::forward(p, d, 0.125, qkv.read(), out.write(), &mut lse))
            });
            group.throughput(elements(5 * product)).bench_function(id("backward"), |b| {
                b.iter(|| {
                    let (out, dout) = (out.read(), dout.read());
                    attention::backward(p, d, 0.125, qkv.read(), out, &lse, dout, dqkv.write());
                })
            });
        }
    }
    group.finish();
}

/// What passes over activations: layer norm, GELU and sums over rows.
fn passes(c: &mut Criterion) {
    let mut group = measure::group(c, "activations");
    let (n, wide) = (ROWS * DIM, ROWS * HIDDEN);
    let (x, gain) = (filled(n), filled(DIM));
    let (mut dx, mut mean, mut rstd) = (filled(n), filled(ROWS), filled(ROWS));
    let (mut dgain, mut dbias, mut dhidden) = (filled(DIM), filled(DIM), filled(HIDDEN));
    for (name, p) in PRECISIONS {
        let (mut y, dy) = (Stored::filled(p, n), Stored::filled(p, n));
        group.throughput(elements(2 * n)).bench_function(BenchmarkId::new("layer norm", name), |b| {
            b.iter(|| {
                layer_norm::forward(
                    Rows::All(ROWS),
                    DIM,
                    1e-6,
                    &x,
                    &gain,
                    &gain,
                    y.write(),
                    &mut mean,
                    &mut rstd,
                )
            })
        });
        group.throughput(elements(3 * n)).bench_function(
            BenchmarkId::new("layer norm backward", name),
            |b| {
                b.iter(|| {
                    let (dy, sums) = (dy.read(), (&mut dgain, &mut dbias));
                    layer_norm::backward(
                        Rows::All(ROWS),
                        DIM,
                        dy,
                        &x,
                        &gain,
                        &mean,
                        &rstd,
                        &mut dx,
                        sums.0,
                        sums.1,
                    );
                })
            },
        );
        let (pre, mut act) = (Stored::filled(p, wide), Stored::filled(p, wide));
        group.throughput(elements(2 * wide)).bench_function(BenchmarkId::new("gelu", name), |b| {
            b.iter(|| linear::gelu_forward(pre.read(), act.write()))
        });
        group.throughput(elements(wide)).bench_function(BenchmarkId::new("gradient of a bias", name), |b| {
            b.iter(|| linear::backward_bias(ROWS, HIDDEN, act.read(), &mut dhidden))
        });
    }
    group.finish();
}

/// From logits to the loss and its gradient (paper, equation 1), the centre and the normalised last layer. All of it is f32.
fn losses(c: &mut Criterion) {
    let mut group = measure::group(c, "loss");
    let (ours, theirs) = (VIEWS * BATCH * OUT, 2 * BATCH * OUT);
    let (student, teacher, center) = (filled(ours), filled(theirs), filled(OUT));
    let (mut gradient, mut targets) = (filled(ours), filled(theirs));
    let (mut entropy, mut mean) = (filled(2 * BATCH), filled(OUT));
    group.throughput(elements(2 * theirs)).bench_function("centered softmax", |b| {
        b.iter(|| {
            let center = Some(&center[..]);
            loss::centered_softmax(2 * BATCH, OUT, &teacher, center, 0.04, &mut targets, &mut entropy);
        })
    });
    group.throughput(elements(2 * ours + theirs)).bench_function("cross-entropy and gradient", |b| {
        b.iter(|| loss::cross_entropy(2, VIEWS, BATCH, OUT, &student, &targets, 0.1, 1e-2, &mut gradient))
    });
    group.throughput(elements(theirs)).bench_function("mean of the teacher", |b| {
        b.iter(|| loss::column_mean(2 * BATCH, OUT, &teacher, &mut mean))
    });
    let n = OUT * BOTTLENECK;
    let (v, dw) = (filled(n), filled(n));
    let (mut w, mut norms) = (filled(n), filled(OUT));
    group.throughput(elements(2 * n)).bench_function("weight norm", |b| {
        b.iter(|| normalize::weight_norm_forward(OUT, BOTTLENECK, &v, None, &mut w, &mut norms))
    });
    group.throughput(elements(3 * n)).bench_function("weight norm backward", |b| {
        b.iter(|| normalize::weight_norm_backward(OUT, BOTTLENECK, &dw, &v, None, &norms, &mut w, None))
    });
    group.finish();
}

/// The update of every weight, with and without the teacher's average in the same pass; a copy says what memory allows.
fn updates(c: &mut Criterion) {
    let mut group = measure::group(c, "update");
    let n = PARAMETERS;
    let (mut p, g, mut average) = (filled(n), filled(n), filled(n));
    let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
    group.throughput(elements(2 * n)).bench_function("copy", |b| b.iter(|| average.copy_from_slice(&g)));
    group
        .throughput(elements(n))
        .bench_function("norm", |b| b.iter(|| black_box(optimizer::sum_of_squares(&g))));
    group
        .throughput(elements(n))
        .bench_function("finite", |b| b.iter(|| black_box(optimizer::all_finite(&g))));
    for (name, with, values) in [("adamw", false, 7), ("adamw and average", true, 9)] {
        group.throughput(elements(values * n)).bench_function(name, |b| {
            b.iter(|| {
                let average = with.then_some(&mut average[..]);
                optimizer::adamw(
                    &mut p, &g, &mut m, &mut v, 1e-4, 0.04, 0.9, 0.999, 1e-8, 10, 1.0, average, 0.996,
                );
            })
        });
    }
    group
        .throughput(elements(3 * n))
        .bench_function("average", |b| b.iter(|| optimizer::lerp(&mut average, &p, 0.996)));
    group.finish();
}

fn main() {
    print_peak();
    let mut c = measure::criterion();
    epilogues(&mut c);
    attentions(&mut c);
    passes(&mut c);
    losses(&mut c);
    updates(&mut c);
    c.final_summary();
}
