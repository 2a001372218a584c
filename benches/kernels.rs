//! Rates of the kernels at ViT-S/16's shapes: `cargo bench --bench kernels [FILTER]`.

use dinoflow::kernels::cpu::attention::{self, Dims};
use dinoflow::kernels::cpu::{layer_norm, linear, loss, normalize, optimizer};
use std::time::Instant;

const F: dinoflow::kernels::Products = dinoflow::kernels::Products::F32;

/// The best of several runs, in seconds: the machine may be shared.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = Instant::now();
    let mut runs = 0;
    while runs < 3 || (start.elapsed().as_secs_f64() < 0.6 && runs < 200) {
        let t = Instant::now();
        work();
        best = best.min(t.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

struct Report {
    filter: String,
}

impl Report {
    fn flops(&self, name: &str, flops: f64, work: impl FnMut()) {
        if name.contains(&self.filter) {
            let t = best(work);
            println!("{name:44} {:9.3} ms {:8.1} GFLOP/s", t * 1e3, flops / t / 1e9);
        }
    }

    fn bytes(&self, name: &str, values: usize, work: impl FnMut()) {
        if name.contains(&self.filter) {
            let t = best(work);
            println!("{name:44} {:9.3} ms {:8.1} GB/s", t * 1e3, values as f64 * 4.0 / t / 1e9);
        }
    }
}

fn filled(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// The `gemm` crate alone, to compare with.
fn gemm(
    (m, n, k): (usize, usize, usize),
    a: &[f32],
    a_strides: (isize, isize),
    b: &[f32],
    b_strides: (isize, isize),
    c: &mut [f32],
) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n);
    // SAFETY: the lengths are asserted and the strides are those of contiguous matrices
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            a_strides.1,
            a_strides.0,
            b.as_ptr(),
            b_strides.1,
            b_strides.0,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

fn linears(report: &Report, rows: usize, inp: usize, out: usize) {
    let (x, w, bias, dy) = (filled(rows * inp), filled(out * inp), filled(out), filled(rows * out));
    let (mut y, mut pre, mut dx, mut dw) =
        (filled(rows * out), filled(rows * out), filled(rows * inp), filled(out * inp));
    let flops = 2.0 * (rows * inp * out) as f64;
    let name = |what: &str| format!("{what} {rows}x{inp}->{out}");
    report.flops(&name("gemm, forward"), flops, || {
        gemm((rows, out, inp), &x, (inp as isize, 1), &w, (1, inp as isize), &mut y)
    });
    report.flops(&name("gemm, input"), flops, || {
        gemm((rows, inp, out), &dy, (out as isize, 1), &w, (inp as isize, 1), &mut dx)
    });
    report.flops(&name("gemm, weight"), flops, || {
        gemm((out, inp, rows), &dy, (1, out as isize), &x, (inp as isize, 1), &mut dw)
    });
    report.flops(&name("linear forward"), flops, || {
        linear::forward(F, rows, inp, out, x[..].into(), &w, Some(&bias), (&mut y[..]).into())
    });
    report.flops(&name("linear forward_gelu"), flops, || {
        linear::forward_gelu(
            F,
            rows,
            inp,
            out,
            x[..].into(),
            &w,
            Some(&bias),
            (&mut pre[..]).into(),
            (&mut y[..]).into(),
        )
    });
    report.flops(&name("linear forward_residual"), flops, || {
        linear::forward_residual(F, rows, inp, out, x[..].into(), &w, Some(&bias), &dy, &mut y);
    });
    report.flops(&name("linear backward_input"), flops, || {
        linear::backward_input(F, rows, inp, out, dy[..].into(), &w, (&mut dx[..]).into())
    });
    report.flops(&name("linear backward_weight"), flops, || {
        linear::backward_weight(F, rows, inp, out, dy[..].into(), x[..].into(), &mut dw)
    });
    report.bytes(&name("linear backward_bias"), rows * out, || {
        linear::backward_bias(rows, out, dy[..].into(), &mut pre[..out])
    });
}

fn attentions(report: &Report, d: Dims) {
    let width = d.heads * d.head_dim;
    let (qkv, dout) = (filled(d.batch * d.tokens * 3 * width), filled(d.batch * d.queries * width));
    let (mut out, mut lse, mut dqkv) =
        (filled(dout.len()), filled(d.batch * d.heads * d.queries), filled(qkv.len()));
    let product = 2.0 * (d.batch * d.heads * d.queries * d.tokens * d.head_dim) as f64;
    let name = |what: &str| format!("attention {what} {}x{} of {}", d.batch, d.queries, d.tokens);
    attention::forward(F, d, 0.125, qkv[..].into(), (&mut out[..]).into(), &mut lse);
    report.flops(&name("forward"), 2.0 * product, || {
        attention::forward(F, d, 0.125, qkv[..].into(), (&mut out[..]).into(), &mut lse)
    });
    report.flops(&name("backward"), 5.0 * product, || {
        attention::backward(
            F,
            d,
            0.125,
            qkv[..].into(),
            out[..].into(),
            &lse,
            dout[..].into(),
            (&mut dqkv[..]).into(),
        )
    });
}

fn elementwise(report: &Report) {
    let (rows, dim) = (16 * 197, 384);
    let n = rows * dim;
    let (x, dy, gain) = (filled(n), filled(n), filled(dim));
    let (mut y, mut mean, mut rstd, mut dgain, mut dbias) =
        (filled(n), filled(rows), filled(rows), filled(dim), filled(dim));
    report.bytes("copy", 2 * n, || y.copy_from_slice(&x));
    report.bytes("layer_norm forward", 2 * n, || {
        layer_norm::forward(rows, dim, 1e-6, &x, &gain, &gain, (&mut y[..]).into(), &mut mean, &mut rstd)
    });
    report.bytes("layer_norm backward", 4 * n, || {
        layer_norm::backward(
            rows,
            dim,
            dy[..].into(),
            &x,
            &gain,
            &mean,
            &rstd,
            None,
            &mut y,
            &mut dgain,
            &mut dbias,
        );
    });
    let wide = 4 * n;
    let (pre, mut act) = (filled(wide), filled(wide));
    report.bytes("gelu forward", 2 * wide, || linear::gelu_forward(pre[..].into(), (&mut act[..]).into()));
    report.bytes("gelu backward", 3 * wide, || linear::gelu_backward(pre[..].into(), &mut act));
    let (views, batch, k) = (10, 8, 65_536);
    let (student, teacher, center) = (filled(views * batch * k), filled(2 * batch * k), filled(k));
    let mut column = vec![0.0; k];
    let (mut d, mut targets, mut entropy) = (filled(student.len()), filled(teacher.len()), filled(2 * batch));
    report.bytes("loss centered_softmax", 2 * teacher.len(), || {
        loss::centered_softmax(2 * batch, k, &teacher, Some(&center), 0.04, &mut targets, &mut entropy);
    });
    report.bytes("loss cross_entropy", 2 * student.len() + 2 * views * batch * k, || {
        loss::cross_entropy(views, batch, k, &student, &targets, 0.1, 1e-2, &mut d);
    });
    report
        .bytes("loss column_mean", teacher.len(), || loss::column_mean(2 * batch, k, &teacher, &mut column));
    let n = 65_536 * 256;
    let (v, g) = (filled(n), filled(n));
    let (mut p, mut m, mut s, mut norms) = (filled(n), vec![0.0; n], vec![0.0; n], filled(65_536));
    report.bytes("weight_norm forward", 2 * n, || {
        normalize::weight_norm_forward(65_536, 256, &v, None, &mut p, &mut norms)
    });
    report.bytes("weight_norm backward", 4 * n, || {
        normalize::weight_norm_backward(65_536, 256, &g, &v, None, &norms, &mut p, None);
    });
    report.bytes("optimizer adamw", 7 * n, || {
        optimizer::adamw(&mut p, &g, &mut m, &mut s, 1e-4, 0.04, 0.9, 0.999, 1e-8, 10, 1.0, None, 0.0)
    });
    report.bytes("optimizer lerp", 3 * n, || optimizer::lerp(&mut p, &v, 0.996));
    report.bytes("optimizer sum_of_squares", n, || assert!(optimizer::sum_of_squares(&v) > 0.0));
    report.bytes("optimizer all_finite", n, || assert!(optimizer::all_finite(&v)));
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let report = Report { filter };
    for (rows, inp, out) in [
        (16 * 197, 384, 1152),
        (16 * 197, 384, 384),
        (16 * 197, 384, 1536),
        (16 * 197, 1536, 384),
        (64 * 37, 384, 1536),
    ] {
        linears(&report, rows, inp, out);
    }
    linears(&report, 80, 256, 65_536);
    linears(&report, 80, 2048, 2048);
    linears(&report, 80, 2048, 256);
    linears(&report, 16, 384, 1536);
    linears(&report, 256, 512, 128);
    linears(&report, 640, 128, 512);
    attentions(&report, Dims { batch: 16, tokens: 197, queries: 197, heads: 6, head_dim: 64 });
    attentions(&report, Dims { batch: 64, tokens: 37, queries: 37, heads: 6, head_dim: 64 });
    attentions(&report, Dims { batch: 2, tokens: 785, queries: 785, heads: 12, head_dim: 64 });
    attentions(&report, Dims { batch: 16, tokens: 197, queries: 1, heads: 6, head_dim: 64 });
    elementwise(&report);
}
