//! DINO's augmentations.
use serde::{Deserialize, Serialize};
/// The crops of one picture, 8-bit.
pub struct Crops {
    pub global: Vec<super::rgb::Rgb8>,
    pub local: Vec<super::rgb::Rgb8>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiCropSpec {
    pub global_size: usize,
    pub global_scale: (f64, f64),
    pub local_crops: usize,
    pub local_size: usize,
    pub local_scale: (f64, f64),
    pub ratio: (f64, f64),
    pub flip: f64,
    pub jitter: f64,
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    pub hue: f64,
    pub grayscale: f64,
    pub blur: (f64, f64, f64),
    pub blur_radius: (f64, f64),
    pub solarize: (f64, f64, f64),
    pub solarize_threshold: u8,
}
impl Default for MultiCropSpec {
    fn default() -> Self {
        MultiCropSpec {
            global_size: 224,
            global_scale: (0.4, 1.0),
            local_crops: 8,
            local_size: 96,
            local_scale: (0.05, 0.4),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            flip: 0.5,
            jitter: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
            grayscale: 0.2,
            blur: (1.0, 0.1, 0.5),
            blur_radius: (0.1, 2.0),
            solarize: (0.0, 0.2, 0.0),
            solarize_threshold: 128,
        }
    }
}
pub struct SpecFault {
    pub field: &'static str,
    pub expected: &'static str,
    pub found: String,
}
impl MultiCropSpec {
    pub fn faults(&self) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        if self.global_size == 0 {
            faults.push(SpecFault { field: "global_size", expected: "1 to 16384", found: "0".into() });
        }
        if !(0.0..=1.0).contains(&self.flip) {
            faults.push(SpecFault {
                field: "flip",
                expected: "a probability, 0 to 1",
                found: self.flip.to_string(),
            });
        }
        faults
    }
}
