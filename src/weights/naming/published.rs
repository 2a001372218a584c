//! The published keys: `backbone.blocks.0.attn.qkv.weight`, `head.mlp.0.weight`; a published backbone's file leaves `backbone.` out.

use super::Place;

const CLASSIFIER: &str = "a classifier of the pretraining's labels";

pub fn place(key: &str) -> Place {
    match key {
        "head.weight" | "head.bias" | "backbone.head.weight" | "backbone.head.bias" => {
            Place::Left(CLASSIFIER)
        }
        "backbone.fc.weight" | "backbone.fc.bias" | "fc.weight" | "fc.bias" => Place::Left(CLASSIFIER),
        "mask_token" | "backbone.mask_token" => {
            Place::Left("what masked patches are replaced by in training")
        }
        // an MLP of one layer is no sequence of layers there
        "head.mlp.weight" => Place::Whole("head.mlp.0.weight".into()),
        "head.mlp.bias" => Place::Whole("head.mlp.0.bias".into()),
        // what weight norm calls its two parts since PyTorch 2.1
        "head.last_layer.parametrizations.weight.original0" => {
            Place::Whole("head.last_layer.weight_g".into())
        }
        "head.last_layer.parametrizations.weight.original1" => {
            Place::Whole("head.last_layer.weight_v".into())
        }
        _ if key.starts_with("backbone.") || key.starts_with("head.") => Place::Whole(key.to_owned()),
        _ => Place::Whole(format!("backbone.{key}")),
    }
}

/// The key in a whole checkpoint: ours are the published ones.
pub fn full(key: &str) -> String {
    key.to_owned()
}

/// The key in a backbone's file.
pub fn backbone(key: &str) -> Result<String, String> {
    let none = || {
        format!("a published backbone's file has no place for {key}: use --format dino-full or safetensors")
    };
    key.strip_prefix("backbone.").map(str::to_owned).ok_or_else(none)
}
