//! `collate`: crops of pictures to normalised tensors, `global` (2, B, 3, H, W) and `local` (L, B, 3, h, w).
use super::declare::*;
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

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("crops", "the crops of each picture, 8-bit")],
            outputs: vec![
                Port::new("global", "the global crops, (2, B, 3, H, W)"),
                Port::new("local", "the local crops, (L, B, 3, h, w)"),
            ],
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        let ((a, b, c), (x, y, z)) = (self.mean, self.deviation);
        let mean = Problem::unless(
            [a, b, c].iter().all(|m| m.is_finite()),
            "mean",
            format!("{:?}", self.mean),
            "finite numbers",
        );
        let positive = [x, y, z].iter().all(|d| d.is_finite() && *d > 0.0);
        let deviation =
            Problem::unless(positive, "deviation", format!("{:?}", self.deviation), "numbers above 0");
        mean.into_iter().chain(deviation).collect()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let EdgeType::Crops { global, global_size, local, local_size } = *given.need("crops")? else {
            return Err(given.mismatch("crops", "the crops of a picture"));
        };
        let batch = |views: usize, side: usize| EdgeType::Tensor {
            dims: vec![views, scope.micro_batch, 3, side, side],
            batch: Some((1, Batch::Micro)),
        };
        Ok(vec![batch(global, global_size), batch(local, local_size)])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let Ok(types) = self.infer(scope, given) else { return Cost::default() };
        Cost { bytes: types.iter().map(EdgeType::bytes).sum(), ..Cost::default() }
    }
}
