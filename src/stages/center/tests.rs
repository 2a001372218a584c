use super::*;
use crate::keyed::Key;
use crate::optim::schedule::Horizon;
use dfdx::prelude::Cpu;

const DIMS: [usize; 3] = [2, 3, 5];

fn values(name: &str, n: usize) -> Vec<f32> {
    let mut draws = Key::new(0).named(name).draws();
    (0..n).map(|_| draws.normal() as f32).collect()
}

fn recipe(rule: Rule) -> Recipe {
    Recipe { rule, momentum: 0.9, temperature: Schedule::Constant(0.1) }
}

const RULES: [Rule; 4] =
    [Rule::Centered, Rule::Plain, Rule::Balanced { iterations: 1 }, Rule::Balanced { iterations: 3 }];

/// What a stage gives for the logits of one step, and the names of its metrics.
fn fire(
    stage: &mut Running<Cpu>,
    step: u64,
    wanted: [bool; 2],
) -> ([Option<Vec<f32>>; 2], Vec<(&'static str, f64)>) {
    let logits = values(&format!("step {step}"), DIMS.iter().product());
    let logits = Batched::from_host(&Cpu::default(), logits, DIMS.to_vec(), Some(1)).unwrap();
    let (mut given, mut metrics) = ([None, None], Vec::new());
    let at = Moment { step, micro: 0, micros: 1, horizon: Horizon { steps_per_epoch: 4, total_steps: 8 } };
    let mut outputs =
        Outputs { values: &mut given, wanted: &wanted, metrics: &mut metrics, events: &mut Vec::new() };
    stage.fire(&at, &mut Inputs { values: &[Some(Value::Tensor(logits))] }, &mut outputs).unwrap();
    let host = |value: &Option<Value<Cpu>>| match value {
        Some(Value::Tensor(tensor)) => Some(tensor.to_host().unwrap()),
        _ => None,
    };
    ([host(&given[0]), host(&given[1])], metrics)
}

fn commit(stage: &mut Running<Cpu>) {
    let horizon = Horizon { steps_per_epoch: 4, total_steps: 8 };
    Stage::<Cpu>::commit(stage, &Moment { step: 0, micro: 0, micros: 1, horizon });
}

#[test]
fn every_rule_gives_probabilities_and_reports_the_same_numbers() {
    for rule in RULES {
        let mut stage = Running::new(recipe(rule), &Cpu::default());
        let ([targets, centered], metrics) = fire(&mut stage, 0, [true, false]);
        for row in targets.unwrap().chunks(5) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{rule:?}: {row:?}");
        }
        assert_eq!(centered, None, "{rule:?}: nobody wants it");
        let names: Vec<_> = metrics.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["teacher_temperature", "teacher_entropy", "batch_entropy", "center_norm"]);
        assert!(metrics.iter().all(|(_, value)| value.is_finite() && *value > 0.0), "{metrics:?}");
    }
}

#[test]
fn logits_are_centred_where_the_targets_are() {
    for rule in RULES {
        let mut stage = Running::new(recipe(rule), &Cpu::default());
        let raw = |step: u64| values(&format!("step {step}"), DIMS.iter().product());
        assert_eq!(
            fire(&mut stage, 0, [true; 2]).0[1].as_ref(),
            Some(&raw(0)),
            "{rule:?}: a centre of zeros"
        );
        commit(&mut stage);
        let centered = fire(&mut stage, 1, [true; 2]).0[1].clone().unwrap();
        let center: Vec<f32> =
            (0..5).map(|k| (0..6).map(|row| raw(0)[row * 5 + k]).sum::<f32>() / 6.0 * 0.1).collect();
        for (i, (found, raw)) in centered.iter().zip(raw(1)).enumerate() {
            let expected = if rule == Rule::Centered { raw - center[i % 5] } else { raw };
            assert!((found - expected).abs() < 1e-6, "{rule:?}: {found} is not {expected}");
        }
    }
}

#[test]
fn a_step_that_is_not_committed_leaves_the_centre_and_a_saved_one_comes_back() {
    for rule in RULES {
        let mut stage = Running::new(recipe(rule), &Cpu::default());
        fire(&mut stage, 0, [true; 2]);
        assert_eq!(stage.save().unwrap(), State::new(), "{rule:?}: not committed");
        commit(&mut stage);
        let saved = stage.save().unwrap();
        let mut other = Running::new(recipe(rule), &Cpu::default());
        other.restore(saved.clone()).unwrap();
        assert_eq!(other.save().unwrap(), saved, "{rule:?}");
        assert_eq!(fire(&mut stage, 1, [true; 2]), fire(&mut other, 1, [true; 2]), "{rule:?}");
    }
}
