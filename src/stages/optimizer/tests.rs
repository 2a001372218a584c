//! Every optimizer's shared duties, checked alike for all of them.

use std::sync::Arc;

use dfdx::prelude::Cpu;

use super::recipe::Optimizer;
use super::rule::Rule;
use super::*;
use crate::graph::spec::NetworkSpec;
use crate::kernels::{Products, UpdateKernels};
use crate::keyed::Key;
use crate::nn::network::{Gradients, Lent};
use crate::nn::weights;
use crate::optim::schedule::{Horizon, LrCourse, Schedule, Span};
use crate::runtime::stage::{Average, Inputs, Moment, Outputs, SavedTensor, Stage, StageError, State, Value};
use crate::tensor::Device as _;

const MOMENTUM: f64 = 0.9;

fn network() -> Lent<Cpu> {
    let text = "(backbone: VitMicro((patch: 16, image: 16)), head: (hidden: 8, bottleneck: 4, out_dim: 8, batch_norm: true))";
    let spec: NetworkSpec = ron::from_str(text).unwrap();
    weights::first(&Cpu::default(), &spec, Products::F32, 3).unwrap()
}

/// The gradients of a step: any numbers, but the same ones each time.
fn gradients(step: u64) -> Gradients<Cpu> {
    let network = network();
    let mut gradients = network.zero_gradients().unwrap();
    for (parameter, buffer) in network.parameters().iter().zip(&mut gradients.buffers) {
        let mut draws = Key::new(step).named(&parameter.name).draws();
        Cpu::buffer_mut(buffer).iter_mut().for_each(|g| *g = draws.normal() as f32);
    }
    gradients
}

fn running<S: Optimizer + Rule<Cpu> + Clone + 'static>(stage: &S) -> Running<Cpu> {
    Running::new(
        Box::new(stage.clone()),
        stage.recipe(),
        256,
        vec![Trained::Network(network())],
        &Cpu::default(),
    )
    .unwrap()
}

/// One firing; the weights that it gave are let go.
fn fire(
    optimizer: &mut Running<Cpu>,
    step: u64,
    gradients: Gradients<Cpu>,
    average: Option<&mut Average<Cpu>>,
) -> Result<(), StageError> {
    let horizon = Horizon { steps_per_epoch: 4, total_steps: 8 };
    let at = Moment { step, micro: 0, micros: 1, horizon };
    let (values, mut given) = ([Some(Value::Gradients(Arc::new(gradients)))], [None]);
    let mut inputs = Inputs { values: &values };
    let (metrics, events) = (&mut Vec::new(), &mut Vec::new());
    let mut outputs = Outputs { values: &mut given, wanted: &[true], metrics, events };
    match average {
        Some(average) => optimizer.fire_beside(&at, &mut inputs, &mut outputs, average),
        None => optimizer.fire(&at, &mut inputs, &mut outputs),
    }
}

fn numbers(state: &State, key: &str) -> Vec<f32> {
    match &state[key] {
        SavedTensor::F32 { values, .. } => values.clone(),
        SavedTensor::U64 { .. } => panic!("{key} holds no floats"),
    }
}

/// What an average is after a step, moved by hand.
fn follow(average: &mut Lent<Cpu>, state: &State) {
    for parameter in Arc::get_mut(average).unwrap().parameters_mut() {
        let new = numbers(state, &format!("weights/{}", parameter.name));
        Cpu::default().lerp(parameter.tensor.view_mut(), &new, MOMENTUM).unwrap();
    }
}

fn check<S: Optimizer + Rule<Cpu> + Clone + 'static>(stage: &S) {
    // alone throughout; beside an average, saved and restored after every step
    let (mut whole, mut parts) = (running(stage), running(stage));
    let mut by_hand = network().fresh_copy().unwrap();
    let first = whole.save().unwrap();
    let mut beside = Average { weights: by_hand.fresh_copy().unwrap(), momentum: MOMENTUM, moved: false };
    for step in 0..4 {
        let mut spoilt = gradients(step);
        *Cpu::buffer_mut(spoilt.buffers.last_mut().unwrap()).last_mut().unwrap() = f32::NAN;
        let before = whole.save().unwrap();
        let refused = fire(&mut whole, step, spoilt, None);
        assert!(matches!(refused, Err(StageError::NonFinite { .. })));
        assert!(whole.save().unwrap() == before, "a gradient that is no number reached the state");
        fire(&mut whole, step, gradients(step), None).unwrap();
        let state = whole.save().unwrap();
        follow(&mut by_hand, &state);
        fire(&mut parts, step, gradients(step), Some(&mut beside)).unwrap();
        assert!(std::mem::take(&mut beside.moved));
        assert!(parts.save().unwrap() == state, "step {step}: another state beside an average");
        for (found, expected) in beside.weights.parameters().iter().zip(by_hand.parameters()) {
            assert_eq!(found.tensor.view(), expected.tensor.view(), "step {step}: average of {}", found.name);
        }
        parts = running(stage);
        parts.restore(state.clone()).unwrap();
        // the last layer is frozen in the first step, with nothing kept; its magnitudes are never trained
        let moved = |key: &str| numbers(&state, key) != numbers(&first, key);
        assert_eq!(moved("weights/head.last_layer.weight_v"), step > 0);
        assert!(!moved("weights/head.last_layer.weight_g") && moved("weights/head.mlp.1.bias"));
        let updates = SavedTensor::U64 { dims: vec![], values: vec![step] };
        assert!(state["updates/head.last_layer.weight_v"] == updates);
    }
}

#[test]
fn an_optimizer_owns_moves_saves_and_restores_its_weights() {
    let lr_course = LrCourse::Constant;
    let freeze_last_layer = Span::Steps(1);
    check(&AdamW { lr: 0.01, lr_course, freeze_last_layer, ..AdamW::default() });
    check(&Sgd { lr: 0.01, lr_course, freeze_last_layer, ..Sgd::default() });
    check(&Lars { lr: 0.3, lr_course, freeze_last_layer, clip: Clip::Global(1.0), ..Lars::default() });
}

#[test]
fn a_clip_bounds_each_parameter_or_all_together() {
    let check = |clip: Clip, own: f64, all: f64, factor: f64| {
        assert!((clip.factor(own, all) - factor).abs() < 1e-6, "{clip:?}: {}", clip.factor(own, all));
    };
    check(Clip::None, 30.0, 50.0, 1.0);
    check(Clip::PerParameter(3.0), 30.0, 50.0, 0.1);
    check(Clip::PerParameter(3.0), 2.0, 50.0, 1.0);
    check(Clip::Global(3.0), 2.0, 30.0, 0.1);
    check(Clip::Global(3.0), 2.0, 2.5, 1.0);
    // a step of plain descent is as long as the clipped gradient
    let length = |clip: Clip| {
        let plain = Sgd {
            lr: 1.0,
            lr_course: LrCourse::Constant,
            weight_decay: Schedule::Constant(0.0),
            momentum: 0.0,
            freeze_last_layer: Span::Steps(0),
            clip,
            ..Sgd::default()
        };
        let mut optimizer = running(&plain);
        let before = optimizer.save().unwrap();
        fire(&mut optimizer, 0, gradients(0), None).unwrap();
        let after = optimizer.save().unwrap();
        let keys = before.keys().filter(|key| key.starts_with("weights/"));
        let moves = keys.flat_map(|key| {
            let (old, new) = (numbers(&before, key), numbers(&after, key));
            old.into_iter().zip(new).map(|(old, new)| f64::from(old - new).powi(2)).collect::<Vec<_>>()
        });
        moves.sum::<f64>().sqrt()
    };
    // all gradients' norm is in the hundreds; the untrained magnitudes' part of it is small
    let most = length(Clip::Global(1.0));
    assert!(most <= 1.0 + 1e-4 && most > 0.99, "{most}");
    let each = length(Clip::PerParameter(1.0));
    let parameters = network().parameters().iter().filter(|p| !p.fixed).count();
    assert!((each - (parameters as f64).sqrt()).abs() < 1e-2 * each, "{each} with {parameters} parameters");
}

/// The same gradients under a scale, as 16-bit IEEE floats need one.
fn scaled(step: u64, scale: f32) -> Gradients<Cpu> {
    let mut gradients = Gradients { scale, ..gradients(step) };
    gradients
        .buffers
        .iter_mut()
        .for_each(|buffer| Cpu::buffer_mut(buffer).iter_mut().for_each(|g| *g *= scale));
    gradients
}

#[test]
fn a_scale_changes_no_update_and_an_overflow_moves_nothing() {
    let stage = AdamW { lr: 0.01, lr_course: LrCourse::Constant, ..AdamW::default() };
    let (mut plain, mut under_scale) = (running(&stage), running(&stage));
    for step in 0..3 {
        fire(&mut plain, step, gradients(step), None).unwrap();
        // a scale that was too large for one number: no error, and nothing moves, an average beside it neither
        let mut overflown = scaled(step, 1024.0);
        *Cpu::buffer_mut(&mut overflown.buffers[3]).first_mut().unwrap() = f32::INFINITY;
        let before = under_scale.save().unwrap();
        let weights = network().fresh_copy().unwrap();
        let mut beside = Average { weights, momentum: MOMENTUM, moved: false };
        fire(&mut under_scale, step, overflown, Some(&mut beside)).unwrap();
        assert!(
            under_scale.save().unwrap() == before && !beside.moved,
            "step {step}: an overflow reached the state"
        );
        // a power of two is no rounding: the same bits, clipped as the gradients themselves would be
        fire(&mut under_scale, step, scaled(step, 1024.0), None).unwrap();
        assert!(
            under_scale.save().unwrap() == plain.save().unwrap(),
            "step {step}: another update under a scale"
        );
    }
}
