//! Files that don't fit, or not quite: what is said of them.

use std::path::Path;

use dinoflow::graph::spec::NetworkSpec;
use dinoflow::runtime::stage::{SavedTensor, State};
use dinoflow::weights::export::safetensors;
use dinoflow::weights::{Opened, Which, open};

use crate::formats::{micro, resnet18, weights};

/// Opens weights after `change` did something to their file's tensors.
fn changed(network: &NetworkSpec, change: impl FnOnce(&mut State)) -> Result<Opened, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    let mut state = weights(network, 3);
    change(&mut state);
    safetensors(&path, &state).unwrap();
    open(&path, Which::Teacher).map_err(|e| e.to_string())
}

fn tensor(dims: &[usize], value: f32) -> SavedTensor {
    SavedTensor::F32 { dims: dims.to_vec(), values: vec![value; dims.iter().product()] }
}

/// What is said of a network's file after a change.
#[track_caller]
fn check(network: &NetworkSpec, change: impl FnOnce(&mut State), words: &str) {
    let error = changed(network, change).expect_err(words);
    assert!(error.contains(words), "{error:?} lacks {words:?}");
}

#[test]
fn keys_that_are_missing_are_named() {
    let vit = micro();
    let one = "1 key is missing for vit_micro/8: backbone.norm.bias";
    check(&vit, |state| drop(state.remove("backbone.norm.bias")), one);
    check(&vit, |state| state.retain(|key, _| !key.contains("attn")), "16 keys are missing");
    check(&vit, |state| drop(state.remove("head.mlp.0.weight")), "its head is another");
    let blocks = "[2, 2, 1, 2] basic blocks";
    check(&resnet18(), |state| state.retain(|key, _| !key.contains("layer3.1")), blocks);
    for (norm, network) in [("backbone.layer2.0.bn1", resnet18()), ("head.mlp.1", micro())] {
        for (gone, there) in [("running_mean", "running_var"), ("running_var", "running_mean")] {
            let words = format!("{norm}.{there}: a batch norm's mean and variance belong together");
            check(&network, |state| drop(state.remove(&format!("{norm}.{gone}"))), &words);
        }
    }
}

#[test]
fn tensors_of_another_network_are_named() {
    let shapes = "blocks.1.attn.proj.weight is [128, 64], vit_micro/8 has [128, 128] there";
    for (key, dims, words) in [
        ("backbone.blocks.1.attn.proj.weight", &[128, 64][..], shapes),
        ("backbone.blocks.0.ls1.gamma", &[128], "a scale behind each branch"),
        ("backbone.blocks.3.attn.q_norm.weight", &[64], "norms of queries and keys"),
        ("backbone.norm_pre.weight", &[128], "a norm of its own"),
        ("head.other.weight", &[128], "its head is another"),
        ("backbone.cls_token", &[1, 1, 256], "a vision transformer of width 256 with 4 blocks"),
        ("backbone.pos_embed", &[1, 16, 128], "15 patches, which make no square"),
        ("backbone.patch_embed.proj.weight", &[128, 3, 10, 10], "patches of 10 pixels"),
        ("backbone.patch_embed.proj.weight", &[128, 1, 8, 8], "pictures of 1 channels"),
        ("head.mlp.9.weight", &[8, 8], "missing for vit_micro/8: head.mlp.7.bias"),
        ("head.mlp.12.weight", &[8, 8], "its head is another"),
        ("head.mlp.0.weight", &[0, 128], "a head with a layer of no numbers"),
        ("head.last_layer.weight_v", &[0, 8], "a head with a layer of no numbers"),
    ] {
        check(&micro(), |state| drop(state.insert(key.into(), tensor(dims, 0.0))), words);
    }
}

#[test]
fn numbers_that_are_none_are_named() {
    let (vit, key) = (micro(), "backbone.blocks.1.attn.proj.weight");
    let hurt = |state: &mut State| {
        if let Some(SavedTensor::F32 { values, .. }) = state.get_mut(key) {
            values[77] = f32::NAN;
        }
    };
    check(&vit, hurt, "attn.proj.weight holds NaN at position 77 (of 16384)");
    let put =
        |tensor: SavedTensor| |state: &mut State| drop(state.insert("backbone.norm.weight".into(), tensor));
    check(&vit, put(tensor(&[128], f32::INFINITY)), "backbone.norm.weight holds inf");
    let variance =
        |state: &mut State| drop(state.insert("backbone.bn1.running_var".into(), tensor(&[64], -1.0)));
    check(&resnet18(), variance, "bn1.running_var: -1 at position 0 (of 64): a variance is not below 0");
    check(&vit, put(SavedTensor::U64 { dims: vec![128], values: vec![1; 128] }), "expected floats");
}

#[test]
fn what_is_left_over_is_said() {
    let more = |state: &mut State| {
        state.insert("backbone.fc.weight".into(), tensor(&[10, 512], 0.0));
        // a number that is none matters where it is used
        state.insert("backbone.predictor.weight".into(), tensor(&[4], f32::NAN));
        state.remove("backbone.bn1.running_mean");
        state.remove("backbone.bn1.running_var");
        state.remove("backbone.bn1.num_batches_tracked");
    };
    let found = changed(&resnet18(), more).unwrap();
    let left: Vec<&str> = found.keys.left.iter().map(|left| &*left.key).collect();
    assert_eq!(left, ["backbone.fc.weight", "backbone.predictor.weight"]);
    assert_eq!(found.keys.missing.len(), 3);
    let text = found.keys.to_string();
    for words in [
        "tensors loaded",
        "a classifier of the pretraining's labels",
        "what batch norms have seen is not in the file",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
}

/// A safetensors file whose floats are of another type.
fn narrowed(path: &Path, state: &State, dtype: safetensors::Dtype, bytes: impl Fn(f32) -> Vec<u8>) {
    let data: Vec<(&String, Vec<usize>, Vec<u8>)> = state
        .iter()
        .filter_map(|(key, tensor)| match tensor {
            SavedTensor::F32 { dims, values } => {
                Some((key, dims.clone(), values.iter().flat_map(|&x| bytes(x)).collect()))
            }
            SavedTensor::U64 { .. } => None,
        })
        .collect();
    let views = data.iter().map(|(key, dims, bytes)| {
        (key, safetensors::tensor::TensorView::new(dtype, dims.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn other_floats_come_to_f32_and_are_told() {
    use half::{bf16, f16};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow.safetensors");
    let state = weights(&micro(), 5);
    let check = |name: &str, to: &dyn Fn(f32) -> f32| {
        let found = open(&path, Which::Teacher).unwrap();
        for (key, tensor) in &found.state {
            let (SavedTensor::F32 { values, .. }, SavedTensor::F32 { values: ours, .. }) =
                (tensor, &state[key])
            else {
                continue;
            };
            assert!(values.iter().zip(ours).all(|(found, &ours)| *found == to(ours)), "{key} from {name}");
        }
        let words = format!("of them from {name} to float32");
        assert!(found.keys.to_string().contains(&words), "{}", found.keys);
    };
    narrowed(&path, &state, safetensors::Dtype::F16, |x| f16::from_f32(x).to_le_bytes().to_vec());
    check("float16", &|x| f16::from_f32(x).to_f32());
    narrowed(&path, &state, safetensors::Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().to_vec());
    check("bfloat16", &|x| bf16::from_f32(x).to_f32());
    narrowed(&path, &state, safetensors::Dtype::F64, |x| f64::from(x).to_le_bytes().to_vec());
    check("float64", &|x| x);
    narrowed(&path, &state, safetensors::Dtype::F64, |_| 1e300f64.to_le_bytes().to_vec());
    let error = open(&path, Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("1e300 at position 0") && error.contains("more than float32 holds"), "{error}");
    narrowed(&path, &state, safetensors::Dtype::I32, |x| (x as i32).to_le_bytes().to_vec());
    let error = open(&path, Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("it holds I32"), "{error}");
}

/// Rows that are a square may be patches alone, or the CLS token and a grid that is none.
#[test]
fn timms_position_embeddings_are_not_guessed() {
    let renamed = |registers: bool| {
        move |state: &mut State| {
            let bare = std::mem::take(state).into_iter();
            let bare =
                bare.filter_map(|(key, tensor)| Some((key.strip_prefix("backbone.")?.to_owned(), tensor)));
            state.extend(bare);
            state.insert("head.weight".into(), tensor(&[10, 128], 0.0));
            state.insert("pos_embed".into(), tensor(&[1, 16, 128], 0.0));
            if registers {
                state.insert("reg_token".into(), tensor(&[1, 4, 128], 0.0));
            }
        }
    };
    check(&micro(), renamed(false), "pos_embed: 16 rows: they are of that many patches and no CLS token, or");
    let found = changed(&micro(), renamed(true)).unwrap();
    assert_eq!(found.keys.reshaped[0].from, [1, 16, 128]);
}
