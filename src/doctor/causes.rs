//! Why training collapsed: what the graph's own settings have to do with it, and how to change them.
//!
//! The thresholds are the paper's ablations (Caron et al. 2021, section 5 and appendix): a teacher temperature of 0.08, a centre
//! momentum of 0.999, a teacher that copies the student or is one iteration old, a head without its bottleneck's norm.

use super::course::{Collapse, Way};
use super::subject::{Patient, Subject, find};
use crate::stages::Role;

/// A setting that may be the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What about it, in a sentence's half.
    pub what: String,
    /// Arguments of `dinoflow run` that change it.
    pub remedy: String,
}

type Rule = fn(&Subject, &Collapse) -> Option<Cause>;

/// What may have led to a collapse, the likeliest first; never empty.
pub fn causes(subject: &Subject, collapse: &Collapse) -> Vec<Cause> {
    let rules: &[Rule] = match collapse.way {
        Way::ToUniform => &[
            blunt,
            uncentered,
            copied,
            unbounded,
            squared,
            slow_center,
            quick_teacher,
            warming,
            unsteady,
            fast,
            unwarmed,
        ],
        Way::ToOnePrototype => &[
            uncentered,
            slow_center,
            copied,
            unbounded,
            squared,
            quick_teacher,
            blunt,
            unsteady,
            fast,
            unwarmed,
        ],
        Way::ToOneTarget => &[
            copied,
            unbounded,
            squared,
            uncentered,
            slow_center,
            quick_teacher,
            blunt,
            unsteady,
            fast,
            unwarmed,
        ],
    };
    let mut causes: Vec<Cause> = rules.iter().filter_map(|rule| rule(subject, collapse)).collect();
    if causes.is_empty() {
        causes.extend(unknown(subject));
    }
    causes
}

fn cause(what: impl Into<String>, remedy: impl Into<String>) -> Option<Cause> {
    Some(Cause { what: what.into(), remedy: remedy.into() })
}

/// A teacher temperature at which targets are no sharper than the student.
fn blunt(subject: &Subject, collapse: &Collapse) -> Option<Cause> {
    let center = subject.node(&Role::Center)?;
    let temperature = collapse.first.teacher_temperature.or_else(|| center.highest("temperature"))?;
    let student = subject.node(&Role::Loss).and_then(|loss| loss.number("temperature")).unwrap_or(0.1);
    (temperature >= 0.8 * student).then_some(())?;
    cause(
        format!(
            "the teacher's temperature was {temperature}, which hardly sharpens its output against the student's {student}; \
             from 0.08 on training collapses"
        ),
        format!("--set '{}.temperature=Constant(0.04)'", center.name),
    )
}

/// A temperature that rises faster than the network learns.
fn warming(subject: &Subject, collapse: &Collapse) -> Option<Cause> {
    let center = subject.node(&Role::Center)?;
    center.value("temperature.Linear")?;
    let reached = collapse.first.teacher_temperature.filter(|reached| (0.05..0.08).contains(reached))?;
    cause(
        format!("the teacher's temperature had risen to {reached:.3} before the network had learnt enough"),
        format!("--set '{}.temperature=Constant(0.04)'", center.name),
    )
}

/// No centring, so that nothing keeps one prototype from taking all.
fn uncentered(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let center = subject.node(&Role::Center).filter(|center| center.kind == "Uncentered")?;
    cause(
        "the teacher's output is not centred, so nothing keeps one prototype from taking every picture",
        format!("--swap {}=stages/center/centering.ron", center.name),
    )
}

/// A centre that follows the teacher's output too slowly to balance it.
fn slow_center(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let center = subject.node(&Role::Center).filter(|center| center.kind == "Centering")?;
    let momentum = center.number("momentum").filter(|momentum| *momentum > 0.99)?;
    cause(
        format!(
            "the centre's momentum is {momentum}, so the centre lags behind the output that it is to balance; \
             0.999 collapses, 0.9 to 0.99 do not"
        ),
        format!("--set {}.momentum=0.9", center.name),
    )
}

/// A teacher that is the student of this step or of the one before, with centring alone.
fn copied(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let teacher = subject.node(&Role::Ema)?;
    let center = subject.node(&Role::Center)?;
    let what = match teacher.kind.as_str() {
        "StudentCopy" => "the teacher is a copy of the student",
        "PreviousIteration" => "the teacher is the student of the iteration before",
        _ => return None,
    };
    (!["SinkhornKnopp", "BatchSoftmax"].contains(&center.kind.as_str())).then_some(())?;
    cause(
        format!(
            "{what}, and centring does not keep that from collapsing; a moving average does, and Sinkhorn-Knopp"
        ),
        format!("--swap {}=stages/ema/momentum.ron", teacher.name),
    )
}

/// A moving average that hardly is one.
fn quick_teacher(subject: &Subject, collapse: &Collapse) -> Option<Cause> {
    let teacher = subject.node(&Role::Ema).filter(|teacher| teacher.kind == "Momentum")?;
    let momentum = collapse.first.teacher_momentum.filter(|momentum| *momentum < 0.9)?;
    cause(
        format!("the teacher's momentum was {momentum:.3}, so the teacher is nearly a copy of the student"),
        format!("--set '{}.momentum=Cosine(from: 0.996, to: 1.0)'", teacher.name),
    )
}

/// A deep head whose bottleneck is not normalised.
fn unbounded(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let normalised = find(&subject.network, "head.l2")?.as_bool()?;
    let layers = find(&subject.network, "head.layers")?.as_u64()?;
    (!normalised && layers >= 3).then_some(())?;
    cause(
        format!("the head has {layers} layers and no L2 normalisation of its bottleneck"),
        "--set network.head.l2=true",
    )
}

/// Squared errors under batch norm, or without centring.
fn squared(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let loss = subject.node(&Role::Loss).filter(|loss| loss.kind == "MeanSquaredError")?;
    let batch_norm = find(&subject.network, "head.batch_norm").and_then(|value| value.as_bool());
    (batch_norm == Some(true)).then_some(())?;
    cause(
        "the loss is the mean squared error under a head with batch norm, which collapses without centring and a predictor",
        format!("--swap {}=stages/loss/cross_entropy.ron", loss.name),
    )
}

/// A batch too small for a head without batch norm: the quickstart's graph goes to uniform so.
fn unsteady(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let batch_norm = find(&subject.network, "head.batch_norm")?.as_bool()?;
    let batch = subject.global_batch;
    (!batch_norm && batch < 256).then_some(())?;
    cause(
        format!("the head has no batch norm, which steadies a batch as small as {batch}"),
        "--set network.head.batch_norm=true",
    )
}

/// The learning rate's peak, scaled with the batch as the optimizer does it.
fn peak(subject: &Subject, optimizer: &Patient) -> Option<f64> {
    let lr = optimizer.number("lr")?;
    Some(match optimizer.number("lr_scaling.Linear.per") {
        Some(per) if per > 0.0 => lr * subject.global_batch as f64 / per,
        _ => lr,
    })
}

/// A learning rate far above what works for the optimizer.
fn fast(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let optimizer = subject.node(&Role::Optimizer)?;
    let peak = peak(subject, optimizer)?;
    let most = if optimizer.kind == "AdamW" { 0.005 } else { 5.0 };
    (peak >= most).then_some(())?;
    let less = optimizer.number("lr")? / 10.0;
    cause(
        format!("the learning rate reaches {peak}, which is high for {}", optimizer.kind),
        format!("--set {}.lr={less:?}", optimizer.name),
    )
}

/// A learning rate that starts at its peak.
fn unwarmed(subject: &Subject, _: &Collapse) -> Option<Cause> {
    let optimizer = subject.node(&Role::Optimizer)?;
    let course = optimizer.value("lr_course")?;
    let none = ["Cosine.warmup.Steps", "Cosine.warmup.Epochs", "Linear.warmup.Steps", "Linear.warmup.Epochs"];
    let zero = none.iter().any(|path| find(course, path).and_then(|v| v.as_f64()) == Some(0.0));
    (zero || course == "Constant").then_some(())?;
    cause(
        "the learning rate starts at its peak, without a warm-up",
        format!("--set '{}.lr_course=Cosine(warmup: Fraction(0.1))'", optimizer.name),
    )
}

/// Nothing stands out: what else helps.
fn unknown(subject: &Subject) -> Option<Cause> {
    let optimizer = subject.node(&Role::Optimizer);
    let name = optimizer.map_or("optimizer", |optimizer| optimizer.name.as_str());
    let less = optimizer.and_then(|optimizer| optimizer.number("lr")).unwrap_or(0.0005) / 10.0;
    cause(
        "none of the graph's settings stands out; a smaller learning rate, a longer warm-up or a last layer that is frozen for \
         longer steadies the beginning",
        format!("--set {name}.lr={less:?}"),
    )
}

#[cfg(test)]
mod tests;
