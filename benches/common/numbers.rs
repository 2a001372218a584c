//! Numbers to work on, stored as training stores them, and what the machine can do with them at most.

use dinoflow::kernels::cpu::peak;
use dinoflow::kernels::{Numbers, NumbersMut, Products};
use half::bf16;

/// Both precisions, by the names that the benchmarks carry.
pub const PRECISIONS: [(&str, Products); 2] = [("f32", Products::F32), ("bf16", Products::Bf16)];

/// Numbers from -1 to 1 without a pattern that caches or branch predictors could learn.
pub fn filled(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// Activations as they are stored beside products of a precision.
pub enum Stored {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Stored {
    pub fn filled(products: Products, n: usize) -> Self {
        match products {
            Products::F32 => Stored::F32(filled(n)),
            Products::Bf16 => Stored::Bf16(filled(n).into_iter().map(bf16::from_f32).collect()),
            Products::F16 => unreachable!("GPUs alone multiply them: `PRECISIONS` has none"),
        }
    }

    pub fn read(&self) -> Numbers<'_> {
        match self {
            Stored::F32(x) => Numbers::F32(x),
            Stored::Bf16(x) => Numbers::Bf16(x),
        }
    }

    pub fn write(&mut self) -> NumbersMut<'_> {
        match self {
            Stored::F32(x) => NumbersMut::F32(x),
            Stored::Bf16(x) => NumbersMut::Bf16(x),
        }
    }
}

/// Says what every rate in the lines below is a share of. On standard error, where it leaves lists of benchmarks alone.
pub fn print_peak() {
    let bf16 = peak::bf16_gflops().map_or("none of their own".into(), |rate| format!("{rate:.0} GFLOP/s"));
    eprintln!(
        "multiply-adds on registers alone, {} threads: f32 {:.0} GFLOP/s, bf16 {bf16}; a Gelem/s below is a GFLOP/s where matrices are multiplied",
        rayon::current_num_threads(),
        peak::f32_gflops(),
    );
}
