//! `collate`: crops of pictures to normalised tensors, `global` (2, B, 3, H, W) and `local` (L, B, 3, h, w).
use super::declare::*;
use super::range::Ranges;
use super::types::Types;
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

impl Declare for Collate {
    fn role(&self) -> Role {
        Role::Collate
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn on_host(&self) -> bool {
        true
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("crops", "the crops of one picture after the other")],
            outputs: vec![
                Port::new("global", "normalised global crops (2, B, 3, H, W)"),
                Port::new("local", "normalised local crops (L, B, 3, h, w)").optional(),
            ],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        let each = |three: (f64, f64, f64)| [three.0, three.1, three.2].into_iter().enumerate();
        for (index, mean) in each(self.mean) {
            ranges.number(&format!("mean.{index}"), mean, f64::is_finite, "a finite number");
        }
        for (index, deviation) in each(self.deviation) {
            let name = format!("deviation.{index}");
            ranges.number(&name, deviation, |d| d > 0.0 && d < 1e6, "a finite number above 0");
        }
        ranges.finish()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        let Some(EdgeType::Crops { global, global_size, local, local_size }) = types.at("crops") else {
            if let Some(other) = types.at("crops") {
                types.refuse("crops", "a picture's crops", other.to_string());
            }
            return Err(types.finish(Vec::new()).err().unwrap_or_default());
        };
        let tensor = |views: usize, side: usize| EdgeType::Tensor {
            dims: vec![views, scope.micro_batch, 3, side, side],
            batch: Some((1, Batch::Micro)),
        };
        types.finish(vec![tensor(*global, *global_size), tensor(*local, *local_size)])
    }

    fn cost(&self, _scope: &Scope, _given: &Given) -> Cost {
        Cost::default()
    }
}
