use super::Dims;
use crate::kernels::probe::{agree, differentiates, half, poison, values, weighted};
use crate::kernels::{Numbers, Products, scalar};

fn check(p: Products, d: Dims) {
    let scale = (d.head_dim as f32).powf(-0.5);
    let (count, width) = (d.batch * d.heads * d.queries, d.stride());
    let mut qkv = values("qkv", d.batch * d.tokens * width);
    if p == Products::Bf16 {
        qkv = half(&qkv).iter().map(|x| x.to_f32()).collect();
    }
    let dout = values("dout", count * d.head_dim);
    let (mut out, mut lse) = (poison(count * d.head_dim), poison(count));
    scalar::attention::forward(p, d, scale, qkv[..].into(), (&mut out[..]).into(), &mut lse);
    let halves = [&qkv, &out, &dout].map(|x| half(x));
    let fulls = [&qkv, &out, &dout];
    let [qkv, out, dout] = [0, 1, 2].map(|i| match p {
        Products::F32 | Products::F16 => Numbers::F32(fulls[i]),
        Products::Bf16 => Numbers::Bf16(&halves[i]),
    });
    // two probabilities on either side of a tie are rounded a whole step of bf16 apart
    let far = |tolerance: f64| if p == Products::Bf16 { 1e-2 } else { tolerance };
    macro_rules! forward {
        ($module:ident) => {
            |[o, l]| {
                let mut o = crate::kernels::probe::Stored::new(p, o);
                crate::kernels::$module::attention::forward(p, d, scale, qkv, o.view(), l);
                o.finish();
            }
        };
    }
    let outputs = [poison(count * d.head_dim), poison(count)];
    crate::kernels::probe::agree("attention::forward", far(3e-6), outputs, forward!(cpu), forward!(scalar));
    twins!(far(3e-6), attention::probabilities(p, d, scale, qkv, probs), probs = poison(count * d.tokens));
    macro_rules! backward {
        ($module:ident) => {
            |[dqkv]| {
                let mut dqkv = crate::kernels::probe::Stored::new(p, dqkv);
                let to = dqkv.view();
                crate::kernels::$module::attention::backward(p, d, scale, qkv, out, &lse, dout, to);
                dqkv.finish();
            }
        };
    }
    let outputs = [poison(qkv.len())];
    crate::kernels::probe::agree(
        "attention::backward",
        far(1e-5),
        outputs,
        backward!(cpu),
        backward!(scalar),
    );
}

#[test]
fn fast_attention_agrees_with_its_twin() {
    for (batch, tokens, queries, heads, head_dim) in [
        (1, 1, 1, 1, 5),
        (2, 3, 3, 2, 64),
        (2, 17, 1, 3, 16),
        (1, 37, 37, 6, 64),
        (3, 37, 1, 2, 64),
        (1, 197, 197, 2, 64),
        (2, 197, 5, 1, 33),
        (1, 785, 300, 1, 64),
    ] {
        for products in [Products::F32, Products::Bf16] {
            check(products, Dims { batch, tokens, queries, heads, head_dim });
        }
    }
}

/// The layer before attention; queries and their gradients that nobody asks for are poisoned.
fn check_qkv(p: Products, d: Dims) {
    let (width, rows) = (d.out_stride(), d.batch * d.tokens);
    let (x, w, bias) = (values("x", rows * width), values("w", 3 * width * width), values("bias", 3 * width));
    let mut dqkv = values("dqkv", rows * 3 * width);
    let start: Vec<f32> = (0..dqkv.len())
        .map(|i| {
            let idle = i / (3 * width) % d.tokens >= d.queries && i % (3 * width) < width;
            if idle { 0.5 } else { f32::NAN }
        })
        .collect();
    dqkv.iter_mut().zip(&start).filter(|(_, start)| **start == 0.5).for_each(|(d, _)| *d = f32::NAN);
    let (x_half, dqkv_half) = (half(&x), half(&dqkv));
    let (x, dqkv) = match p {
        Products::F32 | Products::F16 => (Numbers::F32(&x), Numbers::F32(&dqkv)),
        Products::Bf16 => (Numbers::Bf16(&x_half), Numbers::Bf16(&dqkv_half)),
    };
    macro_rules! forward {
        ($module:ident) => {
            |[qkv]| {
                crate::kernels::$module::attention::qkv_forward(p, d, x, &w, &bias, qkv[..].as_mut().into())
            }
        };
    }
    agree("attention::qkv_forward", 5e-6, [start.clone()], forward!(cpu), forward!(scalar));
    stored_twins!(5e-6, p, attention::qkv_backward_input(p, d, dqkv, &w; dx: rows * width));
    twins!(5e-6, attention::qkv_backward_weight(p, d, dqkv, x, dw), dw = values("dw", 3 * width * width));
}

#[test]
fn fast_queries_keys_and_values_agree_with_their_twins() {
    for (batch, tokens, queries, heads, head_dim) in [
        (0, 3, 2, 1, 4),
        (1, 1, 1, 1, 5),
        (2, 3, 3, 2, 6),
        (3, 37, 1, 2, 64),
        (2, 197, 5, 3, 33),
        (16, 17, 1, 1, 64),
    ] {
        for products in [Products::F32, Products::Bf16] {
            check_qkv(products, Dims { batch, tokens, queries, heads, head_dim });
        }
    }
}

#[test]
fn scalar_attention_differentiates() {
    let d = Dims { batch: 1, tokens: 4, queries: 2, heads: 2, head_dim: 3 };
    let (qkv, dout) = (values("qkv", 72), values("dout", 12));
    let run = |qkv: &[f32]| {
        let (mut out, mut lse) = (poison(12), poison(4));
        let to = (&mut out[..]).into();
        scalar::attention::forward(Products::F32, d, 0.7, qkv.into(), to, &mut lse);
        (weighted(&dout, &out), out, lse)
    };
    let (_, out, lse) = run(&qkv);
    let mut dqkv = poison(72);
    let (qkv_in, out, dout) = (qkv[..].into(), out[..].into(), dout[..].into());
    scalar::attention::backward(Products::F32, d, 0.7, qkv_in, out, &lse, dout, (&mut dqkv[..]).into());
    differentiates("dqkv", &qkv, &dqkv, |qkv| run(qkv).0);
}
