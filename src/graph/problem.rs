//! One thing that is wrong with a graph, and where.

use super::origin::{Origins, Place};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The graph can't run.
    Error,
    /// It can, but perhaps not as meant.
    Note,
}

/// One thing that is wrong with a graph: what, where, what was expected there and what stood there.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub place: Place,
    /// The node concerned.
    pub node: Option<String>,
    /// The key concerned, dotted as `--set` takes it: `optimizer.lr_course`.
    pub key: Option<String>,
    /// In a few words.
    pub what: String,
    pub expected: String,
    pub found: String,
    /// The known name that is nearest to an unknown one.
    pub nearest: Option<String>,
    /// What to do next.
    pub help: Option<String>,
    /// Other places that belong to it.
    pub also: Vec<(Place, String)>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(place: Place, what: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            place,
            node: None,
            key: None,
            what: what.into(),
            expected: String::new(),
            found: String::new(),
            nearest: None,
            help: None,
            also: Vec::new(),
        }
    }

    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = found.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Looks for the nearest of the names that were possible.
    pub fn nearest<'n>(mut self, name: &str, known: impl IntoIterator<Item = &'n str>) -> Self {
        self.nearest = nearest(name, known);
        self
    }

    pub fn also(mut self, place: Place, what: impl Into<String>) -> Self {
        self.also.push((place, what.into()));
        self
    }

    /// Makes it a note.
    pub fn as_note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    /// Where it stands, for sorting: the graph file first, then what was read after it, each from its start.
    pub fn order(&self) -> (Severity, super::origin::OriginId, usize) {
        (self.severity, self.place.origin, self.place.span.start)
    }

    /// What stood there, without the detail of a long value.
    pub fn quote(origins: &Origins, place: &Place) -> String {
        let text = origins.at(place).split_whitespace().collect::<Vec<_>>().join(" ");
        if text.chars().count() <= 40 { text } else { text.chars().take(37).collect::<String>() + "…" }
    }
}

/// The known name nearest to an unknown one, when it is near enough to be a slip of the pen.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let (mut best, mut score) = (None, 0.6);
    for candidate in known {
        let near = strsim::normalized_damerau_levenshtein(&plain(name), &plain(candidate));
        if near > score {
            (best, score) = (Some(candidate.to_owned()), near);
        }
    }
    best
}

/// Names for a message: "`a`, `b` or `c`".
pub fn listing<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_of_the_pen_away() {
        let known = ["momentum", "temperature"];
        assert_eq!(nearest("momentm", known).as_deref(), Some("momentum"));
        assert_eq!(nearest("Temperatur", known).as_deref(), Some("temperature"));
        assert_eq!(nearest("lr", known), None);
    }

    #[test]
    fn names_are_listed_as_in_a_sentence() {
        assert_eq!(listing(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(listing(["a"]), "`a`");
        assert_eq!(listing([]), "nothing");
    }
}
