//! Two files whose rows are compared: what is learnt from or searched in, and what is told by it.

use std::path::Path;

use super::read::named;
use crate::error::Error;
use crate::eval::classifier::Rows;

/// Rows of both files, their labels numbering the same classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub first: Rows,
    pub second: Rows,
    /// Numbers that a label may be.
    pub classes: usize,
}

/// Reads both. Where both name their classes the second's labels are renumbered by name, since each source numbers its own; otherwise labels
/// are taken as they are.
///
/// # Errors
/// As [`rows`](super::rows); [`Error::Request`] when the features differ in width, or a row of the second file is of a class that the first
/// one does not name.
pub fn pair(first: &Path, second: &Path) -> Result<Pair, Error> {
    let ((one, names), (mut other, own)) = (named(first)?, named(second)?);
    if one.dim != other.dim {
        let (dim, expected) = (other.dim, one.dim);
        let text =
            format!("{}: features are {dim} wide, those of {} {expected}", second.display(), first.display());
        return Err(Error::Request(format!("{text}; both must be the same network's")));
    }
    if !names.is_empty() && !own.is_empty() {
        let places: Vec<_> = own.iter().map(|name| names.iter().position(|other| other == name)).collect();
        for label in &mut other.labels {
            // labels are below the number of names
            let place =
                places[*label as usize].ok_or_else(|| unknown(&own[*label as usize], first, second))?;
            *label = place as u32;
        }
    }
    let labels = one.labels.iter().chain(&other.labels);
    let classes = labels.max().map_or(0, |&label| label as usize + 1).max(names.len());
    Ok(Pair { first: one, second: other, classes })
}

fn unknown(name: &str, first: &Path, second: &Path) -> Error {
    let text = format!("{}: class `{name}` is none of those of {}", second.display(), first.display());
    Error::Request(format!("{text}; both must be of the same classes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::feature_file::{Collected, Kind, Row};

    const WIDTH: usize = 2;

    /// A file of rows with these labels, which number these names.
    fn written(path: &Path, names: &[&str], labels: &[u32]) {
        let names = names.iter().map(|name| name.to_string()).collect();
        let mut collected = Collected::new(path.parent().unwrap(), names, WIDTH, None).unwrap();
        for &label in labels {
            collected.add(Row { name: "a", label: Some(label), cls: &[1.0; WIDTH], patches: &[] }).unwrap();
        }
        Kind::Safetensors.write(path, &mut collected).unwrap();
    }

    /// The second file's labels beside the first's, and the number of classes; or what is said.
    fn check(first: (&[&str], &[u32]), second: (&[&str], &[u32]), expected: Result<(&[u32], usize), &str>) {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.safetensors", "b.safetensors"].map(|name| folder.path().join(name));
        written(&a, first.0, first.1);
        written(&b, second.0, second.1);
        match (pair(&a, &b), expected) {
            (Ok(found), Ok((labels, classes))) => {
                assert_eq!(
                    (&*found.first.labels, &*found.second.labels, found.classes),
                    (first.1, labels, classes)
                );
            }
            (Err(error), Err(part)) => {
                assert!(error.exit_status() == 2 && error.to_string().contains(part), "{error}");
            }
            (found, expected) => panic!("{found:?}; expected {expected:?}"),
        }
    }

    #[test]
    fn labels_are_compared_by_the_names_of_their_classes() {
        let animals: &[&str] = &["cat", "dog", "fox"];
        check((animals, &[0, 1]), (animals, &[2, 1]), Ok((&[2, 1], 3)));
        check((animals, &[0, 1]), (&["fox", "cat"], &[0, 1]), Ok((&[2, 0], 3)));
        check((animals, &[0, 1]), (&["cat", "owl"], &[0, 0]), Ok((&[0, 0], 3)));
        check((animals, &[0, 1]), (&["cat", "owl"], &[0, 1]), Err("class `owl` is none of those"));
        // without names a number is all there is
        check((&[], &[0, 4]), (animals, &[2]), Ok((&[2], 5)));
        check((animals, &[0]), (&["cat"], &[1]), Err("label 1, and names 1 class"));
    }
}
