//! What weights are called by the programs that keep them, one file a convention, both ways. Ours are the published keys.

mod hugging_face;
mod published;
mod timm;
mod torchvision;

use serde::Serialize;

use super::tensors::Listed;

/// Who named a file's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Published keys in safetensors: what dinoflow itself writes.
    Dinoflow,
    /// The published training's checkpoint: `student`, `teacher` and more.
    PublishedFull,
    /// The published keys of a backbone, with or without what stands before them.
    PublishedBackbone,
    /// timm's vision transformers.
    Timm,
    /// Hugging Face's `ViTModel` and what is built on it.
    HuggingFace,
    /// torchvision's residual networks.
    Torchvision,
}

/// Where a file's tensor goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is this weight of ours.
    Whole(String),
    /// It is a third of this weight's rows: queries, keys, values.
    Third(String, usize),
    /// It is none, and why that changes no feature.
    Left(&'static str),
}

/// What one of our weights is called elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    One(String),
    /// Its rows in three parts of equal size.
    Three([String; 3]),
}

impl Format {
    /// In words for people.
    pub fn label(self) -> &'static str {
        match self {
            Format::Dinoflow => "dinoflow's safetensors",
            Format::PublishedFull => "the published training's checkpoint",
            Format::PublishedBackbone => "a published backbone",
            Format::Timm => "timm",
            Format::HuggingFace => "Hugging Face ViT",
            Format::Torchvision => "torchvision ResNet",
        }
    }

    /// Where a file's tensor goes. What no network of ours has gets the key that it would have.
    pub fn place(self, key: &str) -> Place {
        let key = bare(key);
        match self {
            Format::Dinoflow | Format::PublishedFull | Format::PublishedBackbone => published::place(key),
            Format::Timm => timm::place(key),
            Format::HuggingFace => hugging_face::place(key),
            Format::Torchvision => torchvision::place(key),
        }
    }

    /// What one of our weights is called there.
    ///
    /// # Errors
    /// Why there is no place for it, and what to use instead.
    pub fn names(self, key: &str) -> Result<Names, String> {
        match self {
            Format::Dinoflow | Format::PublishedFull => Ok(Names::One(published::full(key))),
            Format::PublishedBackbone => published::backbone(key).map(Names::One),
            Format::Timm => timm::name(key).map(Names::One),
            Format::HuggingFace => hugging_face::names(key),
            Format::Torchvision => torchvision::name(key).map(Names::One),
        }
    }

    /// Who named these tensors; none when nobody known did. `timm` says that a file beside them speaks of timm.
    pub fn of(listed: &[Listed], safetensors: bool, timm: bool) -> Option<Format> {
        let has = |test: &dyn Fn(&str) -> bool| listed.iter().any(|tensor| test(bare(&tensor.key)));
        if has(&|key| key.starts_with("backbone.")) {
            return Some(if safetensors { Format::Dinoflow } else { Format::PublishedBackbone });
        }
        if has(&|key| key.strip_prefix("vit.").unwrap_or(key) == "embeddings.cls_token") {
            return Some(Format::HuggingFace);
        }
        if has(&|key| key == "conv1.weight") && has(&|key| key.starts_with("layer1.0.")) {
            return Some(Format::Torchvision);
        }
        if !has(&|key| key == "cls_token") || !has(&|key| key.starts_with("blocks.")) {
            return None;
        }
        let theirs = timm || has(&|key| ["reg_token", "head.weight", "fc_norm.weight"].contains(&key));
        Some(if theirs { Format::Timm } else { Format::PublishedBackbone })
    }
}

/// A key without what wrappers of modules put before it.
fn bare(mut key: &str) -> &str {
    while let Some(rest) = ["module.", "_orig_mod."].iter().find_map(|wrapper| key.strip_prefix(wrapper)) {
        key = rest;
    }
    key
}

//TESTS
