//! Features of augmented training pictures: what a frozen network makes of them is new in every epoch. Crops are bilinear, which is
//! torchvision's default for `RandomResizedCrop` and so what the published script does; the validation view is bicubic.

use crate::data::augment::Interpolation;
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::augmented::{Augmented, shown, spec};
use crate::eval::classifier::Rows;
use crate::eval::features::Wanted;
use crate::eval::left_out::LeftOut;
use crate::eval::subject::Subject;
use crate::keyed::Key;

/// Features and labels of some of a source's labelled pictures as `seed` and `epoch` cut them, so many in the network at once. Those that
/// can't be read are noted in `left_out`.
///
/// # Errors
/// When the device fails.
pub fn batch(
    subject: &Subject,
    images: &dyn Images,
    (wanted, at_once): (Wanted, usize),
    (seed, epoch): (u64, u64),
    which: &[usize],
    left_out: &mut LeftOut,
) -> Result<Rows, Error> {
    let side = subject.view.crop;
    let (spec, key) =
        (spec(side, Interpolation::Bilinear, 0.0), Key::new(seed).named("linear crop").with(epoch));
    let mut rows = Rows { dim: wanted.width(subject.width()), ..Rows::default() };
    for part in which.chunks(at_once.max(1)) {
        let Augmented { pixels, labels, unreadable } = shown(images, subject.view, &spec, key, part);
        left_out.met(images, unreadable);
        if !labels.is_empty() {
            rows.features.extend(subject.features(pixels, wanted)?);
            rows.labels.extend(labels);
        }
    }
    Ok(rows)
}
