//! How a file's pictures were shown to its network, as the files beside it say.

use serde::Serialize;
use serde_json::Value;

use crate::graph::load::Loaded;
use crate::stages::StageSpec;

/// How pictures are shown to a network. What is not said is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Preprocessing {
    /// The shorter side after resizing, in pixels.
    pub resize: Option<usize>,
    /// Side of the centre crop, in pixels.
    pub crop: Option<usize>,
    /// Of red, green and blue, for values from 0 to 1.
    pub mean: Option<[f32; 3]>,
    pub deviation: Option<[f32; 3]>,
}

impl Preprocessing {
    fn said(self) -> Option<Self> {
        (self != Preprocessing::default()).then_some(self)
    }

    /// What Hugging Face's `preprocessor_config.json` says.
    pub fn hugging_face(config: &Value) -> Option<Self> {
        let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(true);
        let size = config.get("size").filter(|_| on("do_resize")).and_then(side);
        // without a crop a picture is brought to its size at once
        let cropped = config.get("do_center_crop").and_then(Value::as_bool).unwrap_or(false);
        let crop = if cropped { config.get("crop_size").and_then(side) } else { size };
        let channels = |key| config.get(key).filter(|_| on("do_normalize")).and_then(three);
        Preprocessing { resize: size, crop, mean: channels("image_mean"), deviation: channels("image_std") }
            .said()
    }

    /// What timm's `config.json` says.
    pub fn timm(config: &Value) -> Option<Self> {
        let config = config.get("pretrained_cfg")?;
        let crop = config.get("input_size").and_then(|size| pixels(size.get(1)?));
        let share =
            config.get("crop_pct").and_then(Value::as_f64).filter(|share| (0.1..=1.0).contains(share));
        let resize = crop.zip(share).map(|(crop, share)| (crop as f64 / share).floor() as usize);
        let channels = |key| config.get(key).and_then(three);
        Preprocessing { resize, crop, mean: channels("mean"), deviation: channels("std") }.said()
    }

    /// What the graph of a run says.
    pub fn graph(loaded: &Loaded) -> Option<Self> {
        let nodes = &loaded.spec.as_ref()?.nodes;
        let collate = nodes.values().find_map(|node| match &node.stage {
            StageSpec::Collate(collate) => Some(collate),
            _ => None,
        })?;
        let three = |(r, g, b): (f64, f64, f64)| Some([r as f32, g as f32, b as f32]);
        let (mean, deviation) = (three(collate.mean), three(collate.deviation));
        Some(Preprocessing { resize: None, crop: None, mean, deviation })
    }
}

/// A side in pixels: a number, or the sides of a square.
fn side(value: &Value) -> Option<usize> {
    let named = |key: &str| value.get(key).and_then(pixels);
    pixels(value)
        .or(named("shortest_edge"))
        .or_else(|| named("height").filter(|side| named("width") == Some(*side)))
}

fn pixels(value: &Value) -> Option<usize> {
    value.as_u64().filter(|side| (1..=1 << 14).contains(side)).map(|side| side as usize)
}

fn three(value: &Value) -> Option<[f32; 3]> {
    let numbers: Vec<f32> = value.as_array()?.iter().filter_map(Value::as_f64).map(|x| x as f32).collect();
    <[f32; 3]>::try_from(numbers).ok().filter(|three| three.iter().all(|x| x.is_finite()))
}
