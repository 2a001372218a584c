//! The paper's schedules at their turning points.

use dinoflow::optim::schedule::{Every, Horizon, LrCourse, Schedule, Span};

use crate::fixture::{close, count, json, number, numbers};

#[test]
fn schedules() {
    let fixture = json("schedules.json");
    let epochs = count(&fixture["epochs"]) as u64;
    let steps_per_epoch = count(&fixture["iters_per_epoch"]) as u64;
    let horizon = Horizon { steps_per_epoch, total_steps: epochs * steps_per_epoch };
    let peak = number(&fixture["lr_base"]) * number(&fixture["batch"]) / 256.0;
    let lr = LrCourse::Cosine { warmup: Span::Epochs(10.0), end: 1e-6 };
    let decay = Schedule::Cosine { from: 0.04, to: 0.4 };
    let momentum = Schedule::Cosine { from: 0.996, to: 1.0 };
    for (i, at) in fixture["at"].as_array().unwrap().iter().enumerate() {
        let step = count(at) as u64;
        let expected = |key: &str| number(&fixture[key][i]);
        close(&format!("lr at {step}"), lr.at(peak, step, horizon), expected("lr"), 1e-9, 0.0);
        close(
            &format!("weight decay at {step}"),
            decay.at(step, horizon),
            expected("weight_decay"),
            1e-9,
            0.0,
        );
        close(&format!("momentum at {step}"), momentum.at(step, horizon), expected("momentum"), 1e-9, 0.0);
    }
    let temperature =
        Schedule::Linear { from: 0.04, to: 0.07, over: Span::Epochs(30.0), every: Every::Epoch };
    for (epoch, &expected) in numbers(&fixture["teacher_temp_by_epoch"]).iter().enumerate() {
        for step in [0, steps_per_epoch - 1].map(|s| epoch as u64 * steps_per_epoch + s) {
            close(&format!("temperature at {step}"), temperature.at(step, horizon), expected, 1e-9, 0.0);
        }
    }
}
