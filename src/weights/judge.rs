//! What a file has, held against what its network must have.

use std::collections::BTreeMap;

use super::error::Cause;
use super::infer::Shapes;
use super::layout::{Layout, Part};
use super::report::{KeyReport, Left};
use super::tensors::Listed;
use crate::graph::spec::NetworkSpec;

/// Places in the file's list that a weight is made of.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    Whole(usize),
    /// Queries, keys and values.
    Thirds([Option<usize>; 3]),
}

impl Origin {
    /// The places, in their order.
    pub fn parts(self) -> impl Iterator<Item = usize> {
        let (whole, thirds) = match self {
            Origin::Whole(index) => (Some(index), [None; 3]),
            Origin::Thirds(thirds) => (None, thirds),
        };
        whole.into_iter().chain(thirds.into_iter().flatten())
    }
}

/// By published key.
pub type Origins = BTreeMap<String, Origin>;

/// Holds what a file has against what the network has, and leaves in `origins` what both have.
pub fn judge(
    listed: &[Listed],
    origins: &mut Origins,
    (shapes, layout): (&Shapes, &Layout),
    network: &NetworkSpec,
    keys: &mut KeyReport,
) -> Result<(), Cause> {
    let name = network.backbone.label();
    let foreign: Vec<String> =
        shapes.keys().filter(|weight| !layout.contains_key(*weight)).cloned().collect();
    for weight in foreign {
        let Some(index) = origins.remove(&weight).and_then(|origin| origin.parts().next()) else { continue };
        let key = listed[index].key.clone();
        match foreign_reason(&weight) {
            Some(reason) => return Err(Cause::Foreign { key, network: name, reason: reason.into() }),
            None => keys.left.push(Left { key, reason: "no part of dinoflow's networks".into() }),
        }
    }
    let absent = layout.iter().filter(|(weight, _)| !shapes.contains_key(*weight));
    let (optional, missing): (Vec<_>, Vec<_>) =
        absent.partition(|(_, weight)| weight.part == Part::Statistic);
    if !missing.is_empty() {
        let keys = missing.into_iter().map(|(weight, _)| weight.clone()).collect();
        return Err(Cause::Missing { network: name, keys });
    }
    let half =
        optional.iter().find_map(|(weight, _)| other_half(weight).filter(|other| shapes.contains_key(other)));
    if let Some(there) = half {
        let what = "a batch norm's mean and variance belong together, and the other one is missing";
        return Err(Cause::tensor(&there, what));
    }
    keys.missing.extend(optional.into_iter().map(|(weight, _)| weight.clone()));
    for (weight, found) in shapes {
        let Some(expected) = layout.get(weight).filter(|expected| expected.dims != *found) else { continue };
        let (key, expected) = (weight.clone(), expected.dims.clone());
        return Err(Cause::Shape { key, found: found.clone(), network: name, expected });
    }
    Ok(())
}

/// A batch norm's variance beside its mean, and the other way round.
fn other_half(weight: &str) -> Option<String> {
    let (norm, what) = weight.rsplit_once('.')?;
    let other = match what {
        "running_mean" => "running_var",
        "running_var" => "running_mean",
        _ => return None,
    };
    Some(format!("{norm}.{other}"))
}

/// Whether features need a weight of this key, or would be others with it.
pub fn essential(weight: &str) -> bool {
    let tokens = ["backbone.cls_token", "backbone.pos_embed", "backbone.register_tokens"];
    tokens.contains(&weight) || foreign_reason(weight).is_some()
}

/// Why features would be others without a weight; none of one that stands apart from the network.
fn foreign_reason(weight: &str) -> Option<&'static str> {
    let Some(key) = weight.strip_prefix("backbone.") else { return Some("its head is another") };
    let inside = [
        "blocks.",
        "patch_embed.",
        "norm.",
        "layer1.",
        "layer2.",
        "layer3.",
        "layer4.",
        "conv1.",
        "bn1.",
        "encoder.",
        "embeddings.",
        "layers.",
    ];
    match key {
        _ if key.contains(".ls1.") || key.contains(".ls2.") => {
            Some("a scale behind each branch, as DINOv2 has")
        }
        _ if key.contains("q_norm.") || key.contains("k_norm.") => Some("norms of queries and keys"),
        _ if key.contains(".w12.") || key.contains(".w3.") => Some("a gated MLP"),
        _ if key.starts_with("fc_norm.") || key.starts_with("norm_pre.") => Some("a norm of its own"),
        _ if key.starts_with("dist_token") || key.starts_with("head_dist.") => {
            Some("a token of distillation")
        }
        _ if inside.iter().any(|start| key.starts_with(start)) => Some("it is another network"),
        _ => None,
    }
}
