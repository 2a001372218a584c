//! A vision transformer in ONNX's operators.

use super::graph::{Builder, Name, float, int, ints};
use crate::graph::spec::{Stem, VitShape, VitSpec};
use crate::ops::LAYER_NORM_EPSILON;
use crate::weights::error::Cause;

/// Pixels (batch, 3, image, image) to `cls` (batch, width) and `patches` (batch, patches, width), both after the last norm.
pub fn build(b: &mut Builder<'_>, vit: &VitSpec, shape: VitShape) -> Result<(), Cause> {
    let pixels = b.input("pixels", &[3, vit.image, vit.image]);
    let mut x = embed(b, vit, shape, &pixels)?;
    let tokens = 1 + vit.registers + (vit.image / vit.patch).pow(2);
    for block in 0..shape.depth {
        x = attention(b, &format!("blocks.{block}"), (shape, tokens), &x)?;
        x = mlp(b, &format!("blocks.{block}"), &x)?;
    }
    let x = norm(b, "norm", &x)?;
    let zero = b.number_of_token(0);
    let cls = b.op("Gather", &[&x, &zero], vec![int("axis", 1)]);
    b.output("cls", &cls, &[shape.width]);
    let (from, to, axis) = (b.ints(&[1 + vit.registers as i64]), b.ints(&[tokens as i64]), b.ints(&[1]));
    let patches = b.op("Slice", &[&x, &from, &to, &axis], Vec::new());
    b.output("patches", &patches, &[tokens - 1 - vit.registers, shape.width]);
    Ok(())
}

impl Builder<'_> {
    /// A token's place, as a number without axes: what is gathered by it loses its axis.
    fn number_of_token(&mut self, at: i64) -> Name {
        let list = self.ints(&[at]);
        let none = self.ints(&[0]);
        self.op("Squeeze", &[&list, &none], Vec::new())
    }
}

/// Pixels to tokens with their positions: CLS, registers, patches.
fn embed(b: &mut Builder<'_>, vit: &VitSpec, shape: VitShape, pixels: &str) -> Result<Name, Cause> {
    let VitShape { width, .. } = shape;
    let maps = match vit.stem {
        Stem::Patch => project(b, pixels, vit.patch)?,
        Stem::Conv => {
            let layers = Stem::Conv.channels(width, vit.patch).len() - 1;
            let mut x = pixels.to_owned();
            for layer in 0..layers {
                x = stem_layer(b, layer, &x)?;
            }
            project(b, &x, 1)?
        }
    };
    let form = b.ints(&[0, width as i64, -1]);
    let rows = b.op("Reshape", &[&maps, &form], Vec::new());
    let rows = b.op("Transpose", &[&rows], vec![ints("perm", &[0, 2, 1])]);
    let (dims, positions) = b.numbers("pos_embed")?;
    let count = dims.get(1).copied().unwrap_or_default();
    let of_patches = b.constant("pos_embed.patches", &[1, count - 1, width], &positions[width..]);
    let patches = b.op("Add", &[&rows, &of_patches], Vec::new());
    let (_, cls) = b.numbers("cls_token")?;
    let cls: Vec<f32> = cls.iter().zip(positions).map(|(token, position)| token + position).collect();
    let cls = b.constant("cls_token", &[1, 1, width], &cls);
    let mut parts = vec![repeat(b, &cls, 1, width, pixels)];
    if vit.registers > 0 {
        let registers = b.weight("register_tokens")?;
        parts.push(repeat(b, &registers, vit.registers, width, pixels));
    }
    parts.push(patches);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(b.op("Concat", &parts, vec![int("axis", 1)]))
}

/// The same tokens (1, count, width) for every picture of the batch.
fn repeat(b: &mut Builder<'_>, tokens: &str, count: usize, width: usize, pixels: &str) -> Name {
    let shape = b.op("Shape", &[pixels], Vec::new());
    let first = b.ints(&[0]);
    let batch = b.op("Gather", &[&shape, &first], vec![int("axis", 0)]);
    let rest = b.ints(&[count as i64, width as i64]);
    let form = b.op("Concat", &[&batch, &rest], vec![int("axis", 0)]);
    b.op("Expand", &[tokens, &form], Vec::new())
}

/// Maps to one projected position for each window of `side`.
fn project(b: &mut Builder<'_>, x: &str, side: usize) -> Result<Name, Cause> {
    let (weight, bias) = (b.weight("patch_embed.proj.weight")?, b.weight("patch_embed.proj.bias")?);
    let windows = vec![ints("kernel_shape", &[side, side]), ints("strides", &[side, side])];
    Ok(b.op("Conv", &[x, &weight, &bias], windows))
}

/// A convolution of 3 × 3 with stride 2, normalised over the channels of each position, then GELU.
fn stem_layer(b: &mut Builder<'_>, layer: usize, x: &str) -> Result<Name, Cause> {
    let key = format!("patch_embed.stem.{layer}");
    let name = format!("{key}.conv.weight");
    let (dims, values) = b.numbers(&name)?;
    let &[out, _, _, inp] = dims else {
        return Err(Cause::tensor(&name, "a convolution's weight has four axes"));
    };
    // the input's channels are innermost here, outermost there
    let turned: Vec<f32> = (0..values.len())
        .map(|at| values[(at / (9 * inp)) * 9 * inp + (at % 9) * inp + at / 9 % inp])
        .collect();
    let weight = b.constant(&name, &[out, inp, 3, 3], &turned);
    let windows = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1; 4])];
    let x = b.op("Conv", &[x, &weight], windows);
    let x = b.op("Transpose", &[&x], vec![ints("perm", &[0, 2, 3, 1])]);
    let x = norm(b, &format!("{key}.norm"), &x)?;
    let x = gelu(b, &x);
    Ok(b.op("Transpose", &[&x], vec![ints("perm", &[0, 3, 1, 2])]))
}

fn norm(b: &mut Builder<'_>, key: &str, x: &str) -> Result<Name, Cause> {
    let (gain, bias) = (b.weight(&format!("{key}.weight"))?, b.weight(&format!("{key}.bias"))?);
    let about = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPSILON)];
    Ok(b.op("LayerNormalization", &[x, &gain, &bias], about))
}

fn linear(b: &mut Builder<'_>, key: &str, x: &str) -> Result<Name, Cause> {
    let (weight, bias) = (b.turned(&format!("{key}.weight"))?, b.weight(&format!("{key}.bias"))?);
    let product = b.op("MatMul", &[x, &weight], Vec::new());
    Ok(b.op("Add", &[&product, &bias], Vec::new()))
}

/// The exact one: x · (1 + erf(x / √2)) / 2.
fn gelu(b: &mut Builder<'_>, x: &str) -> Name {
    let (root, one, half) = (b.number(std::f32::consts::FRAC_1_SQRT_2), b.number(1.0), b.number(0.5));
    let scaled = b.op("Mul", &[x, &root], Vec::new());
    let erf = b.op("Erf", &[&scaled], Vec::new());
    let share = b.op("Add", &[&erf, &one], Vec::new());
    let halved = b.op("Mul", &[x, &half], Vec::new());
    b.op("Mul", &[&halved, &share], Vec::new())
}

/// x + proj(attention(qkv(norm1(x)))).
fn attention(
    b: &mut Builder<'_>,
    key: &str,
    (shape, tokens): (VitShape, usize),
    x: &str,
) -> Result<Name, Cause> {
    let VitShape { width, heads, .. } = shape;
    let dim = width / heads;
    let normed = norm(b, &format!("{key}.norm1"), x)?;
    let qkv = linear(b, &format!("{key}.attn.qkv"), &normed)?;
    let form = b.ints(&[0, tokens as i64, 3, heads as i64, dim as i64]);
    let qkv = b.op("Reshape", &[&qkv, &form], Vec::new());
    let qkv = b.op("Transpose", &[&qkv], vec![ints("perm", &[2, 0, 3, 1, 4])]);
    let [q, k, v] = [0, 1, 2].map(|part| {
        let at = b.number_of_token(part);
        b.op("Gather", &[&qkv, &at], vec![int("axis", 0)])
    });
    let k = b.op("Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])]);
    let scores = b.op("MatMul", &[&q, &k], Vec::new());
    let scale = b.number((dim as f32).powf(-0.5));
    let scores = b.op("Mul", &[&scores, &scale], Vec::new());
    let share = b.op("Softmax", &[&scores], vec![int("axis", -1)]);
    let seen = b.op("MatMul", &[&share, &v], Vec::new());
    let seen = b.op("Transpose", &[&seen], vec![ints("perm", &[0, 2, 1, 3])]);
    let form = b.ints(&[0, tokens as i64, width as i64]);
    let seen = b.op("Reshape", &[&seen, &form], Vec::new());
    let projected = linear(b, &format!("{key}.attn.proj"), &seen)?;
    Ok(b.op("Add", &[x, &projected], Vec::new()))
}

/// x + fc2(gelu(fc1(norm2(x)))).
fn mlp(b: &mut Builder<'_>, key: &str, x: &str) -> Result<Name, Cause> {
    let normed = norm(b, &format!("{key}.norm2"), x)?;
    let hidden = linear(b, &format!("{key}.mlp.fc1"), &normed)?;
    let hidden = gelu(b, &hidden);
    let out = linear(b, &format!("{key}.mlp.fc2"), &hidden)?;
    Ok(b.op("Add", &[x, &out], Vec::new()))
}
