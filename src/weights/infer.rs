//! The architecture that shapes tell. What they don't (an activation, the number of attention heads) is what the names stand for.

use std::collections::BTreeMap;

use super::error::Cause;
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, ResNetSpec, ResNetStem, Stem, VitSpec};

/// Shapes by published key.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What there is, for messages.
const THERE_IS: &str = "vit_micro (width 128, 4 blocks), vit_tiny (192, 12), vit_small (384, 12), vit_base (768, 12) with patches of 4, 8, 14 or \
     16, resnet18 and resnet50";

/// The network with these weights, and whether its head is among them.
///
/// # Errors
/// [`Cause::Architecture`] when it is none of ours.
pub fn network(shapes: &Shapes) -> Result<(NetworkSpec, bool), Cause> {
    let backbone = match shapes.get("backbone.cls_token") {
        Some(cls) => vit(shapes, cls)?,
        None if shapes.contains_key("backbone.conv1.weight") => resnet(shapes)?,
        None => return Err(none(format!("no key of a backbone among {} tensors", shapes.len()))),
    };
    let head = head(shapes);
    if let Some(head) = head.as_ref().filter(|head| head.layers > 4) {
        return Err(none(format!("a head of {} layers before its last", head.layers)));
    }
    let widths = head.as_ref().map(|head| [head.hidden, head.bottleneck, head.out_dim]);
    if widths.is_some_and(|widths| widths.contains(&0)) {
        return Err(none("a head with a layer of no numbers".into()));
    }
    let has_head = head.is_some();
    let head = head.unwrap_or_default();
    Ok((NetworkSpec::new(backbone, head), has_head))
}

fn none(found: String) -> Cause {
    Cause::Architecture { found, there_is: THERE_IS.into() }
}

fn vit(shapes: &Shapes, cls: &[usize]) -> Result<Backbone, Cause> {
    let width = match cls {
        [1, 1, width] => *width,
        other => return Err(none(format!("a cls_token of shape {other:?}"))),
    };
    let depth = blocks(shapes);
    let (patch, stem) = patch(shapes)?;
    let registers = match shapes.get("backbone.register_tokens").map(Vec::as_slice) {
        None => 0,
        Some([1, registers, _]) => *registers,
        Some(other) => return Err(none(format!("register_tokens of shape {other:?}"))),
    };
    let rows = match shapes.get("backbone.pos_embed").map(Vec::as_slice) {
        Some([1, rows, _]) if *rows > 1 => rows - 1,
        Some(other) => return Err(none(format!("position embeddings of shape {other:?}"))),
        None => {
            return Err(none("a vision transformer without pos_embed (learned position embeddings)".into()));
        }
    };
    let grid = rows.isqrt();
    if grid * grid != rows {
        return Err(none(format!("position embeddings for {rows} patches, which make no square")));
    }
    let image = grid.checked_mul(patch).filter(|&image| image <= 1 << 14);
    let image = image
        .ok_or_else(|| none(format!("position embeddings for {grid} x {grid} patches of {patch} pixels")))?;
    let spec = VitSpec { patch, image, stem, registers };
    match (width, depth) {
        (128, 4) => Ok(Backbone::VitMicro(spec)),
        (192, 12) => Ok(Backbone::VitTiny(spec)),
        (384, 12) => Ok(Backbone::VitSmall(spec)),
        (768, 12) => Ok(Backbone::VitBase(spec)),
        _ => Err(none(format!("a vision transformer of width {width} with {depth} blocks"))),
    }
}

/// One more than the highest block's number.
fn blocks(shapes: &Shapes) -> usize {
    let number =
        |key: &String| key.strip_prefix("backbone.blocks.")?.split('.').next()?.parse::<usize>().ok();
    shapes.keys().filter_map(number).max().map_or(0, |highest| highest.saturating_add(1))
}

/// The patch's side and what turns it to a token.
fn patch(shapes: &Shapes) -> Result<(usize, Stem), Cause> {
    let layers = shapes
        .keys()
        .filter(|key| key.ends_with(".conv.weight") && key.starts_with("backbone.patch_embed.stem."))
        .count();
    let proj = shapes.get("backbone.patch_embed.proj.weight").map(Vec::as_slice);
    let found = match (layers, proj) {
        (0, Some([_, 3, side, other])) if side == other => (*side, Stem::Patch),
        (0, Some([_, channels, ..])) if *channels != 3 => {
            return Err(none(format!("pictures of {channels} channels; expected 3")));
        }
        (2..=4, Some([_, _, 1, 1])) => (1 << layers, Stem::Conv),
        (_, Some(other)) => {
            return Err(none(format!(
                "a projection of patches of shape {other:?} behind {layers} convolutions"
            )));
        }
        (_, None) => return Err(none("a vision transformer without patch_embed.proj".into())),
    };
    match found.0 {
        4 | 8 | 14 | 16 => Ok(found),
        side => Err(none(format!("patches of {side} pixels"))),
    }
}

fn resnet(shapes: &Shapes) -> Result<Backbone, Cause> {
    let stem = match shapes.get("backbone.conv1.weight").map(Vec::as_slice) {
        Some([64, 3, 7, 7]) => ResNetStem::ImageNet,
        Some([64, 3, 3, 3]) => ResNetStem::Small,
        other => return Err(none(format!("a residual network whose first convolution is {other:?}"))),
    };
    let counts = [1, 2, 3, 4].map(|part| {
        let starts = format!("backbone.layer{part}.");
        let number = |key: &String| key.strip_prefix(&starts)?.split('.').next()?.parse::<usize>().ok();
        shapes.keys().filter_map(number).max().map_or(0, |highest| highest.saturating_add(1))
    });
    let bottleneck = shapes.contains_key("backbone.layer1.0.conv3.weight");
    match (counts, bottleneck) {
        ([2, 2, 2, 2], false) => Ok(Backbone::ResNet18(ResNetSpec { stem })),
        ([3, 4, 6, 3], true) => Ok(Backbone::ResNet50(ResNetSpec { stem })),
        _ => {
            let kind = if bottleneck { "bottleneck" } else { "basic" };
            Err(none(format!("a residual network of {counts:?} {kind} blocks")))
        }
    }
}

/// The head, when there is one. Its layers stand at 0, 2, 4 or, with batch norm between, at 0, 3, 6.
fn head(shapes: &Shapes) -> Option<HeadSpec> {
    let mlp = |key: &str| key.strip_prefix("head.mlp.")?.strip_suffix(".weight")?.parse::<usize>().ok();
    let mut linear: Vec<(usize, &[usize])> = shapes
        .iter()
        .filter(|(_, dims)| dims.len() == 2)
        .filter_map(|(key, dims)| Some((mlp(key)?, &dims[..])))
        .collect();
    linear.sort_unstable();
    let (first, last) = (linear.first()?.1, linear.last()?.1);
    let batch_norm = shapes.iter().any(|(key, dims)| dims.len() == 1 && mlp(key).is_some());
    let prototypes = shapes.get("head.last_layer.weight_v");
    let fallback = HeadSpec::default();
    Some(HeadSpec {
        layers: linear.len(),
        hidden: if linear.len() > 1 { first[0] } else { fallback.hidden },
        bottleneck: last[0],
        out_dim: prototypes.and_then(|dims| dims.first().copied()).unwrap_or(fallback.out_dim),
        batch_norm,
        prototypes: prototypes.is_some(),
        ..fallback
    })
}
