//! `dinoflow graph`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::GraphArg;
use crate::checkpoint::atomic;
use crate::error::Error;
use crate::graph::check::check;
use crate::graph::load::{Loaded, Request, load};
use crate::graph::report;
use crate::plan::explain::picture::{Picture, picture};
use crate::plan::explain::{diff::diff, dot::dot, json, mermaid::mermaid, svg::svg};
use crate::stages::Registry;

/// The arguments of `dinoflow graph`.
#[derive(Clone, Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    graph: GraphArg,
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Another graph: draws what differs in it
    #[arg(long, value_name = "OTHER")]
    diff: Option<PathBuf>,
}

/// Forms of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For Graphviz
    Dot,
    /// For Markdown pages
    Mermaid,
    /// A picture as it is
    Svg,
    /// For programs
    Json,
}

impl GraphArgs {
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let mut shown = drawn(&self.graph.load()?, registry)?;
        if let Some(other) = &self.diff {
            let other = load(&Request { graph: other.clone(), ..Request::default() })?;
            shown = diff(&shown, &drawn(&other, registry)?);
        }
        let text = match self.format {
            Format::Dot => dot(&shown),
            Format::Mermaid => mermaid(&shown),
            Format::Svg => svg(&shown),
            Format::Json => json::picture(&shown),
        };
        match &self.output {
            None => super::say(&text),
            Some(path) => atomic::write(path, |file| file.write_all(text.as_bytes()))
                .map_err(|cause| Error::File { doing: "write", path: path.clone(), cause }),
        }
    }
}

/// A graph's picture; what is wrong with it is printed as well. A text that is no graph at all can't be drawn.
fn drawn(loaded: &Loaded, registry: &Registry) -> Result<Picture, Error> {
    let Some(draft) = check(loaded, registry) else {
        let (problems, origins) = (loaded.problems.clone(), Box::new(loaded.origins.clone()));
        return Err(Error::Graph { problems, origins });
    };
    // a closed standard error leaves nobody to tell
    let _ = report::print(&draft.problems, &loaded.origins);
    Ok(picture(&draft))
}
