//! Features, tokens and CLS attention of the vision transformers, features of ResNet-50 by its batch and by what it has seen, and
//! numbers of parameters.

use std::sync::Arc;

use dfdx::prelude::Cpu;
use dinoflow::graph::spec::{Backbone, HeadSpec, NetworkSpec, ResNetSpec, ResNetStem, Stem, VitSpec};
use dinoflow::kernels::Products;
use dinoflow::nn::architectures;
use dinoflow::nn::network::Asked;
use dinoflow::nn::statistics::{Averages, RunningStatistics};
use dinoflow::stages::registry::Registered;
use dinoflow::tensor::Batched;
use serde_json::Value;

use crate::fixture::{self, close, count, numbers};

/// A backbone of a fixture under a head too small to matter.
pub fn network(arch: &str, patch: usize, image: usize, head: HeadSpec) -> NetworkSpec {
    let vit = VitSpec { patch, image, stem: Stem::Patch, registers: 0 };
    let backbone = match arch {
        "vit_micro" => Backbone::VitMicro(vit),
        "vit_tiny" => Backbone::VitTiny(vit),
        "vit_small" => Backbone::VitSmall(vit),
        "vit_base" => Backbone::VitBase(vit),
        _ => panic!("no architecture {arch}"),
    };
    NetworkSpec::new(backbone, head)
}

fn check<D: Registered>(device: &D, far: f64, case: &Value) {
    let arch = case["arch"].as_str().unwrap();
    let name = case["input"].as_str().unwrap();
    let head = HeadSpec { hidden: 8, bottleneck: 8, out_dim: 8, ..HeadSpec::default() };
    let spec = network(arch, count(&case["patch"]), count(&case["image"]), head);
    let mut network = architectures::build(device, &spec, Products::F32, 0).unwrap();
    fixture::fill(device, &mut **Arc::get_mut(&mut network).unwrap());
    let of_backbone = |p: &&dinoflow::nn::parameter::Ref<'_, D>| p.name.starts_with("backbone.");
    let parameters: usize = network.parameters().iter().filter(of_backbone).map(|p| p.tensor.len()).sum();
    assert_eq!(parameters, count(&case["parameters"]), "{name}: parameters");

    let shape: Vec<usize> = case["shape"].as_array().unwrap().iter().map(count).collect();
    let pixels = fixture::input(name, shape.iter().product());
    let dims = vec![1, shape[0], shape[1], shape[2], shape[3]];
    let images = Batched::from_host(device, pixels, dims, Some(1)).unwrap();
    let asked = Asked { patches: true, attention: true, ..Asked::default() };
    let answer = network.forward(&[&images], asked).unwrap();
    let cls = answer.cls.to_host().unwrap();
    let rms = (cls.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / cls.len() as f64).sqrt();
    for (i, &expected) in numbers(&case["cls"]).iter().enumerate() {
        close(&format!("{name}: cls[{i}]"), f64::from(cls[i]), expected, far, 2.0 * far * rms);
    }
    fixture::summary(&format!("{name}: cls"), &cls, &case["cls_summary"], far);
    fixture::summary(
        &format!("{name}: tokens"),
        &answer.tokens[0].to_host().unwrap(),
        &case["tokens_summary"],
        far,
    );
    let attention = answer.attention[0].to_host().unwrap();
    let tokens = answer.attention[0].dims[3];
    for (head, expected) in case["cls_attention_summary"].as_array().unwrap().iter().enumerate() {
        // the fixture leaves out the CLS token's attention to itself
        let row = &attention[head * tokens + 1..(head + 1) * tokens];
        fixture::summary(&format!("{name}: attention of head {head}"), row, expected, far);
    }
    // asking for less changes nothing of what is asked
    let alone = network.forward(&[&images], Asked::default()).unwrap().cls.to_host().unwrap();
    let apart = alone.iter().zip(&cls).map(|(a, b)| f64::from(a - b).abs()).fold(0.0, f64::max);
    assert!(apart <= 0.2 * far * rms, "{name}: the CLS-only last block is off by {apart:e}");
}

/// A feature row against the first of a fixture's, each number by its own size and the row's, as in [`fixture::summary`]: fifty layers of
/// batch norm over four pictures make of roundings to f32 what they are (PyTorch in f32 is off by up to 1.3e-4 of the root mean square).
fn check_row(what: &str, far: f64, found: &[f32], expected: &Value) {
    let expected = numbers(expected);
    let rms = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64).sqrt();
    for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
        close(&format!("{what}[{i}]"), f64::from(found), expected, far, 20.0 * far * rms);
    }
}

fn check_resnet<D: Registered>(device: &D, far: f64, case: &Value) {
    let head = HeadSpec { hidden: 8, bottleneck: 8, out_dim: 8, ..HeadSpec::default() };
    let backbone = Backbone::ResNet50(ResNetSpec { stem: ResNetStem::ImageNet });
    let spec = NetworkSpec::new(backbone, head);
    let mut network = architectures::build(device, &spec, Products::F32, 0).unwrap();
    fixture::fill(device, &mut **Arc::get_mut(&mut network).unwrap());
    let of_backbone = |p: &&dinoflow::nn::parameter::Ref<'_, D>| p.name.starts_with("backbone.");
    let parameters: usize = network.parameters().iter().filter(of_backbone).map(|p| p.tensor.len()).sum();
    assert_eq!(parameters, count(&case["parameters"]), "resnet50: parameters");

    let shape: Vec<usize> = case["shape"].as_array().unwrap().iter().map(count).collect();
    let pixels = fixture::input(case["input"].as_str().unwrap(), shape.iter().product());
    let dims = vec![1, shape[0], shape[1], shape[2], shape[3]];
    let images = Batched::from_host(device, pixels, dims, Some(1)).unwrap();
    let averages = Averages::default();
    let mut statistics = RunningStatistics::new(averages.clone());
    let trained = network.forward(&[&images], Asked::default()).unwrap();
    let features = trained.cls.to_host().unwrap();
    check_row("resnet50 in training", far, &features, &case["train_mode_row0"]);
    fixture::summary("resnet50 in training", &features, &case["train_mode_summary"], far);
    statistics.saw(trained.statistics);
    statistics.commit();
    let (mean, variance) = averages.of("backbone.bn1", 64);
    fixture::summary("resnet50: running mean", &mean, &case["bn1_running_mean"], far);
    fixture::summary("resnet50: running variance", &variance, &case["bn1_running_var"], far);
    let evaluated = network.evaluate(&[&images], Asked::default(), &averages).unwrap();
    let features = evaluated.cls.to_host().unwrap();
    check_row("resnet50 in evaluation", far, &features, &case["eval_mode_after_one_update_row0"]);
}

/// All of the fixture, within `far` of its numbers.
pub fn check_all<D: Registered>(device: &D, far: f64) {
    let fixture = fixture::json("backbones.json");
    let cases = fixture["cases"].as_array().unwrap();
    let named =
        |name: &'static str| cases.iter().filter(move |c| c["arch"].as_str().unwrap().starts_with(name));
    assert!(named("vit").map(|case| check(device, far, case)).count() > 0, "no vision transformer");
    assert_eq!(named("resnet50").map(|case| check_resnet(device, far, case)).count(), 1);
}

#[test]
fn backbones() {
    check_all(&Cpu::default(), 1e-5);
}
