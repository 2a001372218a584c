//! `collate`: crops of pictures to normalised tensors, `global` (2, B, 3, H, W) and `local` (L, B, 3, h, w).
use serde::{Deserialize, Serialize};

/// Gathers a micro-batch of crops in the order of the sampler and normalises their pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collate {
    /// Mean of each channel, for pixels in 0..1 (ImageNet's).
    pub mean: (f64, f64, f64),
    /// Deviation of each channel (ImageNet's).
    pub deviation: (f64, f64, f64),
}

impl Default for Collate {
    fn default() -> Self {
        Collate { mean: (0.485, 0.456, 0.406), deviation: (0.229, 0.224, 0.225) }
    }
}
