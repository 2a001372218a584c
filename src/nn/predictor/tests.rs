use dfdx::prelude::Cpu;

use super::*;

fn normal(name: &str, len: usize) -> Vec<f32> {
    let mut draws = Key::new(7).named(name).draws();
    (0..len).map(|_| draws.normal() as f32).collect()
}

fn logits(values: Vec<f32>) -> Batched<Cpu> {
    Batched::from_host(&Cpu::default(), values, vec![3, 4, 5], Some(1)).unwrap()
}

/// Weights large enough that activations are far from linear.
fn predictor(shape: Shape) -> Predictor<Cpu> {
    let mut predictor = Predictor::new(&Cpu::default(), shape, Products::F32, 1).unwrap();
    for p in predictor.parameters_mut() {
        let values = normal(&p.name, p.tensor.len());
        Cpu::default().write(p.tensor.view_mut(), &values).unwrap();
    }
    predictor
}

/// The output's sum weighted by fixed numbers.
fn value(predictor: &Predictor<Cpu>, x: Vec<f32>) -> f64 {
    let (y, _) = predictor.forward_traced(&logits(x)).unwrap();
    let weights = normal("weights of the sum", 60);
    y.view().iter().zip(weights).map(|(&y, w)| f64::from(y) * f64::from(w)).sum()
}

/// Every gradient against the slope along a direction, which the gradient's product with it is.
fn check(batch_norm: bool, activation: Activation) {
    let shape = Shape { outputs: 5, hidden: 7, batch_norm, activation };
    let (mut predictor, x) = (predictor(shape), normal("x", 60));
    let total: usize = predictor.parameters().iter().map(|p| p.tensor.len()).sum();
    assert_eq!(total as u64, shape.parameters());
    let (_, way) = predictor.forward_traced(&logits(x.clone())).unwrap();
    let mut sums = predictor.zero_gradients().unwrap();
    let seed = logits(normal("weights of the sum", 60));
    let dx = way.run(&predictor, &seed, &mut sums).unwrap().view().to_vec();
    let agree = |what: &str, gradient: &[f32], slope: f64, direction: &[f32]| {
        let product = |(&g, &d): (&f32, &f32)| f64::from(g) * f64::from(d);
        let found: f64 = gradient.iter().zip(direction).map(product).sum();
        let size = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt().max(1.0);
        assert!((found - slope).abs() < 2e-2 * size, "{shape:?}, {what}: {found}, not {slope}");
    };
    const STEP: f32 = 2e-3;
    let along = |x: &[f32], d: &[f32], by: f32| x.iter().zip(d).map(|(x, d)| x + by * d).collect();
    let direction = normal("direction of x", 60);
    let ends = [STEP, -STEP].map(|by| value(&predictor, along(&x, &direction, by)));
    agree("logits", &dx, (ends[0] - ends[1]) / f64::from(2.0 * STEP), &direction);
    for index in 0..predictor.parameters().len() {
        let (name, start) = {
            let p = &predictor.parameters()[index];
            (p.name.clone(), p.tensor.view().to_vec())
        };
        let direction = normal(&format!("direction of {name}"), start.len());
        let mut at = |by: f32| {
            let moved: Vec<f32> = along(&start, &direction, by);
            let mut parameters = predictor.parameters_mut();
            Cpu::default().write(parameters[index].tensor.view_mut(), &moved).unwrap();
            value(&predictor, x.clone())
        };
        let slope = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
        at(0.0);
        agree(&name, Cpu::buffer(&sums.buffers[index]), slope, &direction);
    }
}

#[test]
fn gradients_are_the_slopes() {
    for batch_norm in [false, true] {
        for activation in [Activation::Gelu, Activation::Relu] {
            check(batch_norm, activation);
        }
    }
}

#[test]
fn micro_batches_add_up() {
    let shape = Shape { outputs: 5, hidden: 7, batch_norm: false, activation: Activation::Gelu };
    let (predictor, mut sums) = (predictor(shape), None);
    for _ in 0..2 {
        let (_, way) = predictor.forward_traced(&logits(normal("x", 60))).unwrap();
        let to = sums.get_or_insert_with(|| predictor.zero_gradients().unwrap());
        way.run(&predictor, &logits(normal("seed", 60)), to).unwrap();
    }
    let (_, way) = predictor.forward_traced(&logits(normal("x", 60))).unwrap();
    let mut once = predictor.zero_gradients().unwrap();
    way.run(&predictor, &logits(normal("seed", 60)), &mut once).unwrap();
    for (twice, once) in sums.unwrap().buffers.iter().zip(&once.buffers) {
        let pairs = Cpu::buffer(twice).iter().zip(Cpu::buffer(once));
        assert!(pairs.into_iter().all(|(two, one)| (two - 2.0 * one).abs() <= 1e-5 * (1.0 + one.abs())));
    }
}
