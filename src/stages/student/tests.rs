use dfdx::prelude::Cpu;

use super::*;
use crate::graph::load::{Request, load};
use crate::nn::weights;
use crate::optim::schedule::Horizon;
use crate::tensor::Batched;

/// A graph in 16-bit IEEE floats, which the processor computes with 32-bit ones in their place.
fn graph() -> GraphSpec {
    let graph = format!("{}/graphs/quickstart.ron", env!("CARGO_MANIFEST_DIR")).into();
    let sets = [
        "precision=F16",
        "network.backbone=VitMicro((patch: 16, image: 16))",
        "network.head=(hidden: 8, bottleneck: 4, out_dim: 8)",
    ];
    let loaded = load(&Request { graph, sets: sets.map(String::from).into(), ..Request::default() });
    loaded.unwrap().spec.unwrap()
}

/// One step with this gradient at every logit; the scale that was reported, and the gradients that leave.
fn step(
    student: &mut Running<Cpu>,
    weights: &Lent<Cpu>,
    gradient: f32,
) -> Result<(f64, Arc<Gradients<Cpu>>), StageError> {
    let device = Cpu::default();
    let at = Moment { step: 0, micro: 0, micros: 1, horizon: Horizon { steps_per_epoch: 4, total_steps: 8 } };
    let tensor = |values: Vec<f32>, dims: Vec<usize>| {
        Some(Value::Tensor(Batched::from_host(&device, values, dims, Some(1)).unwrap()))
    };
    let pixels = (0..2 * 2 * 3 * 16 * 16).map(|i| (i % 7) as f32 * 0.1).collect();
    let crops = tensor(pixels, vec![2, 2, 3, 16, 16]);
    let (mut given, mut metrics, mut events) = (vec![None, None], Vec::new(), Vec::new());
    let mut outputs =
        Outputs { values: &mut given, wanted: &[true, true], metrics: &mut metrics, events: &mut events };
    let lent = Some(Value::Weights(weights.clone()));
    student.fire(&at, &mut Inputs { values: &[crops, None, lent] }, &mut outputs)?;
    let slopes = [tensor(vec![gradient; 2 * 2 * 8], vec![2, 2, 8]), None];
    let mut back = vec![None, None, None];
    let mut outputs =
        Outputs { values: &mut back, wanted: &[true; 3], metrics: &mut metrics, events: &mut events };
    student.backward(&at, &mut Inputs { values: &slopes }, &mut outputs)?;
    student.commit(&at);
    let Some(Value::Gradients(gradients)) = back.swap_remove(WEIGHTS) else { panic!("no gradients left") };
    Ok((metrics.iter().find(|(name, _)| *name == LOSS_SCALE).expect("a scale is reported").1, gradients))
}

#[test]
fn gradients_leave_under_a_scale_that_halves_when_they_overflow() {
    let (graph, device) = (graph(), Cpu::default());
    let weights = weights::first(&device, &graph.network, graph.products(), 0).unwrap();
    let mut student = Running::new(&graph, Averages::default(), &device);
    let (scale, gradients) = step(&mut student, &weights, 1e-3).unwrap();
    assert_eq!((scale, gradients.scale), (65536.0, 65536.0));
    assert!(gradients.squares.as_ref().unwrap().iter().all(|square| square.is_finite()));
    let (_, overflown) = step(&mut student, &weights, 1e36).unwrap();
    assert!(overflown.squares.as_ref().unwrap().iter().any(|square| !square.is_finite()));
    assert_eq!(step(&mut student, &weights, 1e-3).unwrap().0, 32768.0, "half as large after an overflow");
    // saved and restored
    let mut other = Running::new(&graph, Averages::default(), &device);
    other.restore(student.save().unwrap()).unwrap();
    assert_eq!(step(&mut other, &weights, 1e-3).unwrap().0, 32768.0);
    // where no scale helps the step fails
    let refused = (0..20).find_map(|_| step(&mut other, &weights, f32::INFINITY).err());
    assert!(matches!(refused, Some(StageError::NonFinite { .. })), "{refused:?}");
}
