//! What is looked at before hours of tracking: whether a sequence's first frame and masks fit together, and whether it can be judged afterwards.

use std::path::Path;

use rayon::prelude::*;

use super::davis::{Sequence, files, mask_name};
use super::mask::Objects;
use crate::data::{DecodeOptions, decode};
use crate::error::Error;

/// Whether there are true masks in a folder that the sequence can be judged by. Where the first one is alone there are none, as in DAVIS's
/// test-dev, whose other masks are not published.
///
/// # Errors
/// [`Error::Request`] when the first frame or a mask can't be read, sizes differ, a mask is of no frame, or there are two.
pub fn judgeable(sequence: &Sequence, truth: &Path, decoding: &DecodeOptions) -> Result<bool, Error> {
    let first = &sequence.frames[0]; // a sequence has at least one
    let bytes =
        std::fs::read(first).map_err(|cause| Error::File { doing: "read", path: first.clone(), cause })?;
    let picture =
        decode(&bytes, decoding).map_err(|e| Error::Request(format!("{}: {e}", first.display())))?;
    Objects::read(&sequence.first_mask)?;
    let masks = files(truth, "png")?;
    let names: Vec<_> = sequence.frames.iter().map(|frame| mask_name(frame)).collect();
    let fits = |path: &std::path::PathBuf| {
        let (height, width) = Objects::size(path)?;
        if (height, width) != (picture.height, picture.width) {
            let (h, w) = (picture.height, picture.width);
            let text = format!("{}: {height} x {width} pixels", path.display());
            return Err(Error::Request(format!("{text}; expected {h} x {w} as {}", first.display())));
        }
        match names.iter().any(|name| path.file_name() == Some(name)) {
            true => Ok(()),
            false => Err(Error::Request(format!("{}: no frame has this name", path.display()))),
        }
    };
    masks.par_iter().map(fits).collect::<Result<Vec<()>, Error>>()?;
    match masks.len() {
        2 => {
            let text = format!("{}: 2 masks; expected the first alone, or at least three", truth.display());
            Err(Error::Request(format!("{text}, of which all but the first and the last are judged")))
        }
        count => Ok(count > 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rgb8;
    use image::RgbImage;

    #[test]
    fn what_does_not_fit_is_told_before_anything_is_tracked() {
        let folder = tempfile::tempdir().unwrap();
        let (root, truth) = (folder.path(), folder.path().join("truth"));
        std::fs::create_dir_all(&truth).unwrap();
        let frames: Vec<_> = (0..4).map(|frame| root.join(format!("0000{frame}.x.png"))).collect();
        let picture = Rgb8::new(4, 6);
        let picture = RgbImage::from_raw(6, 4, picture.pixels).unwrap();
        frames.iter().for_each(|frame| picture.save(frame).unwrap());
        let sequence = Sequence { name: "a".into(), first_mask: truth.join("00000.x.png"), frames };
        let put = |name: &str, height: usize| {
            Objects { height, width: 6, pixels: vec![1; 6 * height] }.write(&truth.join(name)).unwrap();
        };
        let asked = || judgeable(&sequence, &truth, &DecodeOptions::default());
        let refused = |part: &str| {
            let error = asked().unwrap_err();
            assert!(error.exit_status() == 2 && error.to_string().contains(part), "{error}");
        };
        refused("00000.x.png");
        put("00000.x.png", 5);
        refused("5 x 6 pixels; expected 4 x 6");
        put("00000.x.png", 4);
        assert!(!asked().unwrap(), "the first mask alone can't be judged by");
        put("00001.x.png", 4);
        refused("2 masks; expected the first alone");
        put("00003.x.png", 4);
        assert!(asked().unwrap());
        put("00004.x.png", 4);
        refused("no frame has this name");
    }
}
