//! The ground truth of revisited Oxford and Paris: which pictures there are, which are asked for, and what is right.
//!
//! Published as `gnd_roxford5k.pkl` and `gnd_rparis6k.pkl`, which hold `imlist`, `qimlist` (names without `.jpg`) and `gnd`, for each query
//! a dictionary of `bbx`, `easy`, `hard` and `junk`. The same as JSON is read too.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct GroundTruth {
    /// Names of the database's pictures, without an ending.
    #[serde(rename = "imlist")]
    pub images: Vec<String>,
    /// Names of the queries' pictures.
    #[serde(rename = "qimlist")]
    pub queries: Vec<String>,
    /// One for each query.
    #[serde(rename = "gnd")]
    pub answers: Vec<Answer>,
}

/// What is right for one query: indices into the database's pictures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Answer {
    /// What part of the query's picture is asked about: left, top, right, bottom in its pixels.
    #[serde(rename = "bbx", default)]
    pub region: Option<[f64; 4]>,
    #[serde(default)]
    pub easy: Vec<u32>,
    #[serde(default)]
    pub hard: Vec<u32>,
    #[serde(default)]
    pub junk: Vec<u32>,
}

impl GroundTruth {
    /// Reads a file by its ending: `.json`, or `.pkl`.
    ///
    /// # Errors
    /// When it can't be read, is neither, or does not fit together.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |cause| Error::File { doing: "read", path: path.to_owned(), cause };
        let bytes = std::fs::read(path).map_err(file)?;
        let invalid = |text: String| file(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        let parsed: GroundTruth = match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?,
            Some("pkl") => super::pickled::parse(&bytes).map_err(invalid)?,
            _ => return Err(invalid("expected a ground truth as .pkl or .json".into())),
        };
        parsed.problem().map_or(Ok(()), |text| Err(invalid(text)))?;
        Ok(parsed)
    }

    /// What does not fit together.
    fn problem(&self) -> Option<String> {
        for (key, names) in [("imlist", &self.images), ("qimlist", &self.queries)] {
            if names.is_empty() {
                return Some(format!("`{key}` is empty; expected the name of a picture at least"));
            }
        }
        if self.queries.len() != self.answers.len() {
            let (queries, answers) = (self.queries.len(), self.answers.len());
            return Some(format!("`qimlist` names {queries} queries, and `gnd` holds {answers} answers"));
        }
        for (query, answer) in self.queries.iter().zip(&self.answers) {
            let mut indices = [&answer.easy, &answer.hard, &answer.junk].into_iter().flatten();
            if let Some(beyond) = indices.find(|&&index| index as usize >= self.images.len()) {
                let images = self.images.len();
                return Some(format!(
                    "the answer to {query} names picture {beyond}, and `imlist` has {images}"
                ));
            }
        }
        None
    }

    /// Where a picture lies in the folder of all: `NAME.jpg`.
    pub fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.jpg"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GroundTruth, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gnd.json");
        std::fs::write(&path, text).unwrap();
        GroundTruth::read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn what_fits_together_is_read_and_what_does_not_is_named() {
        let gnd = r#"{"bbx": [1, 2, 3.5, 4], "easy": [0], "hard": [], "junk": [1]}"#;
        let text = |images: &str, queries: &str| {
            format!(r#"{{"imlist": {images}, "qimlist": {queries}, "gnd": [{gnd}], "extra": 1}}"#)
        };
        let found = read(&text(r#"["a", "b"]"#, r#"["q"]"#)).unwrap();
        assert_eq!(found.answers[0].region, Some([1.0, 2.0, 3.5, 4.0]));
        assert_eq!((found.answers[0].easy.as_slice(), found.images.len()), (&[0][..], 2));
        for (text, part) in [
            (text(r#"["a"]"#, r#"["q"]"#), "names picture 1"),
            (text(r#"["a", "b"]"#, r#"["q", "r"]"#), "2 queries"),
            ("{}".into(), "imlist"),
            (text("[]", r#"["q"]"#), "`imlist` is empty"),
            (text(r#"["a", "b"]"#, "[]"), "`qimlist` is empty"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
