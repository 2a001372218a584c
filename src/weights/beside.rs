//! What `config.json` beside weights says of their network, held against what shapes say.

use serde_json::Value;

use super::error::Cause;
use super::words::shown;
use crate::graph::spec::NetworkSpec;

fn wrong(what: String) -> Cause {
    Cause::Beside { file: "config.json".into(), what }
}

/// Holds Hugging Face's settings against a network; what differs a little comes back as notes.
///
/// # Errors
/// When they are another network's, or change its features.
pub fn judge_hugging_face(config: &Value, network: &NetworkSpec) -> Result<Vec<String>, Cause> {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    if let Some(kind) = text("model_type").filter(|kind| *kind != "vit") {
        return Err(wrong(format!("model_type is {}; of Hugging Face's, `vit` is read", shown(kind))));
    }
    if let Some(act) = text("hidden_act").filter(|act| !["gelu", "gelu_python"].contains(act)) {
        return Err(wrong(format!("hidden_act is {}; dinoflow's vision transformers have gelu", shown(act))));
    }
    if let Some((vit, shape)) = network.backbone.vit() {
        for (key, expected) in [
            ("hidden_size", shape.width),
            ("num_hidden_layers", shape.depth),
            ("num_attention_heads", shape.heads),
            ("intermediate_size", 4 * shape.width),
            ("patch_size", vit.patch),
            ("image_size", vit.image),
            ("num_channels", 3),
        ] {
            let found = config.get(key).filter(|found| found.as_u64() != Some(expected as u64));
            if let Some(found) = found {
                let name = network.backbone.label();
                return Err(wrong(format!(
                    "{key} is {}, the weights are {name}'s with {expected}",
                    short(found)
                )));
            }
        }
    }
    let epsilon = config.get("layer_norm_eps").and_then(Value::as_f64).filter(|&eps| eps != 1e-6);
    if let Some(eps) = epsilon.filter(|eps| !(1e-12..=1e-5).contains(eps)) {
        return Err(wrong(format!(
            "layer_norm_eps is {eps:e}; dinoflow computes with 1e-6, and features would be others"
        )));
    }
    Ok(epsilon
        .map(|eps| format!("config.json has layer_norm_eps {eps:e}; dinoflow computes with 1e-6"))
        .into_iter()
        .collect())
}

/// Holds timm's settings against a network.
///
/// # Errors
/// When they change its features.
pub fn judge_timm(config: &Value, network: &NetworkSpec) -> Result<(), Cause> {
    let Some((_, shape)) = network.backbone.vit() else { return Ok(()) };
    for (key, ours) in [
        ("act_layer", "gelu"),
        ("norm_layer", "layernorm"),
        ("mlp_layer", "mlp"),
        ("block_fn", "block"),
        ("embed_layer", "patchembed"),
        ("attn_layer", "attention"),
    ] {
        let found =
            config.get("model_args").and_then(|given| given.get(key)).filter(|found| !found.is_null());
        let other = |found: &&Value| !found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(ours));
        if let Some(found) = found.filter(other) {
            let what = format!("{key} is {}; dinoflow's vision transformers have {ours}", short(found));
            return Err(wrong(what));
        }
    }
    let heads = config.get("model_args").and_then(|given| given.get("num_heads"));
    match heads.filter(|heads| heads.as_u64() != Some(shape.heads as u64)) {
        None => Ok(()),
        Some(found) => {
            let (name, expected) = (network.backbone.label(), shape.heads);
            Err(wrong(format!("num_heads is {}, {name} has {expected}", short(found))))
        }
    }
}

/// Holds the name of timm's architecture against a residual network, of which the same shapes may compute something else.
///
/// # Errors
/// When it is another.
pub fn judge_timm_architecture(config: &Value, network: &NetworkSpec) -> Result<(), Cause> {
    let name = network.backbone.name();
    let said = config.get("architecture").filter(|_| network.backbone.resnet().is_some());
    let other = |said: &&Value| said.as_str().and_then(|said| said.split('.').next()) != Some(name);
    match said.filter(other) {
        None => Ok(()),
        Some(found) => Err(wrong(format!(
            "architecture is {}; the weights have {name}'s shapes, and it computes something else",
            short(found)
        ))),
    }
}

/// A value of settings, as much as fits a message.
fn short(value: &Value) -> String {
    shown(&value.to_string())
}
