//! How a picture is shown to a network that is judged: no augmentation.

use crate::data::DecodeOptions;
use crate::data::Rgb8;
use crate::data::augment::{Scratch, eval_view, normalize_into};
use crate::graph::spec::GraphSpec;
use crate::stages::StageSpec;
use crate::stages::collate::Collate;
use crate::stages::decode::Decode;

/// Resize of the shorter side, centre crop, normalisation (256 and 224 in the paper).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub decode: DecodeOptions,
    /// The shorter side after resizing, in pixels.
    pub resize: usize,
    /// Side of the centre crop, in pixels.
    pub crop: usize,
    pub mean: [f32; 3],
    pub deviation: [f32; 3],
}

impl View {
    /// As a graph's network is shown pictures in training: decoded and normalised so. The centre crop has this side, the backbone's
    /// image size where none is given; the shorter side before it is 256/224 of that.
    pub fn of(graph: &GraphSpec, resize: Option<usize>, crop: Option<usize>) -> Self {
        let stages = || graph.nodes.values().map(|node| &node.stage);
        let collate = stages().find_map(|stage| match stage {
            StageSpec::Collate(collate) => Some(collate.clone()),
            _ => None,
        });
        let decode = stages().find_map(|stage| match stage {
            StageSpec::Decode(decode) => Some(decode.clone()),
            _ => None,
        });
        let crop = crop.unwrap_or(graph.network.backbone.image());
        Self::made(&collate.unwrap_or_default(), &decode.unwrap_or_default(), resize, crop)
    }

    /// Of weights without a graph: ImageNet's mean and deviation.
    pub fn plain(resize: Option<usize>, crop: usize) -> Self {
        Self::made(&Collate::default(), &Decode::default(), resize, crop)
    }

    fn made(collate: &Collate, decode: &Decode, resize: Option<usize>, crop: usize) -> Self {
        let of_three = |(a, b, c): (f64, f64, f64)| [a as f32, b as f32, c as f32];
        View {
            decode: decode.options(),
            resize: resize.unwrap_or((crop * 256).div_ceil(224)),
            crop,
            mean: of_three(collate.mean),
            deviation: of_three(collate.deviation),
        }
    }

    /// A picture as the network sees it, (3, crop, crop).
    pub fn show(&self, picture: &Rgb8) -> Vec<f32> {
        self.normalized(&self.cut(picture))
    }

    /// The evaluation view of a picture, (crop, crop) pixels.
    pub fn cut(&self, picture: &Rgb8) -> Rgb8 {
        eval_view(picture, self.resize, self.crop, &mut Scratch::default())
    }

    /// A picture of any size, as it is: (3, height, width).
    pub fn normalized(&self, picture: &Rgb8) -> Vec<f32> {
        let mut numbers = vec![0.0; 3 * picture.height * picture.width];
        normalize_into(picture, self.mean, self.deviation, &mut numbers);
        numbers
    }
}
