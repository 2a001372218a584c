//! Which weights each rule lends, step by step, and after a restoration.

use std::sync::Arc;

use dfdx::prelude::Cpu;

use super::*;
use crate::graph::spec::NetworkSpec;
use crate::kernels::Products;
use crate::optim::schedule::{Horizon, Schedule};
use crate::runtime::stage::{Inputs, Moment, Stage};

/// A network all of whose weights are this number.
fn network(value: f32) -> Lent<Cpu> {
    let text = "(backbone: VitMicro((patch: 16, image: 16)), head: (hidden: 2, bottleneck: 2, out_dim: 2))";
    let spec: NetworkSpec = ron::from_str(text).unwrap();
    let cpu = Cpu::default();
    let mut network = weights::first(&cpu, &spec, Products::F32, 0).unwrap();
    for parameter in Arc::get_mut(&mut network).unwrap().parameters_mut() {
        let values = vec![value; parameter.tensor.len()];
        cpu.write(parameter.tensor.view_mut(), &values).unwrap();
    }
    network
}

/// The number that all weights at an output are.
fn number(output: &Option<Value<Cpu>>) -> f32 {
    let Some(Value::Weights(weights)) = output else { panic!("no weights were lent") };
    let read = |p: &crate::nn::parameter::Ref<'_, Cpu>| p.tensor.view().to_vec();
    let numbers: Vec<f32> = weights.parameters().iter().flat_map(read).collect();
    assert!(numbers.iter().all(|x| *x == numbers[0]));
    numbers[0]
}

/// Fires or asks for the first weights, and says which were lent.
fn lent(stage: &mut dyn Stage<Cpu>, fire: Option<(u64, f32)>) -> (f32, Vec<&'static str>) {
    let (mut given, mut metrics) = ([None], Vec::new());
    let events = &mut Vec::new();
    let mut outputs = Outputs { values: &mut given, wanted: &[true], metrics: &mut metrics, events };
    match fire {
        None => stage.first(&mut outputs).unwrap(),
        Some((step, student)) => {
            let horizon = Horizon { steps_per_epoch: 3, total_steps: 9 };
            let at = Moment { step, micro: 0, micros: 1, horizon };
            let values = [Some(Value::Weights(network(student)))];
            stage.fire(&at, &mut Inputs { values: &values }, &mut outputs).unwrap();
        }
    }
    (number(&given[0]), metrics.iter().map(|(name, _)| *name).collect())
}

/// The student uses the number t at step t; `expected` is what the teacher uses, over three epochs of three steps.
fn check(make: &dyn Fn() -> Box<dyn Stage<Cpu>>, expected: [f32; 9], reports: &[&str]) {
    for restored_at in 0..9u64 {
        let mut stage = make();
        assert_eq!(lent(stage.as_mut(), None).0, expected[0], "step 0");
        for step in 0..8u64 {
            if step == restored_at {
                let state = stage.save().unwrap();
                stage = make();
                stage.restore(state).unwrap();
                assert_eq!(lent(stage.as_mut(), None).0, expected[step as usize], "restored at {step}");
            }
            let (found, metrics) = lent(stage.as_mut(), Some((step, step as f32 + 1.0)));
            assert_eq!(found, expected[step as usize + 1], "step {}, restored at {restored_at}", step + 1);
            assert_eq!(metrics, reports);
        }
    }
}

#[test]
fn every_rule_lends_the_weights_that_it_says() {
    let (cpu, first) = (Cpu::default(), network(0.0));
    let copy = || -> Box<dyn Stage<Cpu>> { Box::new(running::StudentCopy::new(&first, &cpu).unwrap()) };
    check(&copy, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[]);
    let iteration =
        || -> Box<dyn Stage<Cpu>> { Box::new(running::PreviousIteration::new(&first, &cpu).unwrap()) };
    check(&iteration, [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[]);
    let epoch = || -> Box<dyn Stage<Cpu>> { Box::new(running::PreviousEpoch::new(&first, &cpu).unwrap()) };
    check(&epoch, [0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 6.0, 6.0, 6.0], &[]);
    let half = Momentum { momentum: Schedule::Constant(0.5) };
    let average =
        || -> Box<dyn Stage<Cpu>> { Box::new(running::Momentum::new(&half, &first, &cpu).unwrap()) };
    let mut expected = [0.0f32; 9];
    for t in 1..9 {
        expected[t] = 0.5 * expected[t - 1] + 0.5 * t as f32;
    }
    check(&average, expected, &["teacher_momentum"]);
}

#[test]
fn only_an_average_is_moved_along_by_the_optimizer() {
    let (cpu, first) = (Cpu::default(), network(0.0));
    let at = Moment { step: 0, micro: 0, micros: 1, horizon: Horizon { steps_per_epoch: 3, total_steps: 9 } };
    let half = Momentum { momentum: Schedule::Constant(0.5) };
    let mut rules: [(Box<dyn Stage<Cpu>>, bool); 4] = [
        (Box::new(running::Momentum::new(&half, &first, &cpu).unwrap()), true),
        (Box::new(running::StudentCopy::new(&first, &cpu).unwrap()), false),
        (Box::new(running::PreviousIteration::new(&first, &cpu).unwrap()), false),
        (Box::new(running::PreviousEpoch::new(&first, &cpu).unwrap()), false),
    ];
    for (rule, lends) in &mut rules {
        let average = rule.lend_average(&at);
        assert_eq!(average.is_some(), *lends);
        if let Some(average) = average {
            rule.return_average(average);
        }
        assert_eq!(lent(rule.as_mut(), None).0, 0.0);
    }
}
