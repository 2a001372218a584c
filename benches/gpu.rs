//! Linear layers with a GELU on a GPU, in one pass and as a product of NVIDIA's library with passes after it: each kernel's time.
//!
//!     cargo bench --features cuda --bench gpu [ROWS]
//!
//! Shapes are those of a ViT-S/16 step of 256 pictures and of a ViT-B/8 step of 32; ROWS takes the place of their rows, for a look at
//! whether all runs. Nothing is measured where there is no GPU.

use dfdx::prelude::CudaError;
use dinoflow::kernels::cuda::{Gpu, Kind, Memory, convert, linear, open};
use dinoflow::kernels::{Products, Rows};

/// Rounds that are timed, after two that are not.
const ROUNDS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = match open(0) {
        Ok(device) => device,
        // where one is to be there, nothing is skipped
        Err(why) if std::env::var_os("DINOFLOW_NEEDS_GPU").is_some() => return Err(why.into()),
        Err(why) => {
            println!("nothing is measured: {why}");
            return Ok(());
        }
    };
    let told = |error: CudaError| error.to_string();
    let gpu = Gpu::of(&device).map_err(told)?;
    // cargo passes words of its own
    let rows = std::env::args().skip(1).find_map(|word| word.parse().ok());
    println!("{}", gpu.name().unwrap_or_default());
    for (of, width) in [(176_640, 384), (100_864, 384), (50_432, 768)] {
        let mut layer = Layer::new(gpu, rows.unwrap_or(of), width).map_err(told)?;
        println!("\n{} rows of {width}, microseconds", layer.rows);
        layer.measure("forward, by the library and a pass", Layer::forward_apart).map_err(told)?;
        layer.measure("forward, in one pass", Layer::forward).map_err(told)?;
        layer.measure("back, by the library and passes", Layer::backward_apart).map_err(told)?;
        layer.measure("back, in one pass", Layer::backward).map_err(told)?;
        layer.measure("a residual in all rows", Layer::residual_everywhere).map_err(told)?;
        layer.measure("a residual in three pictures of four", Layer::residual).map_err(told)?;
    }
    Ok(())
}

/// A block's MLP at work: (rows, width) to four times the width and back.
struct Layer {
    gpu: &'static Gpu,
    rows: usize,
    width: usize,
    narrow: Memory,
    hidden: [Memory; 3],
    weights: Memory,
    bias: Memory,
    stream: [Memory; 2],
}

/// Numbers that are neither zero nor alike: a card that has little to switch draws less power and runs faster.
fn numbers(gpu: &Gpu, len: usize) -> Result<Memory, CudaError> {
    let values: Vec<f32> = (0..len).map(|i| ((i * 2_654_435_761) % 1021) as f32 / 4096.0 - 0.125).collect();
    let mut memory = gpu.unwritten(Kind::F32, len)?;
    gpu.write(memory.view_mut(), &values)?;
    Ok(memory)
}

fn halves(gpu: &Gpu, len: usize) -> Result<Memory, CudaError> {
    let mut memory = gpu.unwritten(Kind::Bf16, len)?;
    convert::convert(gpu, numbers(gpu, len)?.any(), memory.any_mut())?;
    Ok(memory)
}

impl Layer {
    fn new(gpu: &'static Gpu, rows: usize, width: usize) -> Result<Self, CudaError> {
        let hidden = || halves(gpu, rows * 4 * width);
        Ok(Layer {
            gpu,
            rows,
            width,
            narrow: halves(gpu, rows * width)?,
            hidden: [hidden()?, hidden()?, hidden()?],
            weights: numbers(gpu, 4 * width * width)?,
            bias: numbers(gpu, 4 * width)?,
            stream: [numbers(gpu, rows * width)?, numbers(gpu, rows * width)?],
        })
    }

    /// Each kernel's mean time; weights are rounded anew in each round, which training does once a step.
    fn measure(
        &mut self,
        what: &str,
        round: fn(&mut Self) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        round(self)?;
        round(self)?;
        self.gpu.wait()?;
        self.gpu.time_kernels();
        for _ in 0..ROUNDS {
            round(self)?;
        }
        let times = self.gpu.kernel_times()?;
        let rounding = |name: &str| name.starts_with("convert");
        let sum: f64 =
            times.iter().filter(|time| !rounding(&time.kernel)).fold(0.0, |sum, time| sum + time.seconds);
        println!("{:>10.1}  {what}", 1e6 * sum / ROUNDS as f64);
        for time in times {
            println!("{:>20.1}  {}", 1e6 * time.seconds / ROUNDS as f64, time.kernel);
        }
        Ok(())
    }

    fn forward_apart(&mut self) -> Result<(), CudaError> {
        let Layer { gpu, rows, width, narrow, hidden: [pre, act, _], weights, bias, .. } = self;
        let (x, w, b) = (narrow.any(), weights.view(), Some(bias.view()));
        linear::forward(gpu, Products::Bf16, *rows, *width, 4 * *width, x, w, b, pre.any_mut())?;
        linear::gelu_forward(gpu, pre.any(), act.any_mut())
    }

    fn forward(&mut self) -> Result<(), CudaError> {
        let Layer { gpu, rows, width, narrow, hidden: [pre, act, _], weights, bias, .. } = self;
        let (x, w, b, pre) = (narrow.any(), weights.view(), Some(bias.view()), Some(pre.any_mut()));
        linear::forward_gelu(gpu, Products::Bf16, *rows, *width, 4 * *width, x, w, b, pre, act.any_mut())
    }

    fn backward_apart(&mut self) -> Result<(), CudaError> {
        let Layer { gpu, rows, width, narrow, hidden: [pre, _, back], weights, bias, .. } = self;
        let (dy, w) = (narrow.any(), weights.view());
        linear::backward_input(gpu, Products::Bf16, *rows, 4 * *width, *width, dy, w, back.any_mut())?;
        linear::gelu_through(gpu, pre.any_mut(), back.any_mut())?;
        linear::backward_bias(gpu, *rows, 4 * *width, back.any(), bias.view_mut())
    }

    fn backward(&mut self) -> Result<(), CudaError> {
        let Layer { gpu, rows, width, narrow, hidden: [pre, _, back], weights, bias, .. } = self;
        let (dy, w, pre, back) = (narrow.any(), weights.view(), pre.any_mut(), back.any_mut());
        linear::backward_gelu(
            gpu,
            Products::Bf16,
            *rows,
            4 * *width,
            *width,
            dy,
            w,
            pre,
            back,
            bias.view_mut(),
        )
    }

    fn residual_everywhere(&mut self) -> Result<(), CudaError> {
        self.residual_in(Rows::All(self.rows))
    }

    fn residual(&mut self) -> Result<(), CudaError> {
        let images: Vec<usize> = (0..self.rows / 197).filter(|image| image % 4 > 0).collect();
        self.residual_in(Rows::Of { images: &images, each: 197 })
    }

    fn residual_in(&mut self, rows: Rows<'_>) -> Result<(), CudaError> {
        let Layer { gpu, width, hidden: [_, act, _], weights, stream: [from, to], .. } = self;
        let x = act.any().slice(0..rows.len() * 4 * *width);
        let (w, from, to) = (weights.view(), from.view(), to.view_mut());
        linear::forward_residual(gpu, Products::Bf16, rows, 4 * *width, *width, 1.25, x, w, None, from, to)
    }
}
