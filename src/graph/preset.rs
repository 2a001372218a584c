//! Presets: files that hold one stage with its parameters, and those that are built into the binary.

use std::path::{Path, PathBuf};

use super::problem::nearest;

macro_rules! built_in {
    ($($path:literal)*) => {
        /// The presets that the binary brings along: their paths and texts.
        pub const BUILT_IN: &[(&str, &str)] =
            &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)))),*];
    };
}

built_in! {
    "stages/source/folder.ron"
    "stages/source/list.ron"
    "stages/source/shards.ron"
    "stages/source/synthetic.ron"
    "stages/decode/decode.ron"
    "stages/multi_crop/multi_crop.ron"
    "stages/collate/collate.ron"
    "stages/student/student.ron"
    "stages/teacher/teacher.ron"
    "stages/predictor/predictor.ron"
    "stages/center/centering.ron"
    "stages/center/sinkhorn_knopp.ron"
    "stages/center/batch_softmax.ron"
    "stages/center/uncentered.ron"
    "stages/loss/cross_entropy.ron"
    "stages/loss/mean_squared_error.ron"
    "stages/loss/info_nce.ron"
    "stages/loss/swapped_prediction.ron"
    "stages/optimizer/adamw.ron"
    "stages/optimizer/sgd.ron"
    "stages/optimizer/lars.ron"
    "stages/ema/momentum.ron"
    "stages/ema/student_copy.ron"
    "stages/ema/previous_iteration.ron"
    "stages/ema/previous_epoch.ron"
    "stages/knn/knn.ron"
    "stages/attention/maps.ron"
    "stages/checkpoint/checkpoint.ron"
}

/// A preset's text under the name that messages show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    pub name: String,
    pub text: String,
}

/// Why there is no preset of this path.
#[derive(Debug, thiserror::Error)]
pub enum NoPreset {
    #[error("no such preset")]
    Absent { looked: Vec<PathBuf>, nearest: Option<String> },
    #[error("{}: {cause}", .path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
}

/// The preset of this path: from the first of the folders that has it, else from those built into the binary.
///
/// # Errors
/// When it is nowhere, or can't be read.
pub fn find(path: &str, folders: &[PathBuf]) -> Result<Preset, NoPreset> {
    for folder in folders {
        let file = folder.join(path);
        if file.is_file() {
            return match super::load::read_text(&file) {
                Ok(text) => Ok(Preset { name: file.display().to_string(), text }),
                Err(cause) => Err(NoPreset::Unreadable { path: file, cause }),
            };
        }
    }
    match BUILT_IN.iter().find(|(known, _)| *known == path) {
        Some((name, text)) => Ok(Preset { name: format!("{name} (built in)"), text: (*text).into() }),
        None => Err(NoPreset::Absent {
            looked: folders.iter().map(|folder| folder.join(path)).collect(),
            nearest: nearest(path, BUILT_IN.iter().map(|(known, _)| *known)),
        }),
    }
}

/// The folder that a preset lies in, which is the word for its stage's role.
pub fn folder(path: &str) -> Option<&str> {
    Path::new(path).parent()?.file_name()?.to_str()
}
