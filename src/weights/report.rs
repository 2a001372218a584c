//! What became of every key of a file.

use std::fmt;

use serde::Serialize;

use super::words::{message, shown};

/// Every key of a file: loaded as which weight, left over and why; and what was made of some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    pub loaded: Vec<Loaded>,
    pub left: Vec<Left>,
    /// What a network could have and the file does without: batch-norm statistics.
    pub missing: Vec<String>,
    pub reshaped: Vec<Reshaped>,
    /// What else one should know.
    pub notes: Vec<String>,
}

/// A tensor that became a weight, or a third of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// In the file.
    pub key: String,
    /// The published key.
    pub weight: String,
    /// The type of its numbers in the file: `float16`.
    pub element: String,
}

/// A tensor that became nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    pub key: String,
    pub reason: String,
}

/// A weight that is not as it stood in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reshaped {
    pub weight: String,
    pub from: Vec<usize>,
    pub to: Vec<usize>,
    pub how: String,
}

impl KeyReport {
    /// Types that were brought to float32, each with how many tensors.
    fn converted(&self) -> Vec<(&str, usize)> {
        let others = self
            .loaded
            .iter()
            .map(|loaded| &*loaded.element)
            .filter(|&name| !["float32", "int64"].contains(&name));
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for name in others {
            match counts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name, 1)),
            }
        }
        counts
    }
}

/// Keys that are shown of many.
const SHOWN: usize = 6;

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        for (name, count) in self.converted() {
            write!(f, ", {count} of them from {} to float32", shown(name))?;
        }
        for Left { key, reason } in self.left.iter().take(SHOWN) {
            write!(f, "\nleft over  {}: {}", shown(key), message(reason))?;
        }
        if self.left.len() > SHOWN {
            write!(f, "\nleft over  {} more", self.left.len() - SHOWN)?;
        }
        for Reshaped { weight, from, to, how } in &self.reshaped {
            write!(f, "\nreshaped   {weight} {from:?} to {to:?}: {how}")?;
        }
        if let Some(first) = self.missing.first() {
            let more = self.missing.len() - 1;
            write!(f, "\nmissing    {}", shown(first))?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
            f.write_str(": what batch norms have seen is not in the file")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote       {}", message(note)))
    }
}
