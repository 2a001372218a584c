use std::sync::Arc;

use dfdx::prelude::Cpu;

use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, Recompute, Stem, VitSpec};
use crate::kernels::Products;
use crate::keyed::Key;
use crate::nn::architectures::build;
use crate::nn::network::{Asked, DropPath, Lent};
use crate::plan::cost;
use crate::tensor::{Batched, Device};

const KEY: &str = "backbone.register_tokens";

fn network(registers: usize) -> (NetworkSpec, Lent<Cpu>) {
    let vit = VitSpec { patch: 8, image: 16, stem: Stem::Patch, registers };
    let head = HeadSpec { hidden: 8, bottleneck: 4, out_dim: 6, ..HeadSpec::default() };
    let spec = NetworkSpec::new(Backbone::VitMicro(vit), head);
    let network = build(&Cpu::default(), &spec, Products::F32, 3).unwrap();
    (spec, network)
}

fn images() -> Batched<Cpu> {
    let mut draws = Key::new(5).named("registers").draws();
    let pixels: Vec<f32> = (0..3 * 3 * 24 * 16).map(|_| draws.normal() as f32).collect();
    Batched::from_host(&Cpu::default(), pixels, vec![1, 3, 3, 24, 16], Some(1)).unwrap()
}

#[test]
fn registers_are_parameters_that_no_output_shows() {
    for registers in [0, 1, 4] {
        let (spec, network) = network(registers);
        let total: usize = network.parameters().iter().map(|p| p.tensor.len()).sum();
        assert_eq!(total as u64, cost::parameters(&spec));
        let found = network.parameters().into_iter().find(|p| p.name == KEY).map(|p| p.dims);
        assert_eq!(found, (registers > 0).then(|| vec![1, registers, 128]));
        let asked = Asked { patches: true, attention: true, ..Asked::default() };
        let all = network.forward(&[&images()], asked).unwrap();
        assert_eq!(all.tokens[0].dims, [1, 3, 7, 128]);
        assert_eq!(all.attention[0].dims, [1, 3, 2, 7]);
        let tokens = all.tokens[0].to_host().unwrap();
        let cls = all.cls.to_host().unwrap();
        for (image, cls) in cls.chunks(128).enumerate() {
            assert_eq!(&tokens[image * 7 * 128..][..128], cls, "CLS stands first");
        }
        // what registers attract is missing from the rest
        for row in all.attention[0].to_host().unwrap().chunks(7) {
            let sum: f32 = row.iter().sum();
            assert_eq!(sum > 1.0 - 1e-5, registers == 0, "{registers} registers: {sum}");
        }
        // the last block for CLS alone gives the same
        let alone = network.forward(&[&images()], Asked::default()).unwrap().cls.to_host().unwrap();
        let apart = alone.iter().zip(&cls).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{registers} registers: {apart}");
    }
}

#[test]
fn registers_have_the_gradient_that_their_slope_says() {
    let (cpu, (_, mut network)) = (Cpu::default(), network(3));
    let at = network.parameters().iter().position(|p| p.name == KEY).unwrap();
    let mut draws = Key::new(6).named("weights").draws();
    let weights: Vec<f32> = (0..3 * 128).map(|_| draws.normal() as f32).collect();
    let (_, back) = network.forward_traced(&[&images()], Asked::default(), None).unwrap();
    let mut sums = network.zero_gradients().unwrap();
    let seed = Batched::from_host(&cpu, weights.clone(), vec![1, 3, 128], Some(1)).unwrap();
    back.run(&**network, None, Some(&seed), &mut sums).unwrap();
    let gradient = Cpu::buffer(&sums.buffers[at]).to_vec();
    let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    assert!(length > 1e-4, "registers have no gradient");
    let kept = network.parameters()[at].tensor.view().to_vec();
    let mut moved = |by: f64| {
        let values: Vec<f32> =
            kept.iter().zip(&gradient).map(|(p, g)| p + (by * f64::from(*g) / length) as f32).collect();
        let owned = Arc::get_mut(&mut network).unwrap();
        owned.parameters_mut()[at].tensor.view_mut().copy_from_slice(&values);
        let cls = network.forward(&[&images()], Asked::default()).unwrap().cls.to_host().unwrap();
        cls.iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum::<f64>()
    };
    let step = 3e-3;
    let slope = (moved(step) - moved(-step)) / (2.0 * step);
    assert!((slope - length).abs() < 0.01 * length, "{slope} against {length}");
}

#[test]
fn a_pass_that_computes_its_blocks_again_has_the_same_gradients_bit_for_bit() {
    let cpu = Cpu::default();
    let mut draws = Key::new(8).named("gradient").draws();
    let seed: Vec<f32> = (0..2 * 3 * 6).map(|_| draws.normal() as f32).collect();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for products in [Products::F32, Products::Bf16] {
        let of = |recompute| {
            let spec = NetworkSpec { recompute, ..network(2).0 };
            let network = build(&cpu, &spec, products, 3).unwrap();
            let asked = Asked { logits: true, ..Asked::default() };
            let drop_path = Some(DropPath { rate: 0.5, key: Key::new(4), first_image: 0 });
            let groups = [&images(), &images()];
            let (answer, back) = network.forward_traced(&groups, asked, drop_path).unwrap();
            let mut sums = network.zero_gradients().unwrap();
            let logits = Batched::from_host(&cpu, seed.clone(), vec![2, 3, 6], Some(1)).unwrap();
            back.run(&**network, Some(&logits), None, &mut sums).unwrap();
            let gradients = sums.buffers.iter().map(|sum| bits(Cpu::buffer(sum))).collect::<Vec<_>>();
            (bits(&answer.logits.unwrap().to_host().unwrap()), gradients)
        };
        let kept = of(Recompute::Nothing);
        assert!(kept == of(Recompute::Hidden) && kept == of(Recompute::Blocks), "{products:?}");
    }
}
