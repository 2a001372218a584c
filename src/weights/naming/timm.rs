//! timm's vision transformers: the published backbone's keys as they are, and `reg_token` for registers.

use super::Place;

pub fn place(key: &str) -> Place {
    match key {
        "head.weight" | "head.bias" => Place::Left("a classifier of the pretraining's labels"),
        "reg_token" => Place::Whole("backbone.register_tokens".into()),
        _ => Place::Whole(format!("backbone.{key}")),
    }
}

pub fn name(key: &str) -> Result<String, String> {
    let instead = "use --format safetensors or dino";
    let Some(key) = key.strip_prefix("backbone.") else {
        return Err(format!("timm's vision transformers have no place for {key}: {instead}"));
    };
    match key {
        "register_tokens" => Ok("reg_token".into()),
        _ if key.starts_with("patch_embed.stem.") => {
            Err(format!("timm's vision transformers have no convolutional stem ({key}): {instead}"))
        }
        _ if key.starts_with("layer1.") || key.starts_with("conv1.") => Err(format!(
            "a residual network is no vision transformer of timm's ({key}): use --format torchvision"
        )),
        _ => Ok(key.to_owned()),
    }
}
