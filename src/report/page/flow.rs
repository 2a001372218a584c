//! A run's graph with what each stage cost and how full each channel was, and the stage that the others waited for.

use maud::{Markup, html};

use super::run::Run;
use super::shell::data_url;
use crate::plan::explain::picture::{Cluster, Load, Picture};
use crate::plan::explain::svg::svg;
use crate::report::tables::Placed;
use crate::report::timings::{NodeTime, Timings};

/// From here on waiting for pictures counts for more than the stage that works the most, as a part of the time.
const WAITING: f64 = 0.1;

/// What a node took, both halves together.
struct Taken {
    node: String,
    place: Placed,
    share: f64,
}

/// The stage that the others wait for, and a sentence that says so.
pub fn bottleneck(timings: &Timings) -> Option<(String, String)> {
    let taken = taken(timings);
    let most = |on: fn(Placed) -> bool| {
        let those = taken.iter().filter(|taken| on(taken.place));
        those.max_by(|a, b| a.share.total_cmp(&b.share)).filter(|taken| taken.share > 0.0)
    };
    let wait = percent(timings.data_wait_share);
    let host = most(|place| place == Placed::Host).filter(|_| timings.data_wait_share > WAITING);
    if let Some(host) = host {
        let sentence = format!(
            "{} keeps the island waiting {wait} of the time; of the host's stages it works the most, {} of it.",
            host.node,
            percent(host.share)
        );
        return Some((host.node.clone(), sentence));
    }
    let own = most(|place| place != Placed::Host)?;
    let share = percent(own.share);
    let between = if own.place == Placed::Barrier { ", between steps" } else { "" };
    let sentence = format!(
        "{} takes most of the time, {share}{between}; the island waits for pictures {wait}.",
        own.node
    );
    Some((own.node.clone(), sentence))
}

fn taken(timings: &Timings) -> Vec<Taken> {
    let mut all: Vec<Taken> = Vec::new();
    for half in &timings.nodes {
        let node = half.node.trim_end_matches("/backward");
        match all.iter_mut().find(|taken| taken.node == node) {
            Some(taken) => taken.share += half.share_of_wall,
            None => all.push(Taken { node: node.into(), place: half.place, share: half.share_of_wall }),
        }
    }
    all
}

/// `12.3 %`.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `26.4`: milliseconds to three digits or so.
fn ms(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// The graph of a run, its stages coloured by their part of the time.
pub fn graph(picture: &Picture, timings: &Timings) -> Picture {
    let slow = bottleneck(timings).map(|(node, _)| node);
    let steps = (timings.steps.to - timings.steps.from).max(1) as f64;
    let mut measured = picture.clone();
    for node in &mut measured.nodes {
        let of_node = |half: &&NodeTime| half.node.trim_end_matches("/backward") == node.name;
        let halves: Vec<&NodeTime> = timings.nodes.iter().filter(of_node).collect();
        let share: f64 = halves.iter().map(|half| half.share_of_wall).sum();
        let Some(first) = halves.first() else { continue };
        let time = match first.place {
            Placed::Barrier => format!("{} × {} ms", first.calls, ms(first.mean_ms)),
            _ => {
                let each: Vec<String> = halves.iter().map(|half| ms(half.total_ms / steps)).collect();
                format!("{} ms a step", each.join(" + "))
            }
        };
        let threads =
            if first.threads > 1 { format!(" on {} threads", first.threads) } else { String::new() };
        node.details = vec![time, format!("{} of the time{threads}", percent(share))];
        node.load = Some(Load { share, bottleneck: slow.as_ref() == Some(&node.name) });
    }
    let on_island: Vec<String> = measured
        .nodes
        .iter()
        .filter(|node| node.place == Cluster::Island)
        .map(|node| node.name.clone())
        .collect();
    for wire in &mut measured.wires {
        let to = if on_island.contains(&wire.to) { "island" } else { &wire.to };
        if let Some(edge) = timings.edges.iter().find(|edge| edge.from == wire.from && edge.to == to) {
            wire.note = format!("{:.1} of {} in use", edge.mean_occupancy, edge.capacity);
        }
    }
    measured.remarks.clear();
    measured
}

/// The section of a run.
pub fn flow(run: &Run) -> Markup {
    let sentence = run.timings.as_ref().and_then(bottleneck).map(|(_, sentence)| sentence);
    html! {
        @if let Some(sentence) = &sentence { p.bottleneck { (sentence) } }
        @if let Some(picture) = &run.picture {
            @let drawn = match &run.timings { Some(timings) => graph(picture, timings), None => picture.clone() };
            @let alt = format!("the graph of {}{}", run.name, sentence.as_ref().map_or(String::new(), |s| format!(": {s}")));
            div.graph tabindex="0" role="group" aria-label="the graph, which can be scrolled" {
                img alt=(alt) src=(data_url("image/svg+xml", svg(&drawn).as_bytes()));
            }
            @if run.timings.is_some() {
                p.quiet { "The darker a stage, the more of the time it took; the one with the red edge is the one that the others wait for. \
                    On wires between threads: how many values lay in the channel when one came in, and for how many it has room." }
            }
        }
        @if let Some(timings) = &run.timings { (tables(timings)) }
    }
}

fn tables(timings: &Timings) -> Markup {
    let steps = (timings.steps.to - timings.steps.from).max(1) as f64;
    let slow = bottleneck(timings).map(|(node, _)| node).unwrap_or_default();
    html! {
        p.quiet {
            "Steps " (timings.steps.from) " to " (timings.steps.to) ", in " (format!("{:.1}", timings.wall_seconds)) " s: "
            (format!("{:.0}", timings.images_per_second)) " pictures per second, "
            (percent(timings.data_wait_share)) " waiting for them. A run that is resumed begins a new account."
        }
        div.scroll tabindex="0" role="group" aria-label="times of the stages" {
            table.figures {
                thead { tr {
                    @for column in ["stage", "fired by", "calls", "ms a call", "ms a step", "part of the time", ""] {
                        th scope="col" { (column) }
                    }
                } }
                tbody {
                    @for node in &timings.nodes {
                        @let own = node.node.trim_end_matches("/backward") == slow;
                        tr class=(if own { "slow" } else { "" }) {
                            th scope="row" { (node.node) }
                            td.number { (placed(node)) }
                            td.number { (node.calls) }
                            td.number { (ms(node.mean_ms)) }
                            td.number { @if node.place == Placed::Barrier { "–" } @else { (ms(node.total_ms / steps)) } }
                            td.number { (percent(node.share_of_wall)) }
                            td.bar { span style=(format!("width: {:.1}%", 100.0 * node.share_of_wall.min(1.0))) {} }
                        }
                    }
                }
            }
        }
        @if !timings.edges.is_empty() { (channels(timings)) }
    }
}

fn placed(node: &NodeTime) -> String {
    match (node.place, node.threads) {
        (Placed::Host, 1) => "1 thread".into(),
        (Placed::Host, threads) => format!("{threads} threads"),
        (Placed::Island, _) => "island".into(),
        (Placed::Barrier, _) => "between steps".into(),
    }
}

fn channels(timings: &Timings) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="channels between threads" {
            table.figures {
                thead { tr {
                    @for column in ["channel", "room for", "values", "mean in it", "most", "producer waits, s", "consumer waits, s", "fill"] {
                        th scope="col" { (column) }
                    }
                } }
                tbody {
                    @for edge in &timings.edges {
                        @let fill = 100.0 * edge.mean_occupancy / edge.capacity.max(1) as f64;
                        tr {
                            th scope="row" { (edge.from) " → " (edge.to) }
                            td.number { (edge.capacity) }
                            td.number { (edge.values) }
                            td.number { (format!("{:.1}", edge.mean_occupancy)) }
                            td.number { (edge.max_occupancy) }
                            td.number { (format!("{:.2}", edge.producer_waits_ms / 1e3)) }
                            td.number { (format!("{:.2}", edge.consumer_waits_ms / 1e3)) }
                            td.bar { span style=(format!("width: {:.1}%", fill.min(100.0))) {} }
                        }
                    }
                }
            }
        }
        p.quiet { "A full channel means that its consumer is the slower one, an empty one that its producer is. Waits are summed over threads." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(wait: f64, nodes: &[(&str, Placed, f64)]) -> Timings {
        let node = |(node, place, share): &(&str, Placed, f64)| NodeTime {
            node: (*node).into(),
            place: *place,
            threads: 1,
            calls: 1,
            total_ms: 1.0,
            mean_ms: 1.0,
            share_of_wall: *share,
            waits_ms: 0.0,
        };
        Timings { data_wait_share: wait, nodes: nodes.iter().map(node).collect(), ..Timings::default() }
    }

    #[test]
    fn the_bottleneck_is_who_the_others_wait_for() {
        let check = |wait: f64, nodes: &[(&str, Placed, f64)], expected: Option<(&str, &str)>| {
            let found = bottleneck(&timings(wait, nodes));
            match (found, expected) {
                (Some((node, sentence)), Some((name, words))) => {
                    assert!(node == name && sentence.contains(words), "{node}: {sentence}");
                }
                (found, expected) => assert_eq!(found.is_some(), expected.is_some()),
            }
        };
        let both = [
            ("decode", Placed::Host, 0.9),
            ("multi_crop", Placed::Host, 0.2),
            ("student", Placed::Island, 0.3),
            ("student/backward", Placed::Island, 0.35),
            ("knn", Placed::Barrier, 0.1),
        ];
        check(0.12, &both, Some(("decode", "decode keeps the island waiting 12.0 % of the time")));
        // both halves count, and pictures that are there in time hold nobody up
        check(0.01, &both, Some(("student", "student takes most of the time, 65.0 %; the island waits")));
        check(0.0, &[("knn", Placed::Barrier, 0.5), both[2]], Some(("knn", "50.0 %, between steps")));
        check(0.0, &[], None);
    }
}
