//! The types of what travels on wires.

use std::fmt;

/// How many images a tensor on an edge spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One micro-batch.
    Micro,
    /// The whole batch.
    Whole,
}

/// The type of the value on an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum EdgeType {
    /// Which picture comes next, and its bytes (or its pixels, if it is drawn).
    Bytes,
    /// A decoded 8-bit RGB picture.
    Image,
    /// One picture's crops, 8-bit: number and side of the global and the local ones.
    Crops { global: usize, global_size: usize, local: usize, local_size: usize },
    /// Numbers on the island's device, row-major. `batch` says which axis counts images and how many it holds; none for a
    /// value without one.
    Tensor { dims: Vec<usize>, batch: Option<(usize, Batch)> },
    /// A network's weights, lent for the step.
    Weights,
    /// A predictor's weights, lent for the step.
    PredictorWeights,
    /// The gradients of a network's weights.
    Gradients,
}

impl EdgeType {
    /// Whether it is lent by its owner, who updates it in place.
    pub fn lent(&self) -> bool {
        matches!(self, EdgeType::Weights | EdgeType::PredictorWeights)
    }

    /// Bytes of one value: tensors are 32-bit, crops 8-bit; 0 where that depends on the data.
    pub fn bytes(&self) -> f64 {
        match self {
            EdgeType::Tensor { dims, .. } => 4.0 * dims.iter().map(|&dim| dim as f64).product::<f64>(),
            EdgeType::Crops { global, global_size, local, local_size } => {
                3.0 * (global * global_size * global_size + local * local_size * local_size) as f64
            }
            EdgeType::Bytes
            | EdgeType::Image
            | EdgeType::Weights
            | EdgeType::PredictorWeights
            | EdgeType::Gradients => 0.0,
        }
    }
}

impl fmt::Display for EdgeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EdgeType::Bytes => write!(f, "bytes"),
            EdgeType::Image => write!(f, "image"),
            EdgeType::Crops { global, global_size, local: 0, .. } => {
                write!(f, "{global} crops of {global_size}²")
            }
            EdgeType::Crops { global, global_size, local, local_size } => {
                write!(f, "{global} crops of {global_size}², {local} of {local_size}²")
            }
            EdgeType::Tensor { dims, .. } if dims.is_empty() => write!(f, "scalar"),
            EdgeType::Tensor { dims, .. } => write!(f, "{}", shape(dims)),
            EdgeType::Weights => write!(f, "weights"),
            EdgeType::PredictorWeights => write!(f, "predictor's weights"),
            EdgeType::Gradients => write!(f, "gradients"),
        }
    }
}

/// A shape as messages and pictures write it: `(2, 8, 65536)`.
pub fn shape(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("({})", dims.join(", "))
}
