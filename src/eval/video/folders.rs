//! J and F of masks in a folder, against the true ones in another: `FOLDER/SEQUENCE/*.png` both. The first frame is given and the last one
//! not judged, as in DAVIS's semi-supervised evaluation (davis2017-evaluation). Objects are those that the first true mask numbers; what
//! appears later is background.

use std::path::Path;

use rayon::prelude::*;

use super::davis::files;
use super::mask::{Objects, VOID};
use super::score::{ObjectScore, frame, sequence};
use crate::error::Error;

/// The scores of a sequence's objects, from 1 on.
///
/// # Errors
/// When masks are missing, can't be read, differ in size, or hold an object that the first true one does not have.
pub fn judge(found: &Path, truth: &Path) -> Result<Vec<ObjectScore>, Error> {
    let masks = files(truth, "png")?;
    let judged = masks.get(1..masks.len().saturating_sub(1)).filter(|masks| !masks.is_empty());
    let judged = judged.ok_or_else(|| {
        let count = masks.len();
        let text = format!("{}: {count} masks; expected at least three", truth.display());
        Error::Request(format!("{text}, of which all but the first and the last are judged"))
    })?;
    let objects = Objects::read(&masks[0])?.largest(); // there are three at least
    let one = |path: &std::path::PathBuf| {
        let own = found.join(path.file_name().unwrap_or_default()); // listed files have names
        let (truth, mask) = (Objects::read(path)?, Objects::read(&own)?);
        if (truth.height, truth.width) != (mask.height, mask.width) {
            let (h, w, th, tw) = (mask.height, mask.width, truth.height, truth.width);
            let text = format!("{}: {h} x {w} pixels; expected {th} x {tw}", own.display());
            return Err(Error::Request(format!("{text} as {}", path.display())));
        }
        let largest = if mask.pixels.contains(&VOID) { VOID } else { mask.largest() };
        if largest > objects {
            let text = format!("{}: object {largest}", own.display());
            return Err(Error::Request(format!("{text}; the first true mask has {objects} at most")));
        }
        Ok(frame(&truth, &mask, objects))
    };
    let frames = judged.par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(sequence(&frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(folder: &Path, values: &[u8]) {
        std::fs::create_dir_all(folder).unwrap();
        for (frame, &value) in values.iter().enumerate() {
            let mask = Objects { height: 4, width: 4, pixels: [vec![value; 8], vec![0; 8]].concat() };
            mask.write(&folder.join(format!("{frame:05}.png"))).unwrap();
        }
    }

    #[test]
    fn first_and_last_are_not_judged_and_what_does_not_fit_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (truth, found) = (folder.path().join("truth"), folder.path().join("found"));
        masks(&truth, &[1, 1, 1, 1]);
        masks(&found, &[0, 1, 0, 0]);
        let scores = judge(&found, &truth).unwrap();
        assert_eq!((scores.len(), scores[0].region.mean, scores[0].boundary.mean), (1, 0.5, 0.5));
        let refused = |part: &str| {
            let error = judge(&found, &truth).unwrap_err();
            assert!(error.exit_status() == 2 && error.to_string().contains(part), "{error}");
        };
        masks(&found, &[0, 1, 3, 0]);
        refused("object 3; the first true mask has 1");
        masks(&found, &[0, 1, VOID, 0]);
        refused("object 255");
        std::fs::remove_file(found.join("00002.png")).unwrap();
        refused("00002.png");
        Objects { height: 1, width: 1, pixels: vec![0] }.write(&found.join("00002.png")).unwrap();
        refused("1 x 1 pixels; expected 4 x 4");
        std::fs::remove_dir_all(&truth).unwrap();
        masks(&truth, &[1, 1]);
        refused("at least three");
    }

    #[test]
    fn what_appears_after_the_first_frame_is_background() {
        let folder = tempfile::tempdir().unwrap();
        let (truth, found) = (folder.path().join("truth"), folder.path().join("found"));
        masks(&truth, &[1, 2, 1, 1]);
        masks(&found, &[1, 0, 1, 1]);
        let scores = judge(&found, &truth).unwrap();
        // where the later object is, the first one is not, and nothing was found
        assert_eq!((scores.len(), scores[0].region.mean), (1, 1.0));
    }
}
