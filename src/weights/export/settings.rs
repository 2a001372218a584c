//! The settings that lie beside weights in folders of other programs, so that they compute our features.

use serde_json::{Value, json};

use crate::data::augment::{IMAGENET_DEVIATION, IMAGENET_MEAN};
use crate::graph::spec::{VitShape, VitSpec};
use crate::weights::error::Cause;
use crate::weights::{Opened, Preprocessing};

/// Files of settings by name.
pub type Settings = Vec<(&'static str, Value)>;

/// How pictures are shown: the shorter side and the crop in pixels, mean and deviation.
struct View {
    resize: usize,
    crop: usize,
    mean: [f64; 3],
    deviation: [f64; 3],
}

impl View {
    /// What was said when the weights came in, else the paper's: a crop of the network's own size out of 8/7 of it.
    fn of(opened: &Opened, image: usize) -> View {
        let shown = opened.shown.unwrap_or_default();
        let Preprocessing { mean, deviation, .. } = shown;
        let view = |crop: usize| View {
            resize: crop * 8 / 7,
            crop,
            mean: mean.unwrap_or(IMAGENET_MEAN).map(short),
            deviation: deviation.unwrap_or(IMAGENET_DEVIATION).map(short),
        };
        match (shown.resize, shown.crop) {
            (Some(resize), Some(crop)) if crop == image && resize >= crop => View { resize, ..view(crop) },
            _ => view(image),
        }
    }
}

/// The shortest decimal that is the same f32: 0.485, not 0.48500001430511475.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn transformer(opened: &Opened) -> Result<(&VitSpec, VitShape), Cause> {
    let name = opened.network.backbone.label();
    let none = || {
        Cause::Request(format!(
            "{name} is no vision transformer: use --format torchvision, dino or safetensors"
        ))
    };
    opened.network.backbone.vit().ok_or_else(none)
}

/// `config.json` and `preprocessor_config.json` for Hugging Face's `ViTModel`.
pub fn hugging_face(opened: &Opened) -> Result<Settings, Cause> {
    let (vit, shape) = transformer(opened)?;
    let config = json!({
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "image_size": vit.image,
        "patch_size": vit.patch,
        "num_channels": 3,
        "qkv_bias": true,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
    });
    let View { resize, crop, mean, deviation } = View::of(opened, vit.image);
    // the processor that resizes the shorter side and cuts the middle
    let preprocessor = json!({
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": { "shortest_edge": resize },
        "resample": 3,
        "do_center_crop": true,
        "crop_size": { "height": crop, "width": crop },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": mean,
        "image_std": deviation,
    });
    Ok(vec![("config.json", config), ("preprocessor_config.json", preprocessor)])
}

/// `config.json` of a folder that `timm.create_model("local-dir:…")` opens.
pub fn timm(opened: &Opened) -> Result<Settings, Cause> {
    let (vit, shape) = transformer(opened)?;
    let View { resize, crop, mean, deviation } = View::of(opened, vit.image);
    let config = json!({
        // the rest of what it is stands under model_args
        "architecture": "vit_small_patch16_224",
        "num_classes": 0,
        "num_features": shape.width,
        "global_pool": "token",
        "model_args": {
            "img_size": vit.image,
            "patch_size": vit.patch,
            "embed_dim": shape.width,
            "depth": shape.depth,
            "num_heads": shape.heads,
            "reg_tokens": vit.registers,
        },
        "pretrained_cfg": {
            "input_size": [3, crop, crop],
            "fixed_input_size": true,
            "interpolation": "bicubic",
            "crop_pct": crop as f64 / resize as f64,
            "crop_mode": "center",
            "mean": mean,
            "std": deviation,
            "num_classes": 0,
            "pool_size": null,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    });
    Ok(vec![("config.json", config)])
}
