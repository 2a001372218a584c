use std::sync::Arc;

use dfdx::prelude::Cpu;

use super::*;
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec};
use crate::keyed::Key;
use crate::nn::architectures::build;
use crate::nn::network::{Asked, Lent};
use crate::nn::statistics::{Averages, RunningStatistics};
use crate::plan::cost;

fn network(backbone: Backbone) -> NetworkSpec {
    let head = HeadSpec { hidden: 8, bottleneck: 4, out_dim: 6, ..HeadSpec::default() };
    NetworkSpec::new(backbone, head)
}

fn all() -> [Backbone; 4] {
    let [imagenet, small] = [ResNetStem::ImageNet, ResNetStem::Small].map(|stem| ResNetSpec { stem });
    [
        Backbone::ResNet18(imagenet.clone()),
        Backbone::ResNet18(small.clone()),
        Backbone::ResNet50(imagenet),
        Backbone::ResNet50(small),
    ]
}

#[test]
fn residual_networks_have_the_planned_parameters_under_torchvisions_keys() {
    for backbone in all() {
        let spec = network(backbone);
        let built = build(&Cpu::default(), &spec, Products::F32, 0).unwrap();
        let total: usize = built.parameters().iter().map(|p| p.tensor.len()).sum();
        assert_eq!(total as u64, cost::parameters(&spec), "{}", spec.backbone.name());
        for p in built.parameters() {
            assert_eq!(p.dims.iter().product::<usize>(), p.tensor.len(), "{}", p.name);
        }
        let names: Vec<String> = built.parameters().iter().map(|p| p.name.clone()).collect();
        assert_eq!(names[..3], ["conv1.weight", "bn1.weight", "bn1.bias"].map(|n| format!("backbone.{n}")));
        for name in ["layer1.0.conv2.weight", "layer4.1.bn2.bias", "layer2.0.downsample.1.weight"] {
            assert!(names.contains(&format!("backbone.{name}")), "{name}");
        }
    }
}

fn pixels(images: usize, side: usize) -> Batched<Cpu> {
    let mut draws = Key::new(5).named("resnet").draws();
    let values: Vec<f32> = (0..images * 3 * side * side).map(|_| draws.normal() as f32).collect();
    Batched::from_host(&Cpu::default(), values, vec![1, images, 3, side, side], Some(1)).unwrap()
}

/// The features' sum weighted by fixed numbers, the norms in training mode.
fn loss(network: &Lent<Cpu>, images: &Batched<Cpu>, weights: &[f32]) -> f64 {
    let answer = network.forward(&[images], Asked::default()).unwrap();
    answer.cls.view().iter().zip(weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
}

/// Some parameters of every kind along their own gradient, where their slope is the gradient's length.
fn check_slopes(backbone: Backbone, side: usize, kinds: &[&str]) {
    let label = backbone.label();
    let (spec, cpu, images) = (network(backbone), Cpu::default(), pixels(6, side));
    let mut network = build(&cpu, &spec, Products::F32, 1).unwrap();
    let width = network.width();
    let mut draws = Key::new(6).named("weights").draws();
    let weights: Vec<f32> = (0..6 * width).map(|_| draws.normal() as f32).collect();
    let (_, back) = network.forward_traced(&[&images], Asked::default(), None).unwrap();
    let mut sums = network.zero_gradients().unwrap();
    let seed = Batched::from_host(&cpu, weights.clone(), vec![1, 6, width], Some(1)).unwrap();
    back.run(&**network, None, Some(&seed), &mut sums).unwrap();
    let names: Vec<String> = network.parameters().iter().map(|p| p.name.clone()).collect();
    for name in kinds {
        let at = names.iter().position(|n| *n == format!("backbone.{name}")).unwrap();
        let gradient = Cpu::buffer(&sums.buffers[at]).to_vec();
        let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        assert!(length > 1e-6, "{label}: {name} has no gradient");
        let kept = network.parameters()[at].tensor.view().to_vec();
        let size = kept.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let mut moved = |by: f64| {
            let moved: Vec<f32> =
                kept.iter().zip(&gradient).map(|(p, g)| p + (by * f64::from(*g) / length) as f32).collect();
            let owned = Arc::get_mut(&mut network).unwrap();
            owned.parameters_mut()[at].tensor.view_mut().copy_from_slice(&moved);
            let seen = loss(&network, &images, &weights);
            let owned = Arc::get_mut(&mut network).unwrap();
            owned.parameters_mut()[at].tensor.view_mut().copy_from_slice(&kept);
            seen
        };
        // a long step goes over bends, a short one drowns in rounding
        let slopes = [3e-4, 3e-5].map(|part| {
            let step = part * size.max(1.0);
            (moved(step) - moved(-step)) / (2.0 * step)
        });
        let near = slopes.iter().any(|slope| (slope - length).abs() < 0.02 * length);
        assert!(near, "{label}: {name}: {slopes:?} against {length}");
    }
}

#[test]
fn residual_networks_have_the_gradients_that_their_slopes_say() {
    let [eighteen, small, fifty, _] = all();
    let kinds = [
        "conv1.weight",
        "bn1.bias",
        "layer1.0.conv2.weight",
        "layer2.0.bn1.weight",
        "layer3.0.downsample.0.weight",
        "layer4.0.downsample.1.bias",
        "layer4.1.conv1.weight",
        "layer4.1.bn2.weight",
    ];
    check_slopes(eighteen, 33, &kinds);
    check_slopes(small, 9, &kinds);
    // gradients of fifty layers of batch norm explode towards the pixels: slopes tell them in the last part alone
    let last = [
        "layer4.0.downsample.0.weight",
        "layer4.1.conv2.weight",
        "layer4.2.bn3.weight",
        "layer4.2.conv1.weight",
    ];
    check_slopes(fifty, 48, &last);
}

#[test]
fn an_evaluation_goes_by_what_was_seen_before_and_by_no_other_picture() {
    let [_, small, ..] = all();
    let network = build(&Cpu::default(), &network(small), Products::F32, 2).unwrap();
    let images = pixels(4, 12);
    let asked = Asked { logits: true, ..Asked::default() };
    let averages = Averages::default();
    let mut statistics = RunningStatistics::new(averages.clone());
    let before = network.evaluate(&[&images], asked, &averages).unwrap();
    for _ in 0..3 {
        statistics.saw(network.forward(&[&images], asked).unwrap().statistics);
        statistics.commit();
    }
    let after = network.evaluate(&[&images], asked, &averages).unwrap();
    assert_ne!(before.cls.to_host().unwrap(), after.cls.to_host().unwrap());
    assert!(after.statistics.is_empty());
    let pixels = images.to_host().unwrap();
    let first =
        Batched::from_host(&Cpu::default(), pixels[..3 * 144].to_vec(), vec![1, 1, 3, 12, 12], Some(1));
    let alone = network.evaluate(&[&first.unwrap()], asked, &averages).unwrap().cls.to_host().unwrap();
    let among = after.cls.to_host().unwrap();
    let size = alone.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let apart = alone.iter().zip(&among).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5 * size, "{apart} of {size}");
}
