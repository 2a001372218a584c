use std::sync::Arc;

use dfdx::prelude::Cpu;

use super::*;
use crate::graph::spec::{Backbone, NetworkSpec, Stem, VitSpec};
use crate::keyed::Key;
use crate::nn::architectures::build;
use crate::nn::network::{Asked, Lent};
use crate::plan::cost;
use crate::tensor::Batched;

fn network(head: HeadSpec) -> NetworkSpec {
    let vit = VitSpec { patch: 8, image: 16, stem: Stem::Patch, registers: 0 };
    NetworkSpec::new(Backbone::VitMicro(vit), head)
}

/// Every combination of what a head may have.
fn heads() -> Vec<HeadSpec> {
    let mut all = Vec::new();
    for layers in 1..=4 {
        for bits in 0..32 {
            let yes = |bit: usize| bits >> bit & 1 == 1;
            all.push(HeadSpec {
                layers,
                hidden: 10,
                bottleneck: 6,
                out_dim: 7,
                batch_norm: yes(0),
                activation: if yes(1) { Activation::Relu } else { Activation::Gelu },
                l2: yes(2),
                norm_last_layer: yes(3),
                prototypes: yes(4),
            });
        }
    }
    all
}

#[test]
fn heads_have_the_planned_parameters_and_outputs() {
    let images = Batched::from_host(&Cpu::default(), vec![0.5; 2 * 3 * 64], vec![1, 2, 3, 8, 8], Some(1));
    let images = images.unwrap();
    for head in heads() {
        let spec = network(head);
        let built = build(&Cpu::default(), &spec, Products::F32, 0).unwrap();
        let total: usize = built.parameters().iter().map(|p| p.tensor.len()).sum();
        assert_eq!(total as u64, cost::parameters(&spec), "{:?}", spec.head);
        for p in built.parameters() {
            assert_eq!(p.dims.iter().product::<usize>(), p.tensor.len(), "{}", p.name);
        }
        let asked = Asked { logits: true, ..Asked::default() };
        let logits = built.forward(&[&images], asked).unwrap().logits.unwrap();
        assert_eq!(logits.dims, [1, 2, spec.head.outputs()], "{:?}", spec.head);
    }
}

#[test]
fn keys_are_those_of_pytorchs_sequential() {
    let check = |head: HeadSpec, expected: &[&str]| {
        let built = build(&Cpu::default(), &network(head), Products::F32, 0).unwrap();
        let names: Vec<String> = built.parameters().iter().map(|p| p.name.clone()).collect();
        let weights = names.iter().filter_map(|n| n.strip_prefix("head.")?.strip_suffix(".weight"));
        assert_eq!(weights.collect::<Vec<_>>(), expected);
    };
    let of =
        |layers, batch_norm| HeadSpec { layers, batch_norm, hidden: 4, out_dim: 4, ..HeadSpec::default() };
    check(of(1, false), &["mlp.0"]);
    check(of(1, true), &["mlp.0"]);
    check(of(3, false), &["mlp.0", "mlp.2", "mlp.4"]);
    check(of(4, false), &["mlp.0", "mlp.2", "mlp.4", "mlp.6"]);
    check(of(2, true), &["mlp.0", "mlp.1", "mlp.3"]);
    check(of(4, true), &["mlp.0", "mlp.1", "mlp.3", "mlp.4", "mlp.6", "mlp.7", "mlp.9"]);
}

/// The logits' sum weighted by fixed numbers.
fn loss(network: &Lent<Cpu>, images: &Batched<Cpu>, weights: &[f32]) -> f64 {
    let asked = Asked { logits: true, ..Asked::default() };
    let logits = network.forward(&[images], asked).unwrap().logits.unwrap();
    logits.view().iter().zip(weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
}

/// Every trained parameter of the head along its own gradient, where its slope is the gradient's length.
fn check_slopes(head: &HeadSpec) {
    let (cpu, outputs) = (Cpu::default(), head.outputs());
    let mut draws = Key::new(5).named("head").draws();
    let mut normal = |len: usize| (0..len).map(|_| draws.normal() as f32).collect::<Vec<_>>();
    let pixels = normal(5 * 3 * 64);
    let images = Batched::from_host(&cpu, pixels, vec![1, 5, 3, 8, 8], Some(1)).unwrap();
    let mut network = build(&cpu, &network(head.clone()), Products::F32, 1).unwrap();
    for parameter in Arc::get_mut(&mut network).unwrap().parameters_mut() {
        // first weights are too small for slopes in f32
        if parameter.name.starts_with("head.mlp") && parameter.dims.len() == 2 {
            let scale = (parameter.dims[1] as f32).powf(-0.5);
            let values: Vec<f32> = normal(parameter.tensor.len()).iter().map(|x| scale * x).collect();
            parameter.tensor.view_mut().copy_from_slice(&values);
        }
    }
    let weights = normal(5 * outputs);
    let asked = Asked { logits: true, ..Asked::default() };
    let (_, back) = network.forward_traced(&[&images], asked, None).unwrap();
    let mut sums = network.zero_gradients().unwrap();
    let seed = Batched::from_host(&cpu, weights.clone(), vec![1, 5, outputs], Some(1)).unwrap();
    back.run(&**network, Some(&seed), None, &mut sums).unwrap();
    let names: Vec<(String, bool)> = network.parameters().iter().map(|p| (p.name.clone(), p.fixed)).collect();
    for (at, (name, fixed)) in names.iter().enumerate().filter(|(_, (name, _))| name.starts_with("head.")) {
        let gradient = Cpu::buffer(&sums.buffers[at]).to_vec();
        let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let vanishes = head.batch_norm && name.ends_with("bias") && name.starts_with("head.mlp.");
        if *fixed {
            assert_eq!(length, 0.0, "{head:?}: {name} is fixed");
        }
        if length < 1e-4 {
            assert!(*fixed || vanishes, "{head:?}: {name} has no gradient");
            continue;
        }
        let mut moved = |by: f64| {
            let owned = Arc::get_mut(&mut network).unwrap();
            let kept = owned.parameters_mut()[at].tensor.view_mut().to_vec();
            for (p, g) in owned.parameters_mut()[at].tensor.view_mut().iter_mut().zip(&gradient) {
                *p += (by * f64::from(*g) / length) as f32;
            }
            let seen = loss(&network, &images, &weights);
            let owned = Arc::get_mut(&mut network).unwrap();
            owned.parameters_mut()[at].tensor.view_mut().copy_from_slice(&kept);
            seen
        };
        // a long step may go over a ReLU's kinks, a short one drowns in rounding where gradients are small
        let slopes = [1e-3, 1e-4].map(|step| (moved(step) - moved(-step)) / (2.0 * step));
        let near = slopes.iter().any(|slope| (slope - length).abs() < 0.01 * length);
        assert!(near, "{head:?}: {name}: {slopes:?} against {length}");
    }
}

#[test]
fn every_head_has_the_gradients_that_its_slopes_say() {
    heads().iter().for_each(check_slopes);
}
