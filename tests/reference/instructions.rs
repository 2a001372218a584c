//! Whole trajectories by each kind of processor's instructions, as far as this one has them.

use std::process::Command;

use dinoflow::kernels::cpu::{Isa, VARIABLE};

/// The trajectories' own tests in a process of their own, where kernels use no instructions but these.
fn trains(word: &str) -> (bool, String) {
    let tests = [
        "adamw",
        "sgd",
        "lars",
        "no_clip_no_local",
        "free_last_layer",
        "head_bn",
        "sinkhorn",
        "koleo",
        "mixed_precision_stays_near_over_a_run",
    ];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--test-threads", "1"]).args(tests.map(|test| format!("trajectories::{test}")));
    let output = command.env(VARIABLE, word).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let all = text[0].contains(&format!("{} passed; 0 failed; 0 ignored", tests.len()));
    (output.status.success() && all, text.concat())
}

#[test]
fn every_instruction_set_follows_the_reference() {
    for isa in Isa::available() {
        let (passed, text) = trains(isa.word());
        assert!(passed, "{}:\n{text}", isa.word());
    }
    // the variable reaches the kernels: by instructions that no processor has, nothing trains
    let (passed, text) = trains("none at all");
    assert!(!passed && text.contains("no such instruction set"), "{text}");
}
