//! How fast each layer learns, and what decays.

/// The factor of a parameter's learning rate: `decay` for each layer between it and the classifier. CLS, positions and patches are layer 0,
/// block i is layer i + 1, and the last norm is beside the classifier, in the layer after the last block (Bao et al. 2022).
pub fn share(name: &str, depth: usize, decay: f64) -> f64 {
    let name = name.strip_prefix("backbone.").unwrap_or(name);
    let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let layer = match block {
        Some(block) => block + 1,
        None if name.starts_with("norm.") => depth + 1,
        None => 0,
    };
    decay.powi((depth + 1).saturating_sub(layer) as i32)
}

/// Whether weight decay is for a parameter: for weights of several axes that are neither CLS nor positions (DeiT).
pub fn decays(name: &str, dims: &[usize]) -> bool {
    let spared = ["cls_token", "pos_embed", "register_tokens"].iter().any(|end| name.ends_with(end));
    dims.len() > 1 && !name.ends_with(".bias") && !spared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_near_the_picture_learn_slowly() {
        for (name, layers) in [
            ("backbone.cls_token", 5),
            ("backbone.patch_embed.proj.weight", 5),
            ("backbone.blocks.0.attn.qkv.weight", 4),
            ("backbone.blocks.3.mlp.fc2.bias", 1),
            ("backbone.norm.weight", 0),
        ] {
            assert_eq!(share(name, 4, 0.5), 0.5f64.powi(layers), "{name}");
            assert_eq!(share(name, 4, 1.0), 1.0);
        }
    }

    #[test]
    fn decay_is_for_matrices() {
        for (name, dims, expected) in [
            ("backbone.blocks.0.attn.qkv.weight", &[9, 3][..], true),
            ("backbone.blocks.0.attn.qkv.bias", &[9], false),
            ("backbone.norm.weight", &[3], false),
            ("backbone.pos_embed", &[1, 5, 3], false),
            ("backbone.cls_token", &[1, 1, 3], false),
        ] {
            assert_eq!(decays(name, dims), expected, "{name}");
        }
    }
}
