use super::*;
use crate::keyed::Key;
use crate::optim::schedule::Horizon;
use dfdx::prelude::Cpu;

/// Views of the student, of the teacher, pictures, prototypes, width.
const SIZE: (usize, usize, usize, usize, usize) = (4, 3, 4, 6, 5);

const KOLEO: f64 = 0.5;

/// Values of the inputs in their order, with their shapes.
type Numbers = Vec<(Vec<f32>, Vec<usize>)>;

fn numbers(step: u64) -> Numbers {
    let (views, globals, batch, k, width) = SIZE;
    let shapes = [[views, batch, k], [globals, batch, k], [globals, batch, k], [views, batch, width]];
    let input = |(port, dims): (usize, [usize; 3])| {
        let mut draws = Key::new(step).with(port as u64).draws();
        let mut values: Vec<f32> = (0..dims.iter().product()).map(|_| draws.normal() as f32).collect();
        if port == TARGETS {
            for row in values.chunks_mut(k) {
                row.iter_mut().for_each(|x| *x = x.exp());
                let total: f32 = row.iter().sum();
                row.iter_mut().for_each(|x| *x /= total);
            }
        }
        (values, dims.to_vec())
    };
    shapes.into_iter().enumerate().map(input).collect()
}

/// Pictures `range` of all inputs.
fn part(numbers: &Numbers, range: std::ops::Range<usize>) -> Numbers {
    let cut = |(values, dims): &(Vec<f32>, Vec<usize>)| {
        let rows = values.chunks(dims[1] * dims[2]);
        let kept = rows.flat_map(|view| view[range.start * dims[2]..range.end * dims[2]].to_vec());
        (kept.collect(), vec![dims[0], range.len(), dims[2]])
    };
    numbers.iter().map(cut).collect()
}

/// Every variant with KoLeo of this weight.
fn variants(koleo: f64) -> Vec<(&'static str, Box<dyn Stage<Cpu>>)> {
    fn boxed(measure: impl Measure<Cpu> + 'static, koleo: f64) -> Box<dyn Stage<Cpu>> {
        Box::new(Running::new(measure, koleo, SIZE.1, SIZE.2, &Cpu::default()))
    }
    let device = Cpu::default();
    let queue = InfoNce { queue: 7, ..InfoNce::default() };
    vec![
        ("CrossEntropy", boxed(Against::new(&CrossEntropy::default(), &device), koleo)),
        ("MeanSquaredError", boxed(Between::new(&device), koleo)),
        ("InfoNce", boxed(Contrast::new(&queue, 3, &device), koleo)),
        ("SwappedPrediction", boxed(Swapped::new(&SwappedPrediction::default(), &device), koleo)),
    ]
}

fn moment(micro: usize, micros: usize) -> Moment {
    Moment { step: 0, micro, micros, horizon: Horizon { steps_per_epoch: 1, total_steps: 1 } }
}

/// The metrics of one firing, and the gradients of its inputs.
fn fire(
    name: &str,
    stage: &mut dyn Stage<Cpu>,
    numbers: &Numbers,
    at: &Moment,
) -> (Vec<(&'static str, f64)>, Vec<Option<Vec<f32>>>) {
    // what a plan hands over: nothing at the inputs that a variant ignores
    let against = match name {
        "CrossEntropy" => Some(TARGETS),
        "SwappedPrediction" => None,
        _ => Some(TEACHER),
    };
    let used = |port: usize| port == LOGITS || port == CLS || against == Some(port);
    let tensor = |(port, (values, dims)): (usize, &(Vec<f32>, Vec<usize>))| {
        let tensor = Batched::from_host(&Cpu::default(), values.clone(), dims.clone(), Some(1)).unwrap();
        used(port).then_some(Value::Tensor(tensor))
    };
    let values: Vec<_> = numbers.iter().enumerate().map(tensor).collect();
    let (mut given, mut back, mut metrics) = ([None], [None, None, None, None], Vec::new());
    let mut outputs =
        Outputs { values: &mut given, wanted: &[true], metrics: &mut metrics, events: &mut Vec::new() };
    stage.fire(at, &mut Inputs { values: &values }, &mut outputs).unwrap();
    let mut outputs =
        Outputs { values: &mut back, wanted: &[true; 4], metrics: &mut Vec::new(), events: &mut Vec::new() };
    stage.backward(at, &mut Inputs { values: &[] }, &mut outputs).unwrap();
    let host = |value: Option<Value<Cpu>>| match value {
        Some(Value::Tensor(tensor)) => Some(tensor.to_host().unwrap()),
        _ => None,
    };
    (metrics, back.into_iter().map(host).collect())
}

fn metric(metrics: &[(&'static str, f64)], name: &str) -> Option<f64> {
    metrics.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

#[test]
fn gradients_are_the_slopes_of_the_loss_and_koleo() {
    for (name, mut stage) in variants(KOLEO) {
        let whole = numbers(0);
        let gradients = fire(name, stage.as_mut(), &whole, &moment(0, 1)).1;
        for port in [LOGITS, CLS] {
            // no gradient flows through the codes, and so they do not follow a step aside
            if (name, port) == ("SwappedPrediction", LOGITS) {
                continue;
            }
            let gradient = gradients[port].as_ref().unwrap();
            let mut total = |index: usize, by: f32| {
                let mut moved = whole.clone();
                moved[port].0[index] += by;
                let metrics = fire(name, stage.as_mut(), &moved, &moment(0, 1)).0;
                metric(&metrics, "loss").unwrap() + KOLEO * metric(&metrics, "koleo").unwrap()
            };
            let largest = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
            for (index, found) in gradient.iter().enumerate() {
                let step = 1.0 / 512.0;
                let slope = (total(index, step) - total(index, -step)) / f64::from(2.0 * step);
                let off = (f64::from(*found) - slope).abs();
                assert!(off < 5e-3 * f64::from(largest), "{name}, port {port}: {found} is not {slope}");
            }
        }
    }
}

#[test]
fn swapped_prediction_is_the_cross_entropy_to_the_students_own_codes() {
    use crate::kernels::LossKernels;
    let (_, globals, batch, k, _) = SIZE;
    let (device, mut given) = (Cpu::default(), numbers(0));
    let (mut codes, mut entropy) = (vec![0.0; globals * batch * k], vec![0.0; globals * batch]);
    device.sinkhorn(globals, batch, k, 3, 0.05, &given[LOGITS].0, &mut codes, &mut entropy).unwrap();
    given[TARGETS].0 = codes;
    let of = |wanted: &str| {
        let (name, mut stage) = variants(0.0).into_iter().find(|(name, _)| *name == wanted).unwrap();
        let (metrics, gradients) = fire(name, stage.as_mut(), &given, &moment(0, 1));
        (metric(&metrics, "loss"), gradients)
    };
    assert_eq!(of("SwappedPrediction"), of("CrossEntropy"));
}

#[test]
fn only_a_cross_entropy_to_the_targets_calls_itself_one_and_koleo_stands_apart() {
    for koleo in [0.0, KOLEO] {
        for (name, mut stage) in variants(koleo) {
            let (metrics, gradients) = fire(name, stage.as_mut(), &numbers(0), &moment(0, 1));
            assert_eq!(metric(&metrics, CROSS_ENTROPY).is_some(), name == "CrossEntropy", "{name}");
            assert_eq!(metric(&metrics, "koleo").is_some(), koleo > 0.0, "{name}");
            assert_eq!(gradients[CLS].is_some(), koleo > 0.0, "{name}");
            let loss = metric(&metrics, "loss").unwrap();
            let (_, mut plain) = variants(0.0).into_iter().find(|(other, _)| *other == name).unwrap();
            let alone = fire(name, plain.as_mut(), &numbers(0), &moment(0, 1)).0;
            assert_eq!(metric(&alone, "loss"), Some(loss), "{name}: the loss is without KoLeo");
        }
    }
}

#[test]
fn micro_batches_add_up_to_the_whole() {
    for (name, mut stage) in variants(0.0).into_iter().filter(|(name, _)| *name != "SwappedPrediction") {
        let whole = numbers(0);
        let (metrics, gradients) = fire(name, stage.as_mut(), &whole, &moment(0, 1));
        let parts: Vec<_> = (0..2)
            .map(|i| fire(name, stage.as_mut(), &part(&whole, 2 * i..2 * i + 2), &moment(i, 2)))
            .collect();
        let loss = metric(&metrics, "loss").unwrap();
        let sum: f64 = parts.iter().map(|(metrics, _)| metric(metrics, "loss").unwrap()).sum();
        assert!((loss - sum).abs() < 1e-6 * loss, "{name}: {sum} is not {loss}");
        let (views, _, batch, k, _) = SIZE;
        for view in 0..views {
            for (i, (_, part)) in parts.iter().enumerate() {
                let whole = &gradients[LOGITS].as_ref().unwrap()[(view * batch + 2 * i) * k..][..2 * k];
                let part = &part[LOGITS].as_ref().unwrap()[view * 2 * k..][..2 * k];
                let off = whole.iter().zip(part).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "{name}: {part:?} is not {whole:?}");
            }
        }
    }
}

fn contrast() -> Box<dyn Stage<Cpu>> {
    variants(0.0).into_iter().find(|(name, _)| *name == "InfoNce").unwrap().1
}

/// One step in two micro-batches.
fn step(stage: &mut dyn Stage<Cpu>, step: u64) -> Vec<Vec<(&'static str, f64)>> {
    let whole = numbers(step);
    let micro = |i: usize| fire("InfoNce", stage, &part(&whole, 2 * i..2 * i + 2), &moment(i, 2)).0;
    (0..2).map(micro).collect()
}

#[test]
fn the_queue_moves_when_a_step_commits_and_not_before() {
    let mut stage = contrast();
    let first = step(stage.as_mut(), 0);
    let before = stage.save().unwrap();
    assert_eq!(step(stage.as_mut(), 0), first, "a step without an end changes nothing");
    assert_eq!(stage.save().unwrap(), before);
    stage.commit(&moment(0, 1));
    let after = stage.save().unwrap();
    assert_ne!(after, before);
    // 3 views of 4 pictures on 7 places
    assert_eq!(
        after["next"],
        crate::runtime::stage::SavedTensor::U64 { dims: vec![1], values: vec![12 % 7] }
    );
    stage.commit(&moment(0, 1));
    assert_eq!(stage.save().unwrap(), after, "a step commits once");
}

#[test]
fn a_restored_queue_goes_on_as_the_one_that_was_saved() {
    let mut stage = contrast();
    for at in 0..3 {
        step(stage.as_mut(), at);
        stage.commit(&moment(0, 1));
    }
    let mut other = contrast();
    other.restore(stage.save().unwrap()).unwrap();
    assert_eq!(step(other.as_mut(), 3), step(stage.as_mut(), 3));
    let mut wrong = stage.save().unwrap();
    wrong.remove("next");
    assert!(matches!(other.restore(wrong), Err(StageError::Restore(_))));
}

#[test]
fn each_variant_needs_its_own_inputs() {
    let all: [(&dyn Declare, &[&str]); 6] = [
        (&CrossEntropy::default(), &["targets"]),
        (&CrossEntropy { koleo: 0.1, ..CrossEntropy::default() }, &["targets", "cls"]),
        (&MeanSquaredError::default(), &["teacher"]),
        (&InfoNce::default(), &["teacher"]),
        (&SwappedPrediction::default(), &[]),
        (&SwappedPrediction { koleo: 0.1, ..SwappedPrediction::default() }, &["cls"]),
    ];
    for (stage, needed) in all {
        assert_eq!(stage.uses("logits"), Use::AsDeclared);
        for input in ["targets", "teacher", "cls"] {
            let expected = if needed.contains(&input) { Use::Needed } else { Use::Ignored };
            assert_eq!(stage.uses(input), expected, "{input}");
        }
    }
}
