//! What does not fit its type, as serde reports it and as a message says it.

use serde::de;

use crate::graph::origin::{Origins, Place};
use crate::graph::problem::{Diagnostic, listing};
use crate::graph::tree::{Path, Tree};

/// One thing that does not fit its type.
#[derive(Clone, Debug)]
pub struct Fault {
    pub path: Path,
    pub place: Option<Place>,
    pub kind: Kind,
}

/// In which way something does not fit.
#[derive(Clone, Debug)]
pub enum Kind {
    Mismatch { expected: String },
    UnknownKey { known: &'static [&'static str] },
    UnknownVariant { known: &'static [&'static str] },
    Missing { key: &'static str },
    Other(String),
}

impl Fault {
    /// As a message. `root` is the tree that was read.
    pub fn diagnose(self, tree: &Tree, origins: &Origins) -> Diagnostic {
        let Fault { path, place, kind } = self;
        let place = place.unwrap_or_else(|| tree.place(&path).clone());
        let quote = Diagnostic::quote(origins, &place);
        let (node, key) = name(&path);
        let word = key.as_ref().map_or("the value".into(), |key| format!("`{key}`"));
        let mut out = match kind {
            Kind::Mismatch { expected } => Diagnostic::error(place, format!("{word} is of the wrong type"))
                .expected(expected)
                .found(quote),
            Kind::UnknownKey { known } => Diagnostic::error(place, format!("unknown key `{quote}`"))
                .expected(listing(known.iter().copied()))
                .nearest(&quote, known.iter().copied())
                .found(format!("`{quote}`")),
            Kind::UnknownVariant { known } => Diagnostic::error(place, format!("unknown name `{quote}`"))
                .expected(listing(known.iter().copied()))
                .found(format!("`{quote}`"))
                .nearest(&quote, known.iter().copied()),
            Kind::Missing { key } => {
                Diagnostic::error(opening(tree.find(&path), place), format!("the key `{key}` is missing"))
                    .expected(format!("`{key}: …`"))
                    .found("nothing")
            }
            Kind::Other(text) => Diagnostic::error(place, text).found(quote),
        };
        out.node = node;
        out.key = key;
        out
    }
}

/// The start of a value that may run over many lines: its name, or its opening parenthesis.
fn opening(tree: Option<&Tree>, place: Place) -> Place {
    match tree.and_then(Tree::name) {
        Some(name) => name.at.clone(),
        None => Place { span: place.span.start..(place.span.start + 1).min(place.span.end), ..place },
    }
}

/// The node and the key at a path of the graph, as `--set` names them.
pub fn name<S: AsRef<str>>(path: &[S]) -> (Option<String>, Option<String>) {
    let steps: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    let (node, rest) = match &steps[..] {
        ["nodes", node, "stage", rest @ ..] | ["nodes", node, rest @ ..] => (Some((*node).to_owned()), rest),
        rest => (None, rest),
    };
    (node, (!rest.is_empty()).then(|| rest.join(".")))
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.path.join("."), self.kind)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Fault { path: Path::new(), place: None, kind: Kind::Other(text.to_string()) }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Fault { path: Path::new(), place: None, kind: Kind::Mismatch { expected: expected.to_string() } }
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Fault { path: Path::new(), place: None, kind: Kind::Mismatch { expected: expected.to_string() } }
    }

    fn missing_field(key: &'static str) -> Self {
        Fault { path: Path::new(), place: None, kind: Kind::Missing { key } }
    }
}
