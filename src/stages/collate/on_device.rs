//! Crops that are made where the networks are: the host sends whole pictures and what was drawn for them.

use crate::data::Rgb8;
use crate::data::augment::{Crops, Cuts, ViewDraw};
use crate::runtime::later::Later;
use crate::runtime::stage::StageError;
use crate::tensor::Device;

/// One crop to make: the number of its picture, and what was drawn for it.
pub type Cut = (usize, ViewDraw);

/// Makes crops on a device.
pub trait Cropper<D: Device> {
    /// The largest side of a crop.
    fn largest(&self) -> usize;

    /// Each list of crops, to be made view by view and in a view picture by picture: (views, batch, 3, size, size), nothing of an
    /// empty list. The pictures are on their way when this returns.
    ///
    /// # Errors
    /// Those of the device.
    fn crop(
        &mut self,
        pictures: &[&Rgb8],
        lists: &[Vec<Cut>; 2],
        batch: usize,
        mean: [f32; 3],
        deviation: [f32; 3],
    ) -> Result<[Option<Later<D>>; 2], StageError>;
}

/// The crops of one picture as they come to `collate`.
pub enum Arrived<'a> {
    /// The host made them.
    Made(&'a Crops),
    /// The device will.
    Drawn(&'a Cuts),
}

impl<'a> Arrived<'a> {
    pub fn made(&self) -> Option<&'a Crops> {
        match self {
            Arrived::Made(crops) => Some(crops),
            Arrived::Drawn(_) => None,
        }
    }
}

/// The pictures of a batch, and its global and its local crops view by view. A crop that the host made is a picture of its own, which
/// is taken as it is.
///
/// # Errors
/// When crops of a kind differ in number or size.
pub fn lists<'a>(batch: &[Arrived<'a>], local: bool) -> Result<(Vec<&'a Rgb8>, [Vec<Cut>; 2]), StageError> {
    let mut pictures: Vec<&'a Rgb8> = Vec::new();
    let mut cuts: [Vec<Vec<Cut>>; 2] = Default::default();
    for arrived in batch {
        let mut made = |crops: &'a [Rgb8]| {
            let each = crops.iter().map(|crop| {
                pictures.push(crop);
                (pictures.len() - 1, ViewDraw::plain(crop.height))
            });
            each.collect::<Vec<Cut>>()
        };
        let [global, own_local] = match arrived {
            Arrived::Made(crops) if local => [made(&crops.global), made(&crops.local)],
            Arrived::Made(crops) => [made(&crops.global), Vec::new()],
            Arrived::Drawn(cuts) => {
                pictures.push(&cuts.picture);
                let of = |drawn: &[ViewDraw]| {
                    drawn.iter().map(|drawn| (pictures.len() - 1, drawn.clone())).collect()
                };
                [of(&cuts.global), if local { of(&cuts.local) } else { Vec::new() }]
            }
        };
        cuts[0].push(global);
        cuts[1].push(own_local);
    }
    let [global, local] = cuts;
    Ok((pictures, [by_view(&global)?, by_view(&local)?]))
}

/// The crops of one kind, view by view.
fn by_view(pictures: &[Vec<Cut>]) -> Result<Vec<Cut>, StageError> {
    let views = pictures.first().map_or(0, Vec::len);
    let size = pictures.iter().flatten().next().map_or(0, |(_, drawn)| drawn.size);
    let alike = |cuts: &Vec<Cut>| cuts.len() == views && cuts.iter().all(|(_, drawn)| drawn.size == size);
    if !pictures.iter().all(alike) {
        return Err(StageError::Bug("the pictures of a batch have different crops".into()));
    }
    Ok((0..views).flat_map(|view| pictures.iter().map(move |cuts| cuts[view].clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn lists_go_view_by_view_and_made_crops_are_pictures_of_their_own() {
        let picture = |side| Rgb8::new(side, side);
        let made = Crops { global: vec![picture(4), picture(4)], local: vec![picture(2)] };
        let drawn = Cuts {
            picture: Arc::new(picture(9)),
            global: vec![ViewDraw { flip: true, ..ViewDraw::plain(4) }, ViewDraw::plain(4)],
            local: vec![ViewDraw::plain(2)],
        };
        let batch = [Arrived::Drawn(&drawn), Arrived::Made(&made)];
        let (pictures, [global, local]) = lists(&batch, true).unwrap();
        let sides: Vec<usize> = pictures.iter().map(|picture| picture.height).collect();
        assert_eq!(sides, [9, 4, 4, 2]);
        let of =
            |cuts: &[Cut]| cuts.iter().map(|(picture, drawn)| (*picture, drawn.flip)).collect::<Vec<_>>();
        assert_eq!(of(&global), [(0, true), (1, false), (0, false), (2, false)]);
        assert_eq!(of(&local), [(0, false), (3, false)]);
        let (pictures, [_, local]) = lists(&batch, false).unwrap();
        assert_eq!((pictures.len(), local.len()), (3, 0));
        let other = Cuts { global: vec![ViewDraw::plain(4)], ..drawn.clone() };
        assert!(lists(&[Arrived::Drawn(&drawn), Arrived::Drawn(&other)], true).is_err());
    }
}
