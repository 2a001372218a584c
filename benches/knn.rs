//! Nearest neighbours beside the bare matrix product: `cargo bench --bench knn [TRAIN VAL DIM ROUNDS]`.
//!
//! Random features of unit length (200,000 that vote and 5,000 that are classified, 384 wide, unless said). In each round the whole
//! product of similarities alone, in blocks that are overwritten, then the classification; medians of both, and the process's peak of
//! memory beside the features' own size.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dinoflow::bench::memory;
use dinoflow::eval::knn::{Labelled, classify};
use dinoflow::kernels::Products;
use dinoflow::kernels::cpu::linear;
use dinoflow::keyed::Key;
use rayon::prelude::*;

/// Rows and columns of the bare product's blocks: of the sizes tried the fastest.
const BLOCK: (usize, usize) = (1000, 4000);

fn features(name: &str, rows: usize, dim: usize) -> Labelled {
    let key = Key::new(1).named(name);
    let mut features = vec![0.0f32; rows * dim];
    features.par_chunks_mut(dim).enumerate().for_each(|(i, row)| {
        let mut draws = key.with(i as u64).draws();
        row.iter_mut().for_each(|x| *x = draws.normal() as f32);
    });
    let labels = (0..rows).map(|i| (i % 1000) as u32).collect();
    Labelled::normalized(dim, features, labels)
}

/// All similarities, each block over the last.
fn product(train: &Labelled, val: &Labelled) -> Duration {
    let (dim, start) = (train.dim, Instant::now());
    let mut out = vec![0.0; BLOCK.0 * BLOCK.1];
    for rows in val.features.chunks(BLOCK.0 * dim) {
        for columns in train.features.chunks(BLOCK.1 * dim) {
            let (m, n) = (rows.len() / dim, columns.len() / dim);
            linear::forward(Products::F32, m, dim, n, rows.into(), columns, None, (&mut out[..m * n]).into());
            black_box(&out);
        }
    }
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [train, val, dim, rounds] = given[..].try_into().unwrap_or([200_000, 5_000, 384, 5]);
    let (train, val) = (features("train", train, dim), features("val", val, dim));
    let own = 4 * (train.features.len() + val.features.len());
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    let mut peak = 0;
    for _ in 0..rounds {
        bare.push(product(&train, &val));
        memory::forget_peak();
        let start = Instant::now();
        black_box(classify(&train, &val, &[10, 20, 100, 200], 0.07));
        whole.push(start.elapsed());
        peak = peak.max(memory::peak().unwrap_or(0));
    }
    let (bare, whole) = (median(bare), median(whole));
    let flops = 2.0 * (train.len() * val.len() * dim) as f64;
    println!("product alone   {bare:.2} s, {:.0} GFLOP/s", flops / bare / 1e9);
    println!("classification  {whole:.2} s, {:.2} x the product", whole / bare);
    println!(
        "peak of memory  {:.0} MB, {:.2} x the features' {:.0} MB",
        peak as f64 / 1e6,
        peak as f64 / own as f64,
        own as f64 / 1e6
    );
}
