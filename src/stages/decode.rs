//! `decode`: bytes to 8-bit RGB.
use std::sync::Arc;

use super::declare::*;
use super::range::Ranges;
use super::source::Pictures;
use super::types::Types;
use crate::data::source::Raw;
use crate::data::{DecodeOptions, Rgb8, decode};
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::Device;
use serde::{Deserialize, Serialize};

/// Decodes JPEG, PNG and WebP; grey, CMYK and 16-bit become 8-bit RGB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decode {
    /// At most this many of the run's threads decode at once; any where none is given.
    pub workers: Option<usize>,
    /// Stops at the first picture that can't be read, with its name; otherwise it is replaced deterministically (an evaluation
    /// does without it), counted, and named in `rejected.jsonl`.
    pub strict: bool,
    /// Turns pictures as their EXIF orientation says.
    pub exif_orientation: bool,
    /// The largest picture taken, in pixels.
    pub max_pixels: u64,
}

impl Default for Decode {
    fn default() -> Self {
        Decode { workers: None, strict: false, exif_orientation: true, max_pixels: 200_000_000 }
    }
}

impl Decode {
    /// What the decoders are told: one rule for the pictures of training and for those that a network is judged by.
    pub fn options(&self) -> DecodeOptions {
        let max_pixels = usize::try_from(self.max_pixels).unwrap_or(usize::MAX);
        DecodeOptions { orient: self.exif_orientation, max_pixels, salvage: false }
    }
}

impl Declare for Decode {
    fn role(&self) -> Role {
        Role::Decode
    }

    fn rate(&self) -> Rate {
        Rate::Sample
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("bytes", "a picture as its source has it")],
            outputs: vec![Port::new("images", "the picture, 8-bit RGB")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.count("workers", self.workers.unwrap_or(1), 1, 1024);
        ranges.count("max_pixels", usize::try_from(self.max_pixels).unwrap_or(usize::MAX), 1, usize::MAX);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("bytes", &EdgeType::Bytes);
        types.finish(vec![EdgeType::Image])
    }

    fn cost(&self, _scope: &Scope, _given: &Given) -> Cost {
        Cost::default()
    }

    fn workers(&self) -> Option<usize> {
        self.workers
    }
}

/// A running decoder.
pub struct Running {
    options: DecodeOptions,
    pictures: Pictures,
}

impl Running {
    pub fn new(stage: &Decode, pictures: Pictures) -> Self {
        Running { options: stage.options(), pictures }
    }

    fn decode(&self, raw: &Raw) -> Result<Arc<Rgb8>, String> {
        match raw {
            Raw::Encoded(bytes) => decode(bytes, &self.options).map(Arc::new).map_err(|e| e.to_string()),
            Raw::Drawn(picture) => Ok(Arc::new(picture.clone())),
        }
    }
}

impl<D: Device> Stage<D> for Running {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let Some(Some(Value::Raw(sample, raw))) = inputs.values.first() else {
            return Err(StageError::Bug("decode was handed no picture".into()));
        };
        let read = |index| match index {
            index if index == sample.index => self.decode(raw),
            // the pictures drawn in a bad one's place are read here: the source is ahead already
            other => self.decode(&self.pictures.images.read(other).map_err(|e| e.to_string())?),
        };
        let (sample, picture) = self.pictures.usable(at.step, *sample, read)?;
        outputs.values[0] = Some(Value::Image(sample, picture));
        Ok(())
    }
}
