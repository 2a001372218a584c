use super::Dims;
use crate::kernels::probe::{differentiates, half, poison, values, weighted};
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
        Products::F32 => Numbers::F32(fulls[i]),
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
