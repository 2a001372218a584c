//! What a stage finds wrong, and where.

use crate::graph::problem::Severity;

/// Something wrong with a stage's parameters or the types it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The parameter (dotted) or input port at fault.
    pub at: Fault,
    /// What stood there.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// What to do next.
    pub help: Option<String>,
    /// An error, which forbids a run, or a note, which does not.
    pub severity: Severity,
    /// Other values that it was judged by: while one of them can't be read, nothing is said.
    pub by: Vec<Fault>,
}

impl Problem {
    /// Something wrong with a parameter, by its dotted name.
    pub fn parameter(name: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem::new(Fault::Parameter(name.into()), expected.into(), found.into())
    }

    /// Something wrong with what arrives at an input port.
    pub fn input(port: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem::new(Fault::Input(port.into()), expected.into(), found.into())
    }

    /// Something wrong with a key of the graph that this stage needs otherwise, by its dotted name.
    pub fn graph(key: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem::new(Fault::Graph(key.into()), expected.into(), found.into())
    }

    fn new(at: Fault, expected: String, found: String) -> Self {
        Problem { at, found, expected, help: None, severity: Severity::Error, by: Vec::new() }
    }

    /// Adds another value that it was judged by, lest a wrong one is held against a right one.
    pub fn by(mut self, other: Fault) -> Self {
        self.by.push(other);
        self
    }

    /// Says what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a note: the graph runs, but perhaps not as meant.
    pub fn note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }
}

/// Where in a stage a [`Problem`] lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A parameter, dotted: `"views.local.size"`.
    Parameter(String),
    /// An input port.
    Input(String),
    /// A key of the graph outside the node, dotted: `"micro_batch"`.
    Graph(String),
}
