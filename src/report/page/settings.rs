//! The settings of runs: what differs from the recipe that the program comes with, or from each other, and the whole graph.

use indexmap::IndexMap;
use maud::{Markup, html};

use super::run::Run;
use crate::graph::check::check;
use crate::graph::load::{Request, load_text};
use crate::graph::shipped::shipped;
use crate::plan::explain::diff::{changes, diff};
use crate::plan::explain::picture::{Picture, picture};
use crate::stages::Registry;

/// The section for one run or several.
pub fn settings(runs: &[Run]) -> Markup {
    html! {
        @match runs {
            [run] => (against_shipped(run)),
            _ => (against_each_other(runs)),
        }
        @for run in runs {
            @if let Some(graph) = &run.graph {
                details {
                    summary { "The whole graph of " (run.name) ", with every default" }
                    pre tabindex="0" { (graph) }
                }
            }
        }
    }
}

/// What a run changes in the recipe of its name.
fn against_shipped(run: &Run) -> Markup {
    let name = run.picture.as_ref().and_then(|picture| values(picture).get("name").cloned());
    let name = name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_default();
    let recipe = shipped(&name).and_then(drawn);
    let lines = run.picture.as_ref().zip(recipe).map(|(own, recipe)| changes(&diff(&recipe, own)));
    html! {
        @match lines {
            None => p.quiet { "No recipe that the program comes with has this graph's name." },
            Some(lines) if lines.is_empty() => p { "As " code { "graphs/" (name) ".ron" } " has it." },
            Some(lines) => {
                p { "What differs from " code { "graphs/" (name) ".ron" } ":" }
                ul { @for line in &lines { li { code { (line) } } } }
            }
        }
    }
}

fn drawn(text: &str) -> Option<Picture> {
    let loaded = load_text(text, &Request::default());
    check(&loaded, &Registry::default()).map(|draft| picture(&draft))
}

/// The keys in which runs differ, a column for each run.
fn against_each_other(runs: &[Run]) -> Markup {
    let all: Vec<IndexMap<String, String>> =
        runs.iter().map(|run| run.picture.as_ref().map(values).unwrap_or_default()).collect();
    let mut keys: Vec<&String> = Vec::new();
    for key in all.iter().flat_map(IndexMap::keys) {
        let alike = all.iter().all(|values| values.get(key) == all[0].get(key));
        if !alike && !keys.contains(&key) {
            keys.push(key);
        }
    }
    html! {
        @if keys.is_empty() {
            p { "All of them have the same settings." }
        } @else {
            div.scroll tabindex="0" role="group" aria-label="settings that differ" {
                table.figures.settings {
                    thead { tr { th scope="col" { "setting" } @for run in runs { th scope="col" { (run.name) } } } }
                    tbody {
                        @for key in &keys {
                            tr {
                                th scope="row" { code { (key) } }
                                @for values in &all { td { code { (values.get(*key).map_or("–", String::as_str)) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every value of a graph by its dotted key, and every node's stage.
fn values(picture: &Picture) -> IndexMap<String, String> {
    let own = picture.keys.iter().cloned();
    let nodes = picture.nodes.iter().flat_map(|node| {
        let stage = std::iter::once((node.name.clone(), node.kind.clone()));
        stage
            .chain(node.parameters.iter().map(|(key, value)| (format!("{}.{key}", node.name), value.clone())))
    });
    own.chain(nodes).collect()
}
