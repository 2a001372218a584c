//! Problems in print: for people with the lines they point into, for programs as JSON.

use std::io::IsTerminal;

use codespan_reporting::diagnostic::{self, Label};
use codespan_reporting::term::termcolor::{ColorChoice, StandardStream};
use codespan_reporting::term::{self, Config, Styles, StylesWriter};
use serde_json::{Value, json};

use super::origin::Origins;
use super::problem::{Diagnostic, Severity};

impl Diagnostic {
    fn to_codespan(&self) -> diagnostic::Diagnostic<super::origin::OriginId> {
        let severity = match self.severity {
            Severity::Error => diagnostic::Severity::Error,
            Severity::Note => diagnostic::Severity::Note,
        };
        let mut label = match (self.expected.as_str(), self.found.as_str()) {
            ("", found) => format!("found {found}"),
            (expected, "") => format!("expected {expected}"),
            (expected, found) => format!("expected {expected}; found {found}"),
        };
        if let Some(nearest) = &self.nearest {
            label += &format!("; did you mean `{nearest}`?");
        }
        let at = |place: &super::origin::Place| (place.origin, place.span.clone());
        let (origin, span) = at(&self.place);
        let mut labels = vec![Label::primary(origin, span).with_message(label)];
        labels.extend(self.also.iter().map(|(place, text)| {
            let (origin, span) = at(place);
            Label::secondary(origin, span).with_message(text)
        }));
        let what = match &self.node {
            Some(node) if !self.what.contains(&format!("`{node}")) => format!("node `{node}`: {}", self.what),
            _ => self.what.clone(),
        };
        diagnostic::Diagnostic::new(severity)
            .with_message(what)
            .with_labels(labels)
            .with_notes(self.help.iter().map(|help| format!("help: {help}")).collect())
    }

    /// For programs: `{severity, file, line, column, node, key, message, expected, found, nearest, help}`.
    pub fn to_json(&self, origins: &Origins) -> Value {
        let (line, column) = origins.line_column(&self.place);
        json!({
            "severity": if self.severity == Severity::Error { "error" } else { "note" },
            "file": origins.name(self.place.origin),
            "line": line,
            "column": column,
            "node": self.node,
            "key": self.key,
            "message": self.what,
            "expected": self.expected,
            "found": self.found,
            "nearest": self.nearest,
            "help": self.help,
        })
    }
}

/// Prints problems on standard error with the lines that they point into; coloured on a terminal, unless `NO_COLOR` is
/// set.
///
/// # Errors
/// When standard error is closed.
pub fn print(problems: &[Diagnostic], origins: &Origins) -> std::io::Result<()> {
    let choice = if std::io::stderr().is_terminal() { ColorChoice::Auto } else { ColorChoice::Never };
    let styles = Styles::default();
    let mut out = StylesWriter::new(StandardStream::stderr(choice), &styles);
    for problem in problems {
        term::emit_to_write_style(&mut out, &config(), origins, &problem.to_codespan())
            .map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// Problems as plain text.
pub fn text(problems: &[Diagnostic], origins: &Origins) -> String {
    let one = |problem: &Diagnostic| {
        let text = term::emit_into_string(&config(), origins, &problem.to_codespan());
        text.unwrap_or_else(|_| problem.what.clone())
    };
    problems.iter().map(one).collect()
}

fn config() -> Config {
    Config { start_context_lines: 1, end_context_lines: 1, ..Config::default() }
}
