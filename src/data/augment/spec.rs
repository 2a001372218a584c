//! What may happen to a crop: sizes, ranges and probabilities, with the paper's values as defaults.

use serde::{Deserialize, Serialize};

use super::crop::Interpolation;

/// Multi-crop: some global views (the paper's two) and a number of local ones, each with its augmentations. A probability or a
/// strength of 0 switches an augmentation off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiCropSpec {
    /// Number of global crops, which the teacher sees as well; 1 or more.
    pub global_crops: usize,
    /// Side of the global crops, in pixels.
    pub global_size: usize,
    /// Share of the picture's area that a global crop covers, drawn uniformly.
    pub global_scale: (f64, f64),
    /// Number of local crops; may be 0.
    pub local_crops: usize,
    /// Side of the local crops, in pixels.
    pub local_size: usize,
    /// Share of the picture's area that a local crop covers, drawn uniformly.
    pub local_scale: (f64, f64),
    /// Width over height of the part that is cut, drawn log-uniformly.
    pub ratio: (f64, f64),
    /// Probability of mirroring.
    pub flip: f64,
    /// Probability of the color jitter as a whole.
    pub jitter: f64,
    /// Brightness factor within 1 ± this.
    pub brightness: f64,
    /// Contrast factor within 1 ± this.
    pub contrast: f64,
    /// Saturation factor within 1 ± this.
    pub saturation: f64,
    /// Hue turned by up to this share of the circle either way, at most 0.5.
    pub hue: f64,
    /// Probability of grey.
    pub grayscale: f64,
    /// Probability of blur for the first global crop, the other global ones, and the local ones.
    pub blur: (f64, f64, f64),
    /// Deviation of the blur in pixels, drawn uniformly.
    pub blur_radius: (f64, f64),
    /// Probability of solarization for the first global crop, the other global ones, and the local ones.
    pub solarize: (f64, f64, f64),
    /// Levels from here up are inverted by solarization.
    pub solarize_threshold: u8,
    /// At most this many of the run's threads cut and augment at once; any where none is given.
    pub workers: Option<usize>,
    /// Who cuts and augments, where the networks live on a GPU.
    pub cut_on: CutOn,
}

/// Who cuts crops and augments them. The pixels are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutOn {
    /// The GPU, where the networks live on one; else the processor.
    #[default]
    Auto,
    /// The processor, which then sends crops in place of whole pictures.
    Host,
}

impl Default for MultiCropSpec {
    fn default() -> Self {
        MultiCropSpec {
            global_crops: 2,
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
            workers: None,
            cut_on: CutOn::Auto,
        }
    }
}

/// What may happen to one crop; the fields are [`MultiCropSpec`]'s, whose crops are bicubic.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    pub size: usize,
    pub scale: (f64, f64),
    pub ratio: (f64, f64),
    pub interpolation: Interpolation,
    pub flip: f64,
    pub jitter: f64,
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    pub hue: f64,
    pub grayscale: f64,
    pub blur: f64,
    pub blur_radius: (f64, f64),
    pub solarize: f64,
    pub solarize_threshold: u8,
}

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {expected}, not {found}")]
pub struct SpecFault {
    pub field: &'static str,
    pub expected: &'static str,
    pub found: String,
}

impl MultiCropSpec {
    /// Crops in all, the global ones first.
    pub fn crops(&self) -> usize {
        self.global_crops + self.local_crops
    }

    /// The largest side of a crop.
    pub fn largest(&self) -> usize {
        self.global_size.max(if self.local_crops > 0 { self.local_size } else { 0 })
    }

    /// What may happen to crop `index`, the global ones first. Among these the first has augmentations of its own, as in the paper;
    /// all others have the second's.
    pub fn view(&self, index: usize) -> ViewSpec {
        let global = index < self.global_crops;
        let of = |kinds: (f64, f64, f64)| match index {
            _ if !global => kinds.2,
            0 => kinds.0,
            _ => kinds.1,
        };
        ViewSpec {
            size: if global { self.global_size } else { self.local_size },
            scale: if global { self.global_scale } else { self.local_scale },
            ratio: self.ratio,
            interpolation: Interpolation::Bicubic,
            flip: self.flip,
            jitter: self.jitter,
            brightness: self.brightness,
            contrast: self.contrast,
            saturation: self.saturation,
            hue: self.hue,
            grayscale: self.grayscale,
            blur: of(self.blur),
            blur_radius: self.blur_radius,
            solarize: of(self.solarize),
            solarize_threshold: self.solarize_threshold,
        }
    }

    /// Every parameter that is out of its range, NaN included.
    pub fn faults(&self) -> Vec<SpecFault> {
        let mut faults = self.probability_faults();
        let mut need = |field, ok: bool, expected, found: String| {
            if !ok {
                faults.push(SpecFault { field, expected, found });
            }
        };
        need(
            "global_size",
            (1..=16_384).contains(&self.global_size),
            "1 to 16384",
            self.global_size.to_string(),
        );
        need(
            "local_size",
            (1..=16_384).contains(&self.local_size),
            "1 to 16384",
            self.local_size.to_string(),
        );
        need(
            "global_crops",
            (1..=1024).contains(&self.global_crops),
            "1 to 1024",
            self.global_crops.to_string(),
        );
        need("local_crops", self.local_crops <= 1024, "at most 1024", self.local_crops.to_string());
        for (field, scale) in [("global_scale", self.global_scale), ("local_scale", self.local_scale)] {
            let ok = 0.0 < scale.0 && scale.0 <= scale.1 && scale.1 <= 1.0;
            need(field, ok, "(low, high) with 0 < low <= high <= 1", format!("{scale:?}"));
        }
        let (low, high) = self.ratio;
        let ok = 0.0 < low && low <= high && high.is_finite();
        need("ratio", ok, "(low, high) with 0 < low <= high", format!("{:?}", self.ratio));
        let (low, high) = self.blur_radius;
        let ok = 0.0 <= low && low <= high && high <= 1000.0;
        need(
            "blur_radius",
            ok,
            "(low, high) with 0 <= low <= high <= 1000",
            format!("{:?}", self.blur_radius),
        );
        for (field, strength) in
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)]
        {
            need(field, (0.0..=100.0).contains(&strength), "0 to 100", strength.to_string());
        }
        need("hue", (0.0..=0.5).contains(&self.hue), "0 to 0.5", self.hue.to_string());
        faults
    }

    fn probability_faults(&self) -> Vec<SpecFault> {
        let (blur, solarize) = (self.blur, self.solarize);
        let probabilities = [
            ("flip", self.flip),
            ("jitter", self.jitter),
            ("grayscale", self.grayscale),
            ("blur", blur.0),
            ("blur", blur.1),
            ("blur", blur.2),
            ("solarize", solarize.0),
            ("solarize", solarize.1),
            ("solarize", solarize.2),
        ];
        let bad = probabilities.into_iter().filter(|(_, p)| !(0.0..=1.0).contains(p));
        bad.map(|(field, p)| SpecFault { field, expected: "a probability, 0 to 1", found: p.to_string() })
            .collect()
    }
}

#[cfg(test)]
mod tests;
