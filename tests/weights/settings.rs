//! What lies beside weights, held against them, and what is said of weights that lack something.

use dinoflow::runtime::stage::State;
use dinoflow::weights::export::{Request, Target, export, safetensors};
use dinoflow::weights::{Which, open};

use crate::formats::{micro, resnet18, through, weights};

#[test]
fn settings_beside_weights_are_held_against_them() {
    let folder = tempfile::tempdir().unwrap();
    through(folder.path(), &micro(), Target::Hf, "hf").unwrap();
    let (hf, config) = (folder.path().join("hf"), folder.path().join("hf/config.json"));
    let shown = open(&hf, Which::Teacher).unwrap().shown.unwrap();
    assert_eq!((shown.resize, shown.crop, shown.mean), (Some(36), Some(32), Some([0.485, 0.456, 0.406])));
    let good = std::fs::read_to_string(&config).unwrap();
    let set = |key: &str, value: &str| {
        let mut config: serde_json::Value = serde_json::from_str(&good).unwrap();
        config[key] = serde_json::from_str(value).unwrap();
        config.to_string()
    };
    let mut deep = "[".repeat(200_000);
    deep.push_str(&"]".repeat(200_000));
    for (text, words) in [
        (set("model_type", "\"dinov2\""), "model_type is dinov2"),
        (set("hidden_act", "\"relu\""), "hidden_act is relu"),
        (set("num_attention_heads", "16"), "num_attention_heads is 16, the weights are vit_micro/8's with 2"),
        (set("hidden_size", "1e300"), "hidden_size is 1e+300"),
        (set("layer_norm_eps", "0.1"), "layer_norm_eps is 1e-1; dinoflow computes with 1e-6"),
        (set("layer_norm_eps", "0"), "layer_norm_eps is 0e0"),
        (set("num_hidden_layers", "-1"), "num_hidden_layers is -1"),
        (
            set("image_size", "[1, [2, [3, \"a very long value that no message should show in whole\"]]]"),
            "image_size is [1,[2,[3,\"a very long",
        ),
        ("{".into(), "no JSON"),
        (deep, "no JSON"),
        (" ".repeat(2 << 20), "which no such file has"),
    ] {
        std::fs::write(&config, text).unwrap();
        let error = open(&hf, Which::Teacher).expect_err(words).to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
    std::fs::write(&config, set("layer_norm_eps", "1e-12")).unwrap();
    let notes = open(&hf, Which::Teacher).unwrap().keys.notes;
    assert!(notes[0].contains("layer_norm_eps 1e-12"), "{notes:?}");
    std::fs::write(hf.join("preprocessor_config.json"), r#"{"image_std":[0,0,0]}"#).unwrap();
    let error = open(&hf, Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("preprocessor_config.json: image_std is [0,0,0]"), "{error}");
    std::fs::rename(hf.join("model.safetensors"), hf.join("model-00001-of-00002.safetensors")).unwrap();
    let error = open(&hf.join("model-00001-of-00002.safetensors"), Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("one of 2 parts") && error.contains("save_pretrained"), "{error}");
    assert!(open(&hf, Which::Teacher).unwrap_err().to_string().contains("neither model.safetensors nor"));
}

/// Settings of timm's that change what a network computes, or that its weights contradict.
#[test]
fn timms_settings_are_held_against_weights() {
    let folder = tempfile::tempdir().unwrap();
    through(folder.path(), &micro(), Target::Timm, "timm").unwrap();
    let (timm, config) = (folder.path().join("timm"), folder.path().join("timm/config.json"));
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    for (key, value, words) in [
        ("act_layer", "\"gelu\"", None),
        ("act_layer", "null", None),
        ("act_layer", "\"quick_gelu\"", Some("act_layer is \"quick_gelu\"")),
        ("norm_layer", "\"rmsnorm\"", Some("norm_layer is \"rmsnorm\"")),
        ("mlp_layer", "3", Some("mlp_layer is 3")),
        ("num_heads", "16", Some("num_heads is 16")),
        ("img_size", "32", None),
        ("img_size", "[32, 32]", None),
        (
            "img_size",
            "[16, 64]",
            Some("img_size is 16 x 64, the weights' position embeddings are for 32 x 32"),
        ),
        ("no_embed_class", "false", None),
        ("no_embed_class", "true", Some("17 rows: config.json says no_embed_class")),
    ] {
        let mut changed = good.clone();
        changed["model_args"][key] = serde_json::from_str(value).unwrap();
        std::fs::write(&config, changed.to_string()).unwrap();
        match (open(&timm, Which::Teacher), words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error} lacks {words}"),
            (found, _) => panic!("{key} {value}: {:?}", found.map(|found| found.keys)),
        }
    }
}

#[test]
fn a_residual_network_of_timms_is_known_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let timm = folder.path().join("timm");
    std::fs::create_dir(&timm).unwrap();
    let mut bare = State::new();
    for (key, tensor) in weights(&resnet18(), 3) {
        if let Some(key) = key.strip_prefix("backbone.") {
            bare.insert(key.to_owned(), tensor);
        }
    }
    safetensors(&timm.join("model.safetensors"), &bare).unwrap();
    for (name, words) in [
        ("resnet18", None),
        ("resnet18.a1_in1k", None),
        ("resnetblur18", Some("architecture is \"resnetblur18\"; the weights have resnet18's shapes")),
    ] {
        std::fs::write(timm.join("config.json"), format!("{{\"architecture\": \"{name}\"}}")).unwrap();
        match (open(&timm, Which::Teacher), words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error} lacks {words}"),
            (found, _) => panic!("{name}: {:?}", found.map(|found| found.keys)),
        }
    }
}

#[test]
fn what_batch_norms_start_with_is_said_in_onnx_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seen) in [("seen", true), ("unseen", false)] {
        let (from, out) = (
            folder.path().join(name).with_extension("safetensors"),
            folder.path().join(name).with_extension("onnx"),
        );
        let mut state = weights(&resnet18(), 3);
        state.retain(|key, _| seen || !(key.contains("running") || key.contains("tracked")));
        safetensors(&from, &state).unwrap();
        let request = Request { from, which: Which::Teacher, target: Target::Onnx, out, size: None };
        let notes = export(&request).unwrap().notes;
        assert_eq!(
            notes.iter().any(|note| note.contains("batch norms have seen nothing yet")),
            !seen,
            "{notes:?}"
        );
    }
}
