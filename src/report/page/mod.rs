//! The report on one run or several: one page that needs nothing else, no network and no script.
//!
//! ```text
//! shell          what every page is wrapped in; ablations share it
//! plot, series   curves as SVG, thinned for drawing
//! record, run    what a run's folder holds
//! outcome        what a run came to
//! curves, flow, gallery, settings, surroundings   the sections
//! ```

mod curves;
mod flow;
mod gallery;
mod outcome;
pub mod plot;
mod record;
mod run;
pub mod series;
mod settings;
pub mod shell;
mod surroundings;

use std::path::{Path, PathBuf};

use maud::{Markup, html};

use crate::checkpoint::atomic;
use crate::error::Error;
use crate::stages::Registry;
use outcome::{End, accuracy};
use run::{Run, tell_apart};

/// Writes the page on some runs' folders, finished or not, whole or not at all.
///
/// # Errors
/// [`Error::Request`] for a folder that is no run's, [`Error::File`] when the page can't be written.
pub fn write(folders: &[PathBuf], out: &Path, registry: &Registry) -> Result<(), Error> {
    let mut runs: Vec<Run> =
        folders.iter().map(|folder| Run::read(folder, registry)).collect::<Result<_, _>>()?;
    tell_apart(&mut runs);
    let text = page(&runs);
    atomic::write(out, |file| file.write_all(text.as_bytes())).map_err(|cause| Error::File {
        doing: "write",
        path: out.to_owned(),
        cause,
    })
}

/// The page.
fn page(runs: &[Run]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = names.join(", ");
    shell::shell(
        &title,
        html! {
            header {
                h1 { (title) }
                (subtitle(runs))
                (contents())
            }
            main {
                section #outcome { (outcomes(runs)) }
                section #curves { h2 { "Curves" } (curves::curves(runs)) }
                section #time { h2 { "Where the time went" } (each(runs, flow::flow)) }
                section #pictures { h2 { "Pictures" } (each(runs, gallery::gallery)) }
                section #settings { h2 { "Settings" } (settings::settings(runs)) }
                section #environment { h2 { "Environment" } (surroundings::environment(runs)) }
                section #files { h2 { "Files" } @for run in runs { (surroundings::files(run)) } }
            }
            footer.quiet { "dinoflow report" }
        },
    )
}

fn contents() -> Markup {
    const SECTIONS: [(&str, &str); 6] = [
        ("curves", "Curves"),
        ("time", "Time"),
        ("pictures", "Pictures"),
        ("settings", "Settings"),
        ("environment", "Environment"),
        ("files", "Files"),
    ];
    html! { nav aria-label="sections" { @for (id, title) in SECTIONS { a href={ "#" (id) } { (title) } } } }
}

/// What is trained, where that is known of the only run.
fn subtitle(runs: &[Run]) -> Markup {
    let words = match runs {
        [run] => run.picture.as_ref().map(|picture| picture.title.clone()),
        _ => Some(format!("{} runs", runs.len())),
    };
    html! { @if let Some(words) = words { p.quiet { (words) } } }
}

/// A line for each run, with what the doctor says and what its folder lacks.
fn outcomes(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @let end = End::of(run);
            @let (class, sign) = end.mark();
            article {
                p.outcome {
                    span class=(class) { (sign) " " }
                    @if runs.len() > 1 { strong { (run.name) } ": " }
                    (end.words(run))
                    @if let Some(accuracy) = accuracy(run) { " · " (accuracy) }
                }
                @if let Some(diagnosis) = &run.diagnosis { pre.doctor { (diagnosis.to_string()) } }
                @if !run.missing.is_empty() {
                    ul.missing aria-label="what is missing" { @for line in &run.missing { li { (line) } } }
                }
            }
        }
    }
}

/// A section's part for each run, under its name where there are several.
fn each(runs: &[Run], part: fn(&Run) -> Markup) -> Markup {
    html! {
        @for run in runs {
            @if runs.len() > 1 { h3 { (run.name) } }
            (part(run))
        }
    }
}

#[cfg(test)]
mod tests;
