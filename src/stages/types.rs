//! Reading the types that arrive at a stage.

use super::declare::{Batch, EdgeType, Given, Problem, shape};

/// A tensor that arrives: its axes, and which of them counts images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arriving {
    pub dims: Vec<usize>,
    pub batch: Option<(usize, Batch)>,
}

/// Looks at what arrives, collecting what does not fit.
pub struct Types<'g> {
    given: &'g Given<'g>,
    problems: Vec<Problem>,
    unknown: bool,
}

impl<'g> Types<'g> {
    pub fn new(given: &'g Given<'g>) -> Self {
        Types { given, problems: Vec::new(), unknown: false }
    }

    /// What arrives at a port.
    pub fn at(&self, port: &str) -> Option<&'g EdgeType> {
        self.given.get(port)
    }

    /// The tensor at a port, where there is one. `axes` are the words for its axes.
    pub fn tensor(&mut self, port: &'static str, axes: &str) -> Option<Arriving> {
        match self.at(port)? {
            EdgeType::Tensor { dims, batch } if dims.len() == axes.split(',').count() => {
                Some(Arriving { dims: dims.clone(), batch: *batch })
            }
            other => {
                self.refuse(port, format!("a tensor {axes}"), other.to_string());
                None
            }
        }
    }

    /// [`Types::tensor`] that the outputs can't be told without.
    pub fn needed(&mut self, port: &'static str, axes: &str) -> Option<Arriving> {
        let found = self.tensor(port, axes);
        self.unknown |= found.is_none();
        found
    }

    /// The one type that a port takes, when something arrives there.
    pub fn only(&mut self, port: &'static str, wanted: &EdgeType) {
        if let Some(other) = self.at(port).filter(|ty| *ty != wanted) {
            self.refuse(port, wanted.to_string(), other.to_string());
        }
    }

    /// Square crops (views, batch, 3, side, side) that a patch divides.
    pub fn crops(&mut self, port: &'static str, patch: usize) -> Option<Arriving> {
        let found = self.tensor(port, "(views, batch, 3, height, width)")?;
        let [_, _, channels, height, width] = found.dims[..] else { return None };
        let at = shape(&found.dims);
        if channels != 3 {
            self.refuse(port, "3 channels", at);
            return None;
        }
        if patch == 0 || height == 0 || width == 0 || height % patch != 0 || width % patch != 0 {
            let near = ((height as f64 / patch.max(1) as f64).round() as usize).max(1) * patch;
            let problem = Problem::input(port, format!("sides that the patch of {patch} divides"), at)
                .help(format!("for instance crops of {near} pixels, or another `network.backbone` patch"));
            self.problems.push(problem);
            return None;
        }
        Some(found)
    }

    /// Says that something does not fit.
    pub fn refuse(&mut self, port: &'static str, expected: impl Into<String>, found: impl Into<String>) {
        self.problems.push(Problem::input(port, expected, found));
    }

    /// The outputs' types, unless something did not fit or was not known.
    pub fn finish(self, outputs: Vec<EdgeType>) -> Result<Vec<EdgeType>, Vec<Problem>> {
        if self.unknown || !self.problems.is_empty() { Err(self.problems) } else { Ok(outputs) }
    }
}
