use std::sync::Arc;

use dfdx::prelude::Cpu;

use crate::graph::spec::{Backbone, HeadSpec, Init, NetworkSpec, Stem, VitSpec};
use crate::kernels::Products;
use crate::keyed::Key;
use crate::nn::architectures::build;
use crate::nn::network::{Asked, Lent};
use crate::plan::cost;
use crate::tensor::{Batched, Device};

const KEY: &str = "backbone.register_tokens";

fn network(registers: usize) -> (NetworkSpec, Lent<Cpu>) {
    let vit = VitSpec { patch: 8, image: 16, stem: Stem::Patch, registers };
    let head = HeadSpec { hidden: 8, bottleneck: 4, out_dim: 6, ..HeadSpec::default() };
    let spec = NetworkSpec { backbone: Backbone::VitMicro(vit), head, drop_path: 0.0, init: Init::Seed };
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
