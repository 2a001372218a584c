//! Every name there and back, and names that others have used.

use super::*;
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, ResNetSpec, Stem, VitSpec};
use crate::weights::layout::layout;

/// A network's keys go through a format's names and come back.
fn check(format: Format, backbone: Backbone, head: bool) {
    let network = NetworkSpec::new(backbone, HeadSpec::default());
    for key in layout(&network, head).keys() {
        match format.names(key).unwrap() {
            Names::One(name) => {
                assert_eq!(format.place(&name), Place::Whole(key.clone()), "{format:?}: {name}")
            }
            Names::Three(names) => {
                for (third, name) in names.iter().enumerate() {
                    assert_eq!(format.place(name), Place::Third(key.clone(), third), "{format:?}: {name}");
                }
            }
        }
    }
}

#[test]
fn names_lead_back_to_the_keys_that_they_are_of() {
    let vit = |registers| Backbone::VitTiny(VitSpec { patch: 16, image: 32, stem: Stem::Patch, registers });
    let resnet = || Backbone::ResNet50(ResNetSpec::default());
    for format in [Format::Dinoflow, Format::PublishedFull] {
        check(format, vit(2), true);
        check(format, resnet(), true);
    }
    check(Format::PublishedBackbone, vit(2), false);
    check(Format::PublishedBackbone, resnet(), false);
    check(Format::Timm, vit(2), false);
    check(Format::HuggingFace, vit(0), false);
    check(Format::Torchvision, resnet(), false);
}

#[test]
fn other_spellings_are_known() {
    let whole = |key: &str| Place::Whole(key.into());
    for (format, name, place) in [
        (Format::PublishedFull, "module.backbone.cls_token", whole("backbone.cls_token")),
        (Format::PublishedFull, "_orig_mod.module.head.mlp.0.bias", whole("head.mlp.0.bias")),
        (Format::PublishedBackbone, "module.norm.weight", whole("backbone.norm.weight")),
        (Format::PublishedFull, "head.mlp.weight", whole("head.mlp.0.weight")),
        (
            Format::PublishedFull,
            "module.head.last_layer.parametrizations.weight.original1",
            whole("head.last_layer.weight_v"),
        ),
        (Format::HuggingFace, "vit.layernorm.bias", whole("backbone.norm.bias")),
        (
            Format::HuggingFace,
            "encoder.layer.11.attention.attention.key.weight",
            Place::Third("backbone.blocks.11.attn.qkv.weight".into(), 1),
        ),
        (
            Format::HuggingFace,
            "vit.layers.3.attention.v_proj.bias",
            Place::Third("backbone.blocks.3.attn.qkv.bias".into(), 2),
        ),
        (Format::HuggingFace, "layers.3.attention.o_proj.bias", whole("backbone.blocks.3.attn.proj.bias")),
        (Format::HuggingFace, "layers.0.mlp.fc2.weight", whole("backbone.blocks.0.mlp.fc2.weight")),
        (Format::HuggingFace, "pooler.dense.weight", Place::Left("a pooler behind the features")),
        (Format::Torchvision, "fc.bias", Place::Left("a classifier of the pretraining's labels")),
        (Format::Timm, "head.weight", Place::Left("a classifier of the pretraining's labels")),
    ] {
        assert_eq!(format.place(name), place, "{format:?}: {name}");
    }
}

#[test]
fn formats_are_told_apart_by_their_keys() {
    let check = |keys: &[&str], safetensors, timm, expected| {
        let listed: Vec<Listed> = keys
            .iter()
            .map(|key| Listed {
                key: (*key).into(),
                dims: vec![1],
                element: crate::weights::tensors::Element::F32,
            })
            .collect();
        assert_eq!(Format::of(&listed, safetensors, timm), expected, "{keys:?}");
    };
    let bare = ["cls_token", "blocks.0.norm1.weight"];
    check(&["backbone.cls_token"], true, false, Some(Format::Dinoflow));
    check(&["module.backbone.cls_token"], false, false, Some(Format::PublishedBackbone));
    check(&bare, true, false, Some(Format::PublishedBackbone));
    check(&bare, true, true, Some(Format::Timm));
    check(&[&bare[..], &["reg_token"]].concat(), false, false, Some(Format::Timm));
    check(&[&bare[..], &["head.weight"]].concat(), false, false, Some(Format::Timm));
    check(&["vit.embeddings.cls_token"], false, false, Some(Format::HuggingFace));
    check(&["conv1.weight", "layer1.0.bn1.bias"], false, false, Some(Format::Torchvision));
    check(&["conv1.weight", "cls_token"], false, false, None);
    check(&[], true, false, None);
}
