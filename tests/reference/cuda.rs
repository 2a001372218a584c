//! The same numbers on an NVIDIA GPU. Where there is none, each test says that it was skipped.

use dfdx::prelude::{Cpu, Cuda};
use dinoflow::graph::spec::Precision;
use dinoflow::kernels::cuda::open;

use crate::backbones::check_all;
use crate::trajectories::{check_all_mixed, check_moved, check_on};

/// The largest relative distance of f32 from the reference.
const NEAR: f64 = 1e-4;

fn gpu() -> Option<Cuda> {
    match open(0) {
        Ok(device) => Some(device),
        // where one is to be there, nothing is skipped
        Err(why) if std::env::var_os("DINOFLOW_NEEDS_GPU").is_some() => panic!("there is no GPU: {why}"),
        Err(why) => {
            eprintln!("skipped, for want of a GPU: {why}");
            None
        }
    }
}

fn check(fixture: &str, micro_batches: &[Option<usize>]) {
    let Some(device) = gpu() else { return };
    for micro_batch in micro_batches {
        check_on(&device, NEAR, fixture, *micro_batch);
    }
}

#[test]
fn cuda_adamw() {
    check("trajectory_adamw.json", &[None, Some(1), Some(2)]);
}

#[test]
fn cuda_sgd() {
    check("trajectory_sgd.json", &[None, Some(2)]);
}

#[test]
fn cuda_lars() {
    check("trajectory_lars.json", &[None, Some(2)]);
}

#[test]
fn cuda_no_clip_no_local() {
    check("trajectory_no_clip_no_local.json", &[None, Some(2)]);
}

#[test]
fn cuda_free_last_layer() {
    check("trajectory_free_last_layer.json", &[None, Some(2)]);
}

#[test]
fn cuda_head_bn() {
    check("trajectory_head_bn.json", &[None]);
}

#[test]
fn cuda_sinkhorn() {
    check("trajectory_sinkhorn.json", &[None, Some(2)]);
}

#[test]
fn cuda_koleo() {
    check("trajectory_koleo.json", &[None]);
}

#[test]
fn cuda_goes_on_where_the_processor_stopped_and_back() {
    let Some(device) = gpu() else { return };
    for fixture in ["trajectory_adamw.json", "trajectory_lars.json", "trajectory_sinkhorn.json"] {
        check_moved((&Cpu::default(), &device), NEAR, fixture, None);
        check_moved((&device, &Cpu::default()), NEAR, fixture, None);
    }
}

#[test]
fn cuda_backbones() {
    let Some(device) = gpu() else { return };
    check_all(&device, NEAR);
}

#[test]
fn cuda_mixed_precision_stays_near_the_reference() {
    let Some(device) = gpu() else { return };
    for precision in [Precision::Bf16, Precision::F16] {
        // as every instruction set of the processor is held: whichever way sums are rounded
        check_all_mixed(&device, precision, 8e-2);
    }
}
