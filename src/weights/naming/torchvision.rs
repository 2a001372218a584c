//! torchvision's residual networks: the published backbone's keys without `backbone.`, and a classifier `fc`.

use super::Place;

pub fn place(key: &str) -> Place {
    match key {
        "fc.weight" | "fc.bias" => Place::Left("a classifier of the pretraining's labels"),
        _ => Place::Whole(format!("backbone.{key}")),
    }
}

pub fn name(key: &str) -> Result<String, String> {
    let name = key.strip_prefix("backbone.");
    let known = |name: &&str| ["conv1.", "bn1.", "layer"].iter().any(|start| name.starts_with(start));
    let none = || {
        format!("torchvision's residual networks have no place for {key}: use --format safetensors or dino")
    };
    name.filter(known).map(str::to_owned).ok_or_else(none)
}
