//! Where a network looks (figure 1 of the paper): the last block's attention of the CLS token, head by head, and what its patches
//! have in common.
//!
//! ```text
//! mass   the part of a map that holds most of the attention
//! pca    patch features as colours
//! sheet  all that as pictures
//! ```

pub mod mass;
pub mod pca;
pub mod sheet;

use super::extractor::Tokens;
use super::subject::Subject;
use crate::data::Rgb8;
use crate::data::augment::{Interpolation, Scratch, resized};
use crate::error::Error;
use crate::nn::network::Asked;

/// What a network saw in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// As it was shown: both sides are multiples of the patch.
    pub picture: Rgb8,
    /// Rows and columns of patches.
    pub grid: (usize, usize),
    /// The CLS token's attention to the patches, (heads, rows, columns).
    pub maps: Vec<f32>,
    pub heads: usize,
    /// The patches after the last norm, (rows · columns, dim).
    pub patches: Vec<f32>,
}

impl Look {
    /// The map of one head.
    pub fn head(&self, head: usize) -> &[f32] {
        let cells = self.grid.0 * self.grid.1;
        &self.maps[head * cells..][..cells]
    }

    /// The mean over the heads.
    pub fn mean(&self) -> Vec<f32> {
        let cells = self.grid.0 * self.grid.1;
        let mean =
            |cell: usize| (0..self.heads).map(|head| self.head(head)[cell]).sum::<f32>() / self.heads as f32;
        (0..cells).map(mean).collect()
    }
}

/// The most patches of a picture: the blocks before the last let every token attend to every other.
const MOST_PATCHES: usize = 1 << 15;

/// Sides for a picture (height, width): the shorter one `shorter` pixels, where given, and both brought to the nearest multiple of the
/// patch, which changes the picture's shape by less than half a patch.
///
/// # Errors
/// [`Error::Request`] when that would be more patches than a network can be asked for.
pub fn sides(own: (usize, usize), shorter: Option<usize>, patch: usize) -> Result<(usize, usize), Error> {
    let scale = shorter.map_or(1.0, |shorter| shorter as f64 / own.0.min(own.1).max(1) as f64);
    let cells = |side: usize| (side as f64 * scale / patch as f64).round().max(1.0) as usize;
    let (rows, columns) = (cells(own.0), cells(own.1));
    if rows.saturating_mul(columns) > MOST_PATCHES {
        return Err(Error::Request(format!(
            "{rows} x {columns} patches are more than {MOST_PATCHES}: show the picture smaller, with --size"
        )));
    }
    Ok((rows * patch, columns * patch))
}

/// Shows a picture to a network, whose shorter side is brought to `shorter` pixels where given.
///
/// # Errors
/// [`Error::Request`] for a network that attends to nothing, or a picture that is too large.
pub fn look(subject: &Subject, picture: &Rgb8, shorter: Option<usize>) -> Result<Look, Error> {
    let Some((vit, shape)) = subject.spec.backbone.vit() else {
        let name = subject.spec.backbone.name();
        return Err(Error::Request(format!(
            "{}: {name} is no vision transformer: it has no CLS token that attends, and so no maps to draw",
            subject.path.display()
        )));
    };
    let (height, width) = sides((picture.height, picture.width), shorter, vit.patch)?;
    let picture = resized(picture, (height, width), Interpolation::Bicubic, &mut Scratch::default());
    let asked = Asked { patches: true, attention: true, ..Asked::default() };
    let told = subject.answer(subject.view.normalized(&picture), (height, width), asked)?;
    let (Some(attention), Some(Tokens { numbers: tokens, .. })) = (told.attention, told.tokens) else {
        return Err(Error::Failed("the network gave no maps".into()));
    };
    let grid = (height / vit.patch, width / vit.patch);
    // CLS stands first, and is no place in the picture
    let maps = attention.chunks_exact(1 + grid.0 * grid.1).flat_map(|head| head[1..].to_vec()).collect();
    Ok(Look { picture, grid, maps, heads: shape.heads, patches: tokens[shape.width..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_the_nearest_multiples() {
        let check = |own, shorter, patch, expected| {
            assert_eq!(sides(own, shorter, patch).unwrap(), expected, "{own:?} {shorter:?} {patch}");
        };
        check((100, 200), Some(64), 16, (64, 128));
        check((375, 500), None, 16, (368, 496));
        check((375, 500), Some(480), 8, (480, 640));
        check((3, 500), None, 16, (16, 496));
        check((200, 100), Some(29), 8, (56, 32));
        assert_eq!(sides((9000, 9000), None, 8).unwrap_err().exit_status(), 2);
        assert!(sides((1, 1 << 40), Some(1 << 14), 4).is_err());
    }
}
