//! Sources: where pictures come from. Parameters live with the readers in [`crate::data::source`].
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StageSpec;
use super::declare::*;
use super::range::Ranges;
use crate::data::Sampler;
use crate::data::source::{self, Images, Raw, SourceError};
pub use crate::data::source::{
    FolderParams as Folder, ListParams as List, ShardsParams as Shards, SyntheticParams as Synthetic,
};
use crate::keyed::Key;
use crate::report::rejected::{Rejected, Rejections};
use crate::runtime::stage::{Inputs, Moment, Outputs, Sample, Stage, StageError, Value};
use crate::tensor::Device;

/// Judges a source that is another stage's parameter of this name.
pub fn judge_nested(name: &str, stage: &StageSpec, ranges: &mut Ranges, scope: &Scope) {
    match stage.built_in() {
        Some(declared) if declared.role() == Role::Source => {
            for mut problem in declared.problems(scope) {
                for at in std::iter::once(&mut problem.at).chain(&mut problem.by) {
                    if let Fault::Parameter(inner) = at {
                        *inner = format!("{name}.{inner}");
                    }
                }
                ranges.push(problem);
            }
        }
        _ => ranges.push(Problem::parameter(name, "a source", stage.kind())),
    }
}

/// What such a source will read, by parameter.
pub fn nested_reads(name: &str, stage: &StageSpec) -> Vec<(String, PathBuf)> {
    let reads = stage.built_in().map(Declare::reads).unwrap_or_default();
    reads.into_iter().map(|(key, path)| (format!("{name}.{key}"), path)).collect()
}

/// What all sources declare alike.
macro_rules! source {
    ($($own:item)*) => {
        fn role(&self) -> Role {
            Role::Source
        }

        fn rate(&self) -> Rate {
            Rate::Sample
        }

        fn ports(&self) -> Ports {
            Ports { inputs: Vec::new(), outputs: vec![Port::new("bytes", "the next picture of the epoch's order")] }
        }

        fn infer(&self, _scope: &Scope, _given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
            Ok(vec![EdgeType::Bytes])
        }

        fn cost(&self, _scope: &Scope, _given: &Given) -> Cost {
            Cost::default()
        }

        $($own)*
    };
}

/// A path that must be given.
fn given(name: &str, path: &Path, ranges: &mut Ranges) {
    if path.as_os_str().is_empty() {
        ranges.push(Problem::parameter(name, "a path", "none"));
    }
}

impl Declare for Folder {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            given("root", &self.root, &mut ranges);
            ranges.count("limit", self.limit.unwrap_or(1), 1, usize::MAX);
            ranges.finish()
        }

        fn reads(&self) -> Vec<(String, PathBuf)> {
            vec![("root".into(), self.root.clone())]
        }
    }
}

impl Declare for List {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            given("file", &self.file, &mut ranges);
            ranges.finish()
        }

        fn reads(&self) -> Vec<(String, PathBuf)> {
            vec![("file".into(), self.file.clone())]
        }
    }
}

impl Declare for Shards {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            if self.files.is_empty() {
                ranges.push(Problem::parameter("files", "at least one path", "none"));
            }
            ranges.finish()
        }

        fn reads(&self) -> Vec<(String, PathBuf)> {
            self.files.iter().enumerate().map(|(i, file)| (format!("files.{i}"), file.clone())).collect()
        }
    }
}

impl Declare for Synthetic {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            ranges.count("count", self.count, 1, u32::MAX as usize);
            ranges.count("size", self.size, 1, 4096);
            ranges.count("classes", self.classes, 1, source::FAMILIES.len());
            ranges.finish()
        }

        fn images(&self) -> Option<usize> {
            Some(self.count)
        }
    }
}

/// Opens the pictures that a source's parameters name.
///
/// # Errors
/// What is wrong with them, in words; a stage of another role.
pub fn open(stage: &StageSpec) -> Result<Arc<dyn Images>, SourceError> {
    Ok(match stage {
        StageSpec::Folder(params) => Arc::new(source::Folder::open(params)?),
        StageSpec::List(params) => Arc::new(source::List::open(params)?),
        StageSpec::Shards(params) => Arc::new(source::Shards::open(params)?),
        StageSpec::Synthetic(params) => Arc::new(source::Synthetic::open(params)?),
        _ => return Err(SourceError::Unset("a source: Folder, List, Shards or Synthetic")),
    })
}

/// The opened source of a run, shared by all that read from it, and the rule for pictures that can't be used.
#[derive(Clone)]
pub struct Pictures {
    pub images: Arc<dyn Images>,
    pub sampler: Arc<Sampler>,
    /// The graph's seed.
    pub seed: u64,
    /// Stops at the first picture that can't be used.
    pub strict: bool,
    pub rejections: Arc<Rejections>,
}

/// So many pictures in a row that can't be used are no accident.
const MOST_ATTEMPTS: u64 = 100;

impl Pictures {
    /// What `take` makes of the sample's picture, or of the first that it can use among those drawn in its place; the draws depend
    /// on nothing but the seed, the epoch and the picture. The rejected ones are reported.
    ///
    /// # Errors
    /// [`StageError::Data`] with the picture's name when it can't be used and the run is strict, or when a hundred in a row can't.
    pub fn usable<T>(
        &self,
        step: u64,
        first: Sample,
        mut take: impl FnMut(usize) -> Result<T, String>,
    ) -> Result<(Sample, T), StageError> {
        let key = Key::new(self.seed).named("replacement").with(first.epoch).with(first.index as u64);
        let mut sample = first;
        let mut refusals = 0;
        loop {
            let reason = match take(sample.index) {
                Ok(taken) => return Ok((sample, taken)),
                Err(reason) => reason,
            };
            let name = self.images.name(sample.index);
            if self.strict {
                return Err(StageError::Data(format!("{name}: {reason}; `strict` is set")));
            }
            if refusals == MOST_ATTEMPTS {
                let text = "a hundred pictures in a row can't be used; the last was";
                return Err(StageError::Data(format!("{text} {name}: {reason}")));
            }
            let index = key.with(refusals).draws().below(self.images.len() as u64) as usize;
            refusals += 1;
            self.rejections.report(Rejected {
                step,
                sequence: first.sequence,
                index: sample.index,
                name,
                reason,
                replaced_by: index,
            });
            sample = Sample { index, ..sample };
        }
    }
}

/// The running source: picture `micro` of a step is the sampler's.
pub struct Running {
    pictures: Pictures,
}

impl Running {
    pub fn new(pictures: Pictures) -> Self {
        Running { pictures }
    }
}

impl<D: Device> Stage<D> for Running {
    fn fire(
        &mut self,
        at: &Moment,
        _: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let Pictures { sampler, images, .. } = &self.pictures;
        let sequence = at.step * at.micros as u64 + at.micro as u64;
        let sample =
            Sample { sequence, epoch: sampler.epoch(at.step), index: sampler.sample(at.step, at.micro) };
        let read = |index| images.read(index).map_err(|e| e.to_string());
        let (sample, raw): (_, Raw) = self.pictures.usable(at.step, sample, read)?;
        outputs.values[0] = Some(Value::Raw(sample, Arc::new(raw)));
        Ok(())
    }
}
