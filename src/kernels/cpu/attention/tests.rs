use super::Dims;
use crate::kernels::probe::{differentiates, poison, values, weighted};
use crate::kernels::scalar;

fn check(d: Dims) {
    let scale = (d.head_dim as f32).powf(-0.5);
    let (count, width) = (d.batch * d.heads * d.queries, d.stride());
    let qkv = values("qkv", d.batch * d.tokens * width);
    let dout = values("dout", count * d.head_dim);
    let (mut out, mut lse) = (poison(count * d.head_dim), poison(count));
    scalar::attention::forward(d, scale, &qkv, &mut out, &mut lse);
    twins!(3e-6, attention::forward(d, scale, &qkv, o, l), o = poison(count * d.head_dim), l = poison(count));
    twins!(3e-6, attention::probabilities(d, scale, &qkv, p), p = poison(count * d.tokens));
    twins!(1e-5, attention::backward(d, scale, &qkv, &out, &lse, &dout, dqkv), dqkv = poison(qkv.len()));
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
        check(Dims { batch, tokens, queries, heads, head_dim });
    }
}

#[test]
fn scalar_attention_differentiates() {
    let d = Dims { batch: 1, tokens: 4, queries: 2, heads: 2, head_dim: 3 };
    let (qkv, dout) = (values("qkv", 72), values("dout", 12));
    let run = |qkv: &[f32]| {
        let (mut out, mut lse) = (poison(12), poison(4));
        scalar::attention::forward(d, 0.7, qkv, &mut out, &mut lse);
        (weighted(&dout, &out), out, lse)
    };
    let (_, out, lse) = run(&qkv);
    let mut dqkv = poison(72);
    scalar::attention::backward(d, 0.7, &qkv, &out, &lse, &dout, &mut dqkv);
    differentiates("dqkv", &qkv, &dqkv, |qkv| run(qkv).0);
}
