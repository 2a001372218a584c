use super::super::gpu::Gpu;
use super::super::probe::{ALL, gpu, lent, near, poisoned, representable, stored, taken, tolerance};
use super::super::scratch::Memory;
use super::{Dims, backward, forward, probabilities, qkv_backward_input, qkv_backward_weight, qkv_forward};
use crate::kernels::Products;
use crate::kernels::probe::{poison, values};
use crate::kernels::scalar::attention as twin;

/// Heads for tensor cores and for others; tokens less than a tile, a tile, more than one; one query, some, all.
const SHAPES: [(usize, usize, usize, usize, usize); 24] = [
    (0, 3, 2, 1, 32),
    (1, 1, 1, 1, 5),
    (1, 1, 1, 1, 64),
    (2, 5, 5, 2, 4),
    (3, 5, 2, 3, 32),
    (1, 16, 16, 2, 64),
    (2, 17, 17, 3, 32),
    (1, 17, 1, 1, 128),
    (2, 37, 37, 2, 64),
    (3, 37, 1, 2, 64),
    (1, 37, 20, 1, 96),
    (1, 64, 64, 1, 128),
    (1, 64, 10, 1, 96),
    (1, 65, 65, 2, 64),
    (1, 65, 1, 2, 32),
    (1, 65, 33, 1, 128),
    (1, 70, 17, 1, 4),
    (1, 100, 100, 1, 96),
    (1, 80, 80, 2, 128),
    (1, 197, 197, 1, 64),
    (2, 197, 1, 1, 64),
    (1, 140, 5, 1, 97),
    (1, 150, 130, 1, 32),
    (1, 300, 170, 1, 32),
];

fn dims((batch, tokens, queries, heads, head_dim): (usize, usize, usize, usize, usize)) -> Dims {
    Dims { batch, tokens, queries, heads, head_dim }
}

/// Whether a place in qkv is in the query of a token that does not ask.
fn idle(d: Dims, place: usize) -> bool {
    let width = d.heads * d.head_dim;
    place / (3 * width) % d.tokens >= d.queries && place % (3 * width) < width
}

/// Inputs and what the twin makes of them, all in the precision of the products.
struct Case {
    products: Products,
    d: Dims,
    /// Numbers on the GPU before those of qkv.
    skip: usize,
    scale: f32,
    qkv: Vec<f32>,
    dout: Vec<f32>,
    out: Vec<f32>,
    lse: Vec<f32>,
    dqkv: Vec<f32>,
}

impl Case {
    fn new(products: Products, d: Dims, skip: usize, change: impl Fn(&mut [f32], &mut [f32])) -> Case {
        let count = d.batch * d.heads * d.queries;
        let mut qkv = values("qkv", d.batch * d.tokens * 3 * d.heads * d.head_dim);
        let mut dout = values("dout", count * d.head_dim);
        change(&mut qkv, &mut dout);
        // nobody may read the queries of tokens that do not ask
        qkv.iter_mut().enumerate().filter(|(i, _)| idle(d, *i)).for_each(|(_, x)| *x = f32::NAN);
        let (qkv, dout) = (representable(products, &qkv), representable(products, &dout));
        let (mut out, mut lse, mut dqkv) = (poison(dout.len()), poison(count), poison(qkv.len()));
        // a power of two: the twin rounds the scores' gradient with it, the kernels without
        let scale = (d.head_dim as f32).powf(-0.5).log2().round().exp2();
        // and plain arithmetic rounds no factors
        let inner =
            if skip == 0 && matches!(d.head_dim, 32 | 64 | 96 | 128) { products } else { Products::F32 };
        twin::forward(inner, d, scale, qkv[..].into(), (&mut out[..]).into(), &mut lse);
        let out = representable(products, &out);
        // a twin that is given no number checks its sums in vain
        if lse.iter().all(|l| l.is_finite()) {
            let (qkv, out, dout) = (qkv[..].into(), out[..].into(), dout[..].into());
            twin::backward(inner, d, scale, qkv, out, &lse, dout, (&mut dqkv[..]).into());
        }
        Case { products, d, skip, scale, qkv, dout, out, lse, dqkv }
    }

    /// out and lse as the GPU makes them.
    fn forward(&self, gpu: &Gpu, qkv: &Memory) -> (Vec<f32>, Vec<f32>) {
        let mut out = poisoned(gpu, self.products, self.out.len());
        let mut lse = lent(gpu, &poison(self.lse.len()));
        let qkv = qkv.any().slice(self.skip..qkv.len());
        forward(gpu, self.products, self.d, self.scale, qkv, out.any_mut(), lse.view_mut()).unwrap();
        (taken(gpu, &out), taken(gpu, &lse))
    }

    /// dqkv as the GPU makes it of the twin's out and lse.
    fn backward(&self, gpu: &Gpu, qkv: &Memory) -> Vec<f32> {
        let [out, dout] = [&self.out, &self.dout].map(|x| stored(gpu, self.products, x));
        let (lse, mut dqkv) = (lent(gpu, &self.lse), poisoned(gpu, self.products, self.qkv.len()));
        let qkv = qkv.any().slice(self.skip..qkv.len());
        let (out, dout, to) = (out.any(), dout.any(), dqkv.any_mut());
        backward(gpu, self.products, self.d, self.scale, qkv, out, lse.view(), dout, to).unwrap();
        taken(gpu, &dqkv)
    }

    /// Holds both against the twin's; sums may be `plain` off in f32.
    fn check(&self, gpu: &Gpu, qkv: &Memory, plain: f64) {
        // half a step more: probabilities are rounded before they are divided by their sum, in the twin after that
        let far = if self.products == Products::F32 { plain } else { 1.5 * tolerance(self.products, plain) };
        let what = format!("{:?} {:?}", self.products, self.d);
        let (out, lse) = self.forward(gpu, qkv);
        near(&format!("out of {what}"), far, &out, &self.out);
        near(&format!("lse of {what}"), plain.max(1e-5), &lse, &self.lse);
        let dqkv = self.backward(gpu, qkv);
        near(&format!("dqkv of {what}"), far, &dqkv, &self.dqkv);
        for (i, x) in dqkv.iter().enumerate().filter(|(i, _)| idle(self.d, *i)) {
            assert_eq!(x.to_bits(), 0, "the gradient of a query that nobody asked, {i} of {what}");
        }
    }
}

#[test]
fn attention_agrees_with_its_twin() {
    let Some(gpu) = gpu() else { return };
    for (shape, products) in SHAPES.into_iter().flat_map(|shape| ALL.map(|products| (shape, products))) {
        let case = Case::new(products, dims(shape), 0, |_, _| ());
        case.check(gpu, &stored(gpu, products, &case.qkv), 1e-5);
    }
}

#[test]
fn numbers_may_stand_anywhere() {
    let Some(gpu) = gpu() else { return };
    for (products, shape) in
        ALL.into_iter().flat_map(|p| [(2, 17, 17, 1, 32), (1, 70, 3, 1, 64)].map(|s| (p, s)))
    {
        let case = Case::new(products, dims(shape), 1, |_, _| ());
        let qkv = stored(gpu, products, &[&[f32::NAN], &case.qkv[..]].concat());
        case.check(gpu, &qkv, 1e-5);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let Some(gpu) = gpu() else { return };
    for (products, shape) in
        ALL.into_iter().flat_map(|p| [(1, 37, 37, 1, 32), (1, 70, 1, 1, 64)].map(|s| (p, s)))
    {
        // a factor that leaves 16-bit numbers what they are
        let case = Case::new(products, dims(shape), 0, |qkv, _| qkv.iter_mut().for_each(|x| *x *= 32.0));
        // sums near 10⁴ are given as f32: an exponential of them has three digits less
        case.check(gpu, &stored(gpu, products, &case.qkv), 2e-3);
    }
}

/// NaN in one query, key, value or gradient goes where the twin's goes, and nowhere else.
#[test]
fn nan_is_never_hidden() {
    let Some(gpu) = gpu() else { return };
    let nan = |x: &[f32]| x.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
    for (products, shape) in ALL
        .into_iter()
        .flat_map(|p| [(2, 20, 20, 2, 32), (1, 70, 70, 1, 32), (1, 70, 2, 1, 32)].map(|s| (p, s)))
    {
        let d = dims(shape);
        let width = d.heads * d.head_dim;
        for part in 0..3 {
            let token = if part == 0 { 1 } else { d.tokens - 2 };
            let case = Case::new(products, d, 0, |qkv, _| qkv[(token * 3 + part) * width + 3] = f32::NAN);
            let (out, lse) = case.forward(gpu, &stored(gpu, products, &case.qkv));
            assert_eq!(nan(&out), nan(&case.out), "out, part {part}, {products:?} {d:?}");
            assert_eq!(nan(&lse), nan(&case.lse), "lse, part {part}, {products:?} {d:?}");
            let dqkv = case.backward(gpu, &stored(gpu, products, &case.qkv));
            assert!(
                dqkv[..3 * width * d.tokens].iter().any(|x| x.is_nan()),
                "dqkv, part {part}, {products:?} {d:?}"
            );
        }
        let case = Case::new(products, d, 0, |_, dout| dout[width + 2] = f32::NAN);
        let dqkv = case.backward(gpu, &stored(gpu, products, &case.qkv));
        assert_eq!(nan(&dqkv), nan(&case.dqkv), "dqkv, {products:?} {d:?}");
    }
}

#[test]
fn other_numbers_come_out_than_go_in() {
    let Some(gpu) = gpu() else { return };
    let case = Case::new(Products::Bf16, dims((1, 17, 5, 2, 33)), 0, |_, _| ());
    let (qkv, dout) = (lent(gpu, &case.qkv), lent(gpu, &case.dout));
    let (out, _) = case.forward(gpu, &qkv);
    near("out", 8e-3, &out, &case.out);
    let (out, lse) = (stored(gpu, Products::Bf16, &case.out), lent(gpu, &case.lse));
    let mut dqkv = poisoned(gpu, Products::F16, case.qkv.len());
    let (d, scale, to) = (case.d, case.scale, dqkv.any_mut());
    backward(gpu, Products::Bf16, d, scale, qkv.any(), out.any(), lse.view(), dout.any(), to).unwrap();
    near("dqkv", 8e-3, &taken(gpu, &dqkv), &case.dqkv);
}

#[test]
fn probabilities_agree_with_their_twin() {
    let Some(gpu) = gpu() else { return };
    for (shape, products) in SHAPES.into_iter().flat_map(|shape| ALL.map(|products| (shape, products))) {
        let d = dims(shape);
        let qkv = values("qkv", d.batch * d.tokens * 3 * d.heads * d.head_dim);
        let qkv = representable(products, &qkv);
        let mut wanted = poison(d.batch * d.heads * d.queries * d.tokens);
        twin::probabilities(products, d, 0.3, qkv[..].into(), &mut wanted);
        let (qkv, mut found) = (stored(gpu, products, &qkv), lent(gpu, &poison(wanted.len())));
        probabilities(gpu, products, d, 0.3, qkv.any(), found.view_mut()).unwrap();
        near(&format!("probabilities of {d:?}"), 5e-6, &taken(gpu, &found), &wanted);
    }
}

/// The layer before attention; queries and their gradients that nobody asks for are poisoned.
fn check_qkv(gpu: &Gpu, p: Products, d: Dims) {
    let (width, rows) = (d.heads * d.head_dim, d.batch * d.tokens);
    let [x, w, bias] =
        [("x", rows * width), ("w", 3 * width * width), ("bias", 3 * width)].map(|(name, n)| values(name, n));
    let x = representable(p, &x);
    let mut dqkv = representable(p, &values("dqkv", rows * 3 * width));
    let mut start = poison(dqkv.len());
    for i in (0..dqkv.len()).filter(|&i| idle(d, i)) {
        (dqkv[i], start[i]) = (f32::NAN, 0.5);
    }
    let (mut qkv, mut dx, mut dw) = (start.clone(), poison(x.len()), values("dw", w.len()));
    let (to, begun) = ((&mut qkv[..]).into(), lent(gpu, &dw));
    twin::qkv_forward(p, d, x[..].into(), &w, &bias, to);
    twin::qkv_backward_input(p, d, dqkv[..].into(), &w, (&mut dx[..]).into());
    twin::qkv_backward_weight(p, d, dqkv[..].into(), x[..].into(), &mut dw);

    let [x_given, dqkv_given, mut qkv_made] = [&x, &dqkv, &start].map(|x| stored(gpu, p, x));
    let [w, bias] = [&w, &bias].map(|x| lent(gpu, x));
    let (mut dx_made, mut dw_made) = (poisoned(gpu, p, x.len()), begun);
    qkv_forward(gpu, p, d, x_given.any(), w.view(), bias.view(), qkv_made.any_mut()).unwrap();
    qkv_backward_input(gpu, p, d, dqkv_given.any(), w.view(), dx_made.any_mut()).unwrap();
    qkv_backward_weight(gpu, p, d, dqkv_given.any(), x_given.any(), dw_made.view_mut()).unwrap();
    let far = tolerance(p, 5e-6);
    near(&format!("qkv of {p:?} {d:?}"), far, &taken(gpu, &qkv_made), &qkv);
    near(&format!("dx of {p:?} {d:?}"), far, &taken(gpu, &dx_made), &dx);
    near(&format!("dw of {p:?} {d:?}"), 5e-6, &taken(gpu, &dw_made), &dw);
}

#[test]
fn queries_keys_and_values_agree_with_their_twins() {
    let Some(gpu) = gpu() else { return };
    for shape in [
        (0, 3, 2, 1, 4),
        (1, 1, 1, 1, 5),
        (2, 3, 3, 2, 6),
        (3, 37, 1, 2, 16),
        (2, 19, 5, 3, 11),
        (16, 17, 1, 1, 8),
    ] {
        for products in ALL {
            check_qkv(gpu, products, dims(shape));
        }
    }
}
