//! Linear layers with a GELU on a GPU, in one pass and as a product of NVIDIA's library with passes after it: each kernel's time.
//!
//!     cargo bench --features cuda --bench gpu [ROWS]
//!
//! Shapes are those of a ViT-S/16 step of 256 pictures and of a ViT-B/8 step of 32; ROWS takes the place of their rows, for a look at
//! whether all runs. Nothing is measured where there is no GPU.

use dfdx::prelude::CudaError;
use dinoflow::kernels::cuda::{Gpu, Kind, Memory, View, linear, open};
use dinoflow::kernels::{Products, Rows};

/// Rounds that are timed, after two that are not.
const ROUNDS: usize = 10;

fn main() -> Result<(), CudaError> {
    let device = match open(0) {
        Ok(device) => device,
        Err(why) => {
            println!("nothing is measured: {why}");
            return Ok(());
        }
    };
    let gpu = Gpu::of(&device)?;
    // cargo passes words of its own
    let rows = std::env::args().skip(1).find_map(|word| word.parse().ok());
    println!("{}", gpu.name().unwrap_or_default());
    for (of, width) in [(176_640, 384), (100_864, 384), (50_432, 768)] {
        Layer::new(gpu, rows.unwrap_or(of), width)?.measure()?;
    }
    Ok(())
}

/// A block's MLP at work: (rows, width) to four times the width and back.
struct Layer {
    gpu: &'static Gpu,
    rows: usize,
    width: usize,
    narrow: Memory,
    wide: [Memory; 3],
    weights: Memory,
    bias: Memory,
    stream: [Memory; 2],
}

impl Layer {
    fn new(gpu: &'static Gpu, rows: usize, width: usize) -> Result<Self, CudaError> {
        let zeros = |kind, len| gpu.zeros(kind, len);
        let wide = || zeros(Kind::Bf16, rows * 4 * width);
        Ok(Layer {
            gpu,
            rows,
            width,
            narrow: zeros(Kind::Bf16, rows * width)?,
            wide: [wide()?, wide()?, wide()?],
            weights: zeros(Kind::F32, 4 * width * width)?,
            bias: zeros(Kind::F32, 4 * width)?,
            stream: [zeros(Kind::F32, rows * width)?, zeros(Kind::F32, rows * width)?],
        })
    }

    fn measure(mut self) -> Result<(), CudaError> {
        self.round()?;
        self.round()?;
        self.gpu.wait()?;
        self.gpu.time_kernels();
        for _ in 0..ROUNDS {
            self.round()?;
        }
        println!("\n{} rows of {}", self.rows, self.width);
        for time in self.gpu.kernel_times()? {
            println!(
                "{:>10.1} us  {:>4}  {}",
                1e6 * time.seconds / time.starts as f64,
                time.starts,
                time.kernel
            );
        }
        Ok(())
    }

    /// Both ways, forward and back, and a residual in three of four pictures.
    fn round(&mut self) -> Result<(), CudaError> {
        let Layer { gpu, rows, width, narrow, wide: [pre, act, back], weights, bias, stream: [from, to] } =
            self;
        let (gpu, rows, width, p) = (*gpu, *rows, *width, Products::Bf16);
        let w: View<'_> = weights.view();
        linear::forward(gpu, p, rows, width, 4 * width, narrow.any(), w, Some(bias.view()), pre.any_mut())?;
        linear::gelu_forward(gpu, pre.any(), act.any_mut())?;
        let (pre_out, act_out) = (Some(pre.any_mut()), act.any_mut());
        linear::forward_gelu(
            gpu,
            p,
            rows,
            width,
            4 * width,
            narrow.any(),
            w,
            Some(bias.view()),
            pre_out,
            act_out,
        )?;
        // the way back, whose passes are twice and once as much again as the way forth's
        linear::backward_input(gpu, p, rows, 4 * width, width, narrow.any(), w, back.any_mut())?;
        linear::backward_bias(gpu, rows, 4 * width, back.any(), bias.view_mut())?;
        let (pre_out, back_out) = (pre.any_mut(), back.any_mut());
        linear::backward_gelu(
            gpu,
            p,
            rows,
            4 * width,
            width,
            narrow.any(),
            w,
            pre_out,
            back_out,
            bias.view_mut(),
        )?;
        let images: Vec<usize> = (0..rows / 197).filter(|image| image % 4 > 0).collect();
        let survivors = Rows::Of { images: &images, each: 197 };
        let kept = act.any().slice(0..survivors.len() * 4 * width);
        linear::forward_residual(
            gpu,
            p,
            survivors,
            4 * width,
            width,
            1.25,
            kept,
            w,
            None,
            from.view(),
            to.view_mut(),
        )
    }
}
