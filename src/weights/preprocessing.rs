//! How a file's pictures were shown to its network, as the files beside it say.

use serde::Serialize;
use serde_json::Value;

use super::error::Cause;
use super::words::shown;
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
    ///
    /// # Errors
    /// When mean or deviation are there and no such numbers.
    pub fn hugging_face(config: &Value) -> Result<Option<Self>, Cause> {
        let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(true);
        let size = config.get("size").filter(|_| on("do_resize")).and_then(side);
        // without a crop a picture is brought to its size at once
        let cropped = config.get("do_center_crop").and_then(Value::as_bool).unwrap_or(false);
        let crop = if cropped { config.get("crop_size").and_then(side) } else { size };
        let said = |key| config.get(key).filter(|_| on("do_normalize"));
        let colours = |key, range| colours(said(key), range, "preprocessor_config.json", key);
        let (mean, deviation) = (colours("image_mean", MEAN)?, colours("image_std", DEVIATION)?);
        Ok(Preprocessing { resize: size, crop, mean, deviation }.said())
    }

    /// What timm's `config.json` says.
    ///
    /// # Errors
    /// When mean or deviation are there and no such numbers.
    pub fn timm(config: &Value) -> Result<Option<Self>, Cause> {
        let Some(config) = config.get("pretrained_cfg") else { return Ok(None) };
        let crop = config.get("input_size").and_then(|size| pixels(size.get(1)?));
        let share =
            config.get("crop_pct").and_then(Value::as_f64).filter(|share| (0.1..=1.0).contains(share));
        let resize = crop.zip(share).map(|(crop, share)| (crop as f64 / share).floor() as usize);
        let colours = |key, range| colours(config.get(key), range, "config.json", key);
        let (mean, deviation) = (colours("mean", MEAN)?, colours("std", DEVIATION)?);
        Ok(Preprocessing { resize, crop, mean, deviation }.said())
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

/// Between what a mean and a deviation lie, for values from 0 to 1. What lies outside makes pictures of one colour, or none.
const MEAN: (f64, f64) = (-1e3, 1e3);
const DEVIATION: (f64, f64) = (1e-3, 1e3);

/// A number for each of red, green and blue, or one for all. What is null is not said.
fn colours(
    value: Option<&Value>,
    (low, high): (f64, f64),
    file: &str,
    key: &str,
) -> Result<Option<[f32; 3]>, Cause> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let within = |value: &Value| value.as_f64().filter(|&x| low < x && x < high).map(|x| x as f32);
    let three = match value.as_array().map(Vec::as_slice) {
        Some([red, green, blue]) => within(red).zip(within(green)).zip(within(blue)),
        Some(_) => None,
        None => within(value).map(|one| ((one, one), one)),
    };
    let what = || {
        let found = shown(&value.to_string());
        format!("{key} is {found}; expected three numbers between {low} and {high}")
    };
    match three {
        Some(((red, green), blue)) => Ok(Some([red, green, blue])),
        None => Err(Cause::Beside { file: file.into(), what: what() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn means_and_deviations_are_numbers_of_pictures_or_an_error() {
        let good = [0.5f32, 0.25, 0.125];
        for (mean, deviation, expected) in [
            (json!([0.5, 0.25, 0.125]), json!([0.5, 0.25, 0.125]), Ok((Some(good), Some(good)))),
            (json!(null), json!(null), Ok((None, None))),
            (json!(0), json!(1), Ok((Some([0.0; 3]), Some([1.0; 3])))),
            (json!([0.5, 0.5]), json!(1), Err("is [0.5,0.5]; expected three numbers")),
            (json!([0.5, "0.5", 0.5]), json!(1), Err("expected three numbers")),
            (json!([0.5, 1e300, 0.5]), json!(1), Err("between -1000 and 1000")),
            (json!("\u{1b}[31m"), json!(1), Err("expected three numbers")),
            (json!(0), json!([0, 0, 0]), Err("is [0,0,0]; expected three numbers between 0.001 and 1000")),
            (json!(0), json!([1, 1, -1]), Err("between 0.001")),
            (json!(0), json!([1, 1, 1e-40]), Err("between 0.001")),
        ] {
            let hugging_face = json!({ "image_mean": &mean, "image_std": &deviation, "size": 8 });
            let timm = json!({ "pretrained_cfg": {
                "mean": &mean, "std": &deviation, "input_size": [3, 8, 8],
            }});
            for found in [Preprocessing::hugging_face(&hugging_face), Preprocessing::timm(&timm)] {
                let found = found.map(|said| said.map_or((None, None), |said| (said.mean, said.deviation)));
                match (found, &expected) {
                    (Err(found), Err(words)) => assert!(found.to_string().contains(words), "{found}"),
                    (found, expected) => assert_eq!(found.ok(), expected.ok(), "{mean} {deviation}"),
                }
            }
        }
    }
}
