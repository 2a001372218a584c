//! Hugging Face's `ViTModel`. Its files split queries, keys and values; models built on it put `vit.` before the keys, and since
//! transformers 5 a module's own keys (`layers.0.attention.q_proj`) are shorter than its files' (`encoder.layer.0.…`). Both are read, the
//! files' are written.

use super::{Names, Place};

/// Parts of a block: ours, the files', and the modules' since transformers 5.
const PARTS: [(&str, &str, &str); 5] = [
    ("norm1", "layernorm_before", "layernorm_before"),
    ("attn.proj", "attention.output.dense", "attention.o_proj"),
    ("norm2", "layernorm_after", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense", "mlp.fc1"),
    ("mlp.fc2", "output.dense", "mlp.fc2"),
];

/// Queries, keys and values, in the order of our rows.
const THIRDS: [(&str, &str); 3] = [
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
];

/// What lies outside of the blocks.
const OUTSIDE: [(&str, &str); 6] = [
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    ("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    ("norm.weight", "layernorm.weight"),
    ("norm.bias", "layernorm.bias"),
];

pub fn place(key: &str) -> Place {
    let key = key.strip_prefix("vit.").unwrap_or(key);
    if let Some((ours, _)) = OUTSIDE.iter().find(|(_, theirs)| *theirs == key) {
        return Place::Whole(format!("backbone.{ours}"));
    }
    match key {
        "pooler.dense.weight" | "pooler.dense.bias" => return Place::Left("a pooler behind the features"),
        "classifier.weight" | "classifier.bias" => {
            return Place::Left("a classifier of the pretraining's labels");
        }
        "embeddings.mask_token" => return Place::Left("what masked patches are replaced by in training"),
        _ => {}
    }
    in_block(key).unwrap_or_else(|| Place::Whole(format!("backbone.{key}")))
}

/// The place of a block's weight.
fn in_block(key: &str) -> Option<Place> {
    let rest = key.strip_prefix("encoder.layer.").or_else(|| key.strip_prefix("layers."))?;
    let (block, rest) = rest.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    if let Some(third) = THIRDS.iter().position(|(file, module)| part == *file || part == *module) {
        return Some(Place::Third(format!("backbone.blocks.{block}.attn.qkv.{kind}"), third));
    }
    let (ours, _, _) = PARTS.iter().find(|(_, file, module)| part == *file || part == *module)?;
    Some(Place::Whole(format!("backbone.blocks.{block}.{ours}.{kind}")))
}

pub fn names(key: &str) -> Result<Names, String> {
    let instead = "use --format timm, dino or safetensors";
    let none = || format!("Hugging Face's ViTModel has no place for {key}: {instead}");
    let key = key.strip_prefix("backbone.").ok_or_else(none)?;
    if key == "register_tokens" {
        return Err(format!("Hugging Face's ViTModel has no registers: {instead}"));
    }
    if key.starts_with("patch_embed.stem.") {
        return Err(
            "Hugging Face's ViTModel has no convolutional stem: use --format dino or safetensors".into()
        );
    }
    if let Some((_, theirs)) = OUTSIDE.iter().find(|(ours, _)| *ours == key) {
        return Ok(Names::One((*theirs).to_owned()));
    }
    let (block, rest) = key.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')).ok_or_else(none)?;
    let (part, kind) = rest.rsplit_once('.').ok_or_else(none)?;
    let named = |theirs: &str| format!("encoder.layer.{block}.{theirs}.{kind}");
    if part == "attn.qkv" {
        return Ok(Names::Three(THIRDS.map(|(file, _)| named(file))));
    }
    let (_, file, _) = PARTS.iter().find(|(ours, _, _)| *ours == part).ok_or_else(none)?;
    Ok(Names::One(named(file)))
}
