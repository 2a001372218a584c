use std::collections::HashSet;

use dfdx::prelude::Cpu;

use super::*;
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, ResNetSpec, ResNetStem, Stem, VitSpec};
use crate::kernels::Products;
use crate::nn::architectures::build;
use crate::nn::weights::save;
use crate::weights::export::safetensors;
use crate::weights::open;

/// A network of first weights, as it is opened from its file.
fn opened(backbone: Backbone) -> Opened {
    let (folder, cpu) = (tempfile::tempdir().unwrap(), Cpu::default());
    let head = HeadSpec { hidden: 8, bottleneck: 4, out_dim: 6, ..HeadSpec::default() };
    let network = NetworkSpec::new(backbone, head);
    let state = save(&cpu, build(&cpu, &network, Products::F32, 1).unwrap().parameters(), "").unwrap();
    let path = folder.path().join("a.safetensors");
    safetensors(&path, &state).unwrap();
    open(&path, Which::Teacher).unwrap()
}

fn vit(stem: Stem, registers: usize) -> Backbone {
    Backbone::VitMicro(VitSpec { patch: 8, image: 32, stem, registers })
}

#[test]
fn every_operator_finds_what_it_needs_and_every_weight_is_used() {
    let check = |backbone: Backbone, outputs: &[&str]| {
        let model = model(&opened(backbone.clone()), Which::Teacher).unwrap();
        let graph = model.graph.unwrap();
        let mut known: HashSet<&str> = graph.input.iter().map(|value| value.name.as_str()).collect();
        for tensor in &graph.initializer {
            let numbers: i64 = tensor.dims.iter().product();
            let bytes = if tensor.data_type == message::FLOAT { 4 } else { 8 };
            assert_eq!(tensor.raw_data.len() as i64, bytes * numbers, "{}", tensor.name);
            assert!(known.insert(&tensor.name), "{} is there twice", tensor.name);
        }
        let mut used = HashSet::new();
        for node in &graph.node {
            for input in &node.input {
                assert!(
                    known.contains(input.as_str()),
                    "{} needs {input}, which comes later or never",
                    node.name
                );
                used.insert(input.as_str());
            }
            node.output.iter().for_each(|output| assert!(known.insert(output), "{output} is there twice"));
        }
        let idle = graph.initializer.iter().find(|tensor| !used.contains(tensor.name.as_str()));
        assert_eq!(idle.map(|tensor| &tensor.name), None);
        let names: Vec<&str> = graph.output.iter().map(|value| value.name.as_str()).collect();
        assert_eq!(names, outputs, "{}", backbone.label());
    };
    check(vit(Stem::Patch, 0), &["cls", "patches"]);
    check(vit(Stem::Patch, 3), &["cls", "patches"]);
    check(vit(Stem::Conv, 0), &["cls", "patches"]);
    check(Backbone::ResNet18(ResNetSpec { stem: ResNetStem::Small }), &["cls"]);
    check(Backbone::ResNet50(ResNetSpec::default()), &["cls"]);
}

#[test]
fn a_weight_is_turned_for_a_product_from_the_right() {
    let values: Vec<f32> = (0..6).map(|x| x as f32).collect();
    let tensor = crate::runtime::stage::SavedTensor::F32 { dims: vec![2, 3], values };
    let state = [("backbone.fc.weight".to_owned(), tensor)].into();
    let mut builder = Builder::new("a", &state);
    builder.turned("fc.weight").unwrap();
    let tensor = &builder.end().initializer[0];
    assert_eq!(tensor.dims, [3, 2]);
    let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(&tensor.raw_data);
    assert_eq!(numbers, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn a_file_is_a_model_that_says_how_pixels_are_normalised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    let count = write(&path, &opened(vit(Stem::Patch, 0)), Which::Student).unwrap();
    let model = Model::decode(&std::fs::read(&path).unwrap()[..]).unwrap();
    assert_eq!(model.graph.unwrap().initializer.len(), count);
    let word = |key: &str| model.metadata.iter().find(|entry| entry.key == key).unwrap().value.clone();
    assert_eq!((word("network"), word("architecture")), ("student".into(), "vit_micro/8".into()));
    assert_eq!(word("mean"), "0.485, 0.456, 0.406");
    let other = folder.path().join("a.pth");
    let error = write(&other, &opened(vit(Stem::Patch, 0)), Which::Student).unwrap_err();
    assert!(error.to_string().contains("let it end in .onnx") && !other.exists(), "{error}");
}
