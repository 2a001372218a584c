use super::*;
use crate::eval::finetune::mix::mixed;
use crate::eval::subject::Subject;
use crate::eval::view::View;
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, Stem, VitSpec};
use crate::nn::architectures;
use crate::nn::statistics::Averages;

const SIDE: usize = 16;

/// A small network with weights of a seed.
fn trainer(recipe: Recipe) -> Trainer {
    let backbone = Backbone::VitMicro(VitSpec { patch: 8, image: SIDE, stem: Stem::Patch, registers: 0 });
    let head = HeadSpec { layers: 1, bottleneck: 1, prototypes: false, ..HeadSpec::default() };
    let spec = NetworkSpec::new(backbone, head);
    let network = architectures::build(&Cpu::default(), &spec, Products::F32, 1).unwrap();
    let placed = Placed { device: Cpu::default(), network, averages: Averages::default() };
    let (view, products) = (View::plain(None, SIDE), Products::F32);
    let subject = Subject { path: "seed".into(), which: None, spec, placed, view, products };
    Trainer::new(recipe, subject, 3).unwrap()
}

fn recipe() -> Recipe {
    Recipe { epochs: 4, batch: 6, warmup_epochs: 1.0, lr: 0.05, drop_path: 0.2, ..Recipe::default() }
}

/// Pictures of one of three colours, mixed as the recipe says.
fn batch(recipe: &Recipe, step: u64) -> (Vec<f32>, Vec<Target>) {
    let mut draws = Key::new(step).draws();
    let labels: Vec<u32> = (0..recipe.batch).map(|_| draws.below(3) as u32).collect();
    let mut pixels: Vec<f32> = labels
        .iter()
        .flat_map(|&label| (0..3).flat_map(move |c| vec![f32::from(u8::from(c == label)); SIDE * SIDE]))
        .collect();
    pixels.iter_mut().for_each(|x| *x += 0.3 * draws.normal() as f32);
    let targets = mixed(recipe, 3, SIDE, Key::new(step), &mut pixels, &labels);
    (pixels, targets)
}

fn train(trainer: &mut Trainer, steps: std::ops::Range<u64>, at_once: usize) -> Vec<f64> {
    let one = |step: u64| {
        let (pixels, targets) = batch(&trainer.recipe, step);
        let lr = trainer.recipe.lr(step, 5);
        trainer.update(&pixels, &targets, lr, at_once).unwrap()
    };
    steps.map(one).collect()
}

fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
    let parameters = trainer.subject.placed.network.parameters();
    let all = parameters.iter().map(|p| p.tensor.view().to_vec());
    all.chain([trainer.classifier.weights.clone(), trainer.classifier.bias.clone()]).collect()
}

#[test]
fn a_slope_is_the_loss_s_and_reaches_the_first_layer() {
    let plain = Recipe { drop_path: 0.0, weight_decay: 0.0, layer_decay: 1.0, ..recipe() };
    let mut one = trainer(plain);
    let (pixels, targets) = batch(&one.recipe, 1);
    let before = weights(&one);
    let loss = one.update(&pixels, &targets, 1e-3, 6).unwrap();
    // AdamW's first moment is a tenth of the slope after one update: along it the loss must fall as it says
    let slopes: Vec<Vec<f64>> =
        one.moments.iter().map(|m| m.first.iter().map(|&x| f64::from(x) * 10.0).collect()).collect();
    let squares: f64 = slopes.iter().flatten().map(|x| x * x).sum();
    let names: Vec<String> = one.subject.placed.network.parameters().iter().map(|p| p.name.clone()).collect();
    let step = 0.01 / squares;
    let mut moved = trainer(one.recipe.clone());
    let shift = |to: &mut [f32], from: &[f32], slope: &[f64]| {
        to.iter_mut().zip(from).zip(slope).for_each(|((x, from), g)| *x = from - (step * g) as f32);
    };
    let network = Arc::get_mut(&mut moved.subject.placed.network).unwrap();
    let trained =
        network.parameters_mut().into_iter().zip(&before).filter(|(p, _)| p.name.starts_with("backbone."));
    for ((p, from), slope) in trained.zip(&slopes) {
        shift(p.tensor.view_mut(), from, slope);
    }
    let last = slopes.len() - 2;
    shift(&mut moved.classifier.weights, &before[names.len()], &slopes[last]);
    shift(&mut moved.classifier.bias, &before[names.len() + 1], &slopes[last + 1]);
    let after = moved.update(&pixels, &targets, 0.0, 6).unwrap();
    assert!(((loss - after) / 0.01 - 1.0).abs() < 0.05, "{loss} to {after}");
    let first = names.iter().filter(|n| n.starts_with("backbone.")).position(|n| n.ends_with("proj.weight"));
    assert!(slopes[first.unwrap()].iter().any(|&x| x != 0.0));
}

#[test]
fn training_learns_and_parts_of_a_batch_come_to_the_same() {
    let plain = Recipe { mixup: 0.0, cutmix: 0.0, smoothing: 0.0, ..recipe() };
    let (mut whole, mut parts) = (trainer(plain.clone()), trainer(plain));
    let losses = train(&mut whole, 0..20, 6);
    let in_parts = train(&mut parts, 0..20, 4);
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
    assert!(losses.iter().zip(&in_parts).all(|(a, b)| (a - b).abs() < 1e-2), "{losses:?} {in_parts:?}");
}

#[test]
fn going_on_gives_the_bits_of_never_having_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("finetune.safetensors");
    let mut whole = trainer(recipe());
    train(&mut whole, 0..6, 6);
    let mut first = trainer(recipe());
    train(&mut first, 0..3, 6);
    first.save(&path, "a").unwrap();
    let mut second = trainer(recipe());
    second.resume(&path, "a").unwrap();
    train(&mut second, 3..6, 6);
    assert!(weights(&second) == weights(&whole) && second.moments == whole.moments);
    let error = trainer(Recipe { seed: 9, ..recipe() }).resume(&path, "a").unwrap_err();
    assert!(error.exit_status() == 2 && error.to_string().contains("--overwrite"), "{error}");
}
