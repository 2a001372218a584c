//! Where a piece of the graph was written: a file, a preset, or an argument of the command line.

use std::ops::Range;

use codespan_reporting::files::{Files, SimpleFile};

/// An index into [`Origins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId(usize);

/// A stretch of an origin's text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub origin: OriginId,
    pub span: Range<usize>,
}

impl Place {
    /// From the start of this place to the end of another in the same text.
    pub fn to(&self, end: &Place) -> Place {
        Place { origin: self.origin, span: self.span.start..end.span.end.max(self.span.start) }
    }
}

/// Every text that went into a graph, each under the name that a message shows.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    files: Vec<SimpleFile<String, String>>,
}

impl Origins {
    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> OriginId {
        self.files.push(SimpleFile::new(name.into(), text.into()));
        OriginId(self.files.len() - 1)
    }

    /// The whole text.
    pub fn text(&self, id: OriginId) -> &str {
        self.files.get(id.0).map_or("", |file| file.source().as_str())
    }

    /// The name that messages show.
    pub fn name(&self, id: OriginId) -> &str {
        self.files.get(id.0).map_or("", |file| file.name().as_str())
    }

    /// The text at a place.
    pub fn at(&self, place: &Place) -> &str {
        self.text(place.origin).get(place.span.clone()).unwrap_or("")
    }

    /// Line and column of a place's start, both from 1; the column counts characters.
    pub fn line_column(&self, place: &Place) -> (usize, usize) {
        let text = self.text(place.origin);
        let before = text.get(..place.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl<'a> Files<'a> for Origins {
    type FileId = OriginId;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: OriginId) -> Result<&'a str, codespan_reporting::files::Error> {
        Ok(Origins::name(self, id))
    }

    fn source(&'a self, id: OriginId) -> Result<&'a str, codespan_reporting::files::Error> {
        Ok(self.text(id))
    }

    fn line_index(&'a self, id: OriginId, byte: usize) -> Result<usize, codespan_reporting::files::Error> {
        self.files.get(id.0).ok_or(codespan_reporting::files::Error::FileMissing)?.line_index((), byte)
    }

    fn line_range(
        &'a self,
        id: OriginId,
        line: usize,
    ) -> Result<Range<usize>, codespan_reporting::files::Error> {
        self.files.get(id.0).ok_or(codespan_reporting::files::Error::FileMissing)?.line_range((), line)
    }
}
