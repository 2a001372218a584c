//! A run as a page shows it: everything that its folder still holds, and what it does not.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::data::rgb::Rgb8;
use crate::doctor::{Diagnosis, history};
use crate::error::Error;
use crate::graph::check::check;
use crate::graph::load::{Request, load_text};
use crate::plan::explain::picture::{Picture, picture};
use crate::report::timings::Timings;
use crate::report::verdict::Verdict;
use crate::stages::Registry;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The folder's own name, told from others' of the same name by those of the folders above.
    pub name: String,
    pub folder: PathBuf,
    pub record: Record,
    /// `graph.ron` as it is, and as it is drawn.
    pub graph: Option<String>,
    pub picture: Option<Picture>,
    pub diagnosis: Option<Diagnosis>,
    pub verdict: Option<Verdict>,
    pub timings: Option<Timings>,
    /// Lines of `rejected.jsonl`.
    pub rejected: usize,
    /// What is not there or can't be read, a sentence each.
    pub missing: Vec<String>,
}

impl Run {
    /// Reads a run's folder, finished or not.
    ///
    /// # Errors
    /// [`Error::Request`] when it is not there, or holds nothing of a run.
    pub fn read(folder: &Path, registry: &Registry) -> Result<Self, Error> {
        if !folder.is_dir() {
            return Err(Error::Request(format!("{}: no such folder; expected a run's", folder.display())));
        }
        if !["graph.ron", "metrics.jsonl"].iter().any(|name| folder.join(name).is_file()) {
            return Err(Error::Request(format!(
                "{}: no run's folder, for it holds neither graph.ron nor metrics.jsonl; expected what `dinoflow run` leaves behind",
                folder.display()
            )));
        }
        let mut missing = Vec::new();
        let metrics = text(folder, "metrics.jsonl", "no curves", &mut missing);
        let graph = text(folder, "graph.ron", "no graph and no settings", &mut missing);
        let record = Record::of(metrics.as_deref().unwrap_or_default());
        if record.torn > 0 {
            missing
                .push(format!("{} lines of metrics.jsonl are not whole and were passed over", record.torn));
        }
        let picture = graph.as_deref().and_then(|graph| drawn(folder, graph, registry, &mut missing));
        let lacking =
            |error| missing.push(format!("timings.json {}: no times of the stages", reason(&error)));
        let timings = Timings::read(&folder.join("timings.json")).map_err(lacking).ok();
        let verdict = Verdict::read(&folder.join("metrics.jsonl")).ok().flatten();
        let rejected = std::fs::read_to_string(folder.join("rejected.jsonl")).unwrap_or_default();
        Ok(Run {
            name: named(folder, 1),
            folder: folder.to_owned(),
            record,
            graph,
            picture,
            // the doctor wants both files and a graph that can be planned
            diagnosis: history::diagnose(folder, registry).ok(),
            verdict,
            timings,
            rejected: rejected.lines().count(),
            missing,
        })
    }

    /// A picture of the folder `pictures`.
    pub fn image(&self, name: &str) -> Option<Rgb8> {
        let picture = image::open(self.folder.join("pictures").join(name)).ok()?.to_rgb8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Some(Rgb8 { height, width, pixels: picture.into_raw() })
    }

    /// Updates of the whole run, where known.
    pub fn total_steps(&self) -> Option<u64> {
        let measured = self.timings.as_ref().map(|timings| timings.environment.total_steps);
        measured.or(self.diagnosis.as_ref()?.total_steps)
    }
}

/// Gives runs of the same name longer ones.
pub fn tell_apart(runs: &mut [Run]) {
    for depth in 2..8 {
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        let alike = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
        for run in runs.iter_mut().filter(|run| alike(&run.name)) {
            run.name = named(&run.folder, depth);
        }
    }
}

/// The last parts of a folder's path.
fn named(folder: &Path, parts: usize) -> String {
    // `.` and `runs/..` have names too
    let whole = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let names: Vec<_> =
        whole.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    names[names.len().saturating_sub(parts)..].join("/")
}

fn text(folder: &Path, name: &str, without: &str, missing: &mut Vec<String>) -> Option<String> {
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            missing.push(format!("{name} {}: {without}", reason(&error)));
            None
        }
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "is not there".into(),
        _ => format!("can't be read ({error})"),
    }
}

/// The graph as it is drawn; a text that is no graph has no picture.
fn drawn(folder: &Path, text: &str, registry: &Registry, missing: &mut Vec<String>) -> Option<Picture> {
    let loaded = load_text(text, &Request { graph: folder.join("graph.ron"), ..Request::default() });
    let draft = check(&loaded, registry);
    let wrong = draft.as_ref().is_none_or(|draft| draft.refused());
    if wrong {
        missing.push("graph.ron is none that this program can run; `dinoflow check` says why".into());
    }
    draft.map(|draft| picture(&draft))
}
