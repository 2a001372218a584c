//! A picture as DOT, for Graphviz.

use std::fmt::Write;

use super::paint::{fill, stroke};
use super::picture::{Cluster, Node, Outline, Picture, State};
use crate::plan::EdgeKind;

/// The picture as a digraph.
pub fn dot(picture: &Picture) -> String {
    let mut out = String::from("digraph dinoflow {\n");
    let heading: Vec<String> = std::iter::once(&picture.title)
        .chain(picture.remarks.iter().map(|(_, remark)| remark))
        .map(|line| text(line) + "\\l")
        .collect();
    // writing to a string does not fail
    let _ = writeln!(out, "  label=\"{}\"; labelloc=t; labeljust=l;", heading.join(""));
    let _ = writeln!(out, "  rankdir=TB; compound=true; nodesep=0.4; ranksep=0.5; fontname=\"Helvetica\";");
    let _ = writeln!(out, "  node [fontname=\"Helvetica\", fontsize=11, style=filled];");
    let _ = writeln!(out, "  edge [fontname=\"Helvetica\", fontsize=9];");
    for cluster in [Cluster::Host, Cluster::Island, Cluster::Barrier, Cluster::None] {
        let inside: Vec<&Node> = picture.nodes.iter().filter(|node| node.place == cluster).collect();
        if inside.is_empty() {
            continue;
        }
        if cluster != Cluster::None {
            let _ = writeln!(out, "  subgraph \"cluster_{cluster:?}\" {{");
            let _ = writeln!(out, "    label=\"{}\"; color=\"#b8b8b8\"; style=rounded;", cluster.title());
        }
        for node in inside {
            let _ = writeln!(out, "    {}", self::node(node));
        }
        if cluster != Cluster::None {
            let _ = writeln!(out, "  }}");
        }
    }
    for wire in &picture.wires {
        let label: Vec<String> = wire.label().iter().map(|line| text(line)).collect();
        let style = match (wire.kind, wire.state) {
            (_, State::Missing) | (EdgeKind::Feedback, _) => "dashed",
            _ => "solid",
        };
        let thin = if wire.kind == EdgeKind::Gradient { 0.6 } else { 1.4 };
        // what comes from the previous step, or flows back, does not decide what stands above what
        let free = if wire.kind == EdgeKind::Forward { "" } else { ", constraint=false" };
        let _ = writeln!(
            out,
            "  \"{}\" -> \"{}\" [label=\"{}\", style={style}, penwidth={thin}, color=\"{}\"{free}];",
            text(&wire.from),
            text(&wire.to),
            label.join("\\n"),
            stroke(wire.state, wire.kind),
        );
    }
    out + "}\n"
}

fn node(node: &Node) -> String {
    let shape = match node.shape {
        Outline::Cylinder => "cylinder",
        Outline::Slanted => "parallelogram",
        Outline::Hexagon => "hexagon",
        Outline::Ellipse => "ellipse",
        Outline::Octagon => "octagon",
        Outline::House => "house",
        Outline::Note => "note",
        Outline::Box => "box",
    };
    let lines = [&node.name, &node.kind].into_iter().chain(&node.details).filter(|line| !line.is_empty());
    let label: Vec<String> = lines.map(|line| text(line)).collect();
    let style =
        if matches!(node.state, State::Missing | State::Removed) { ", style=\"filled,dashed\"" } else { "" };
    format!(
        "\"{}\" [shape={shape}, label=\"{}\", fillcolor=\"{}\", color=\"{}\"{style}];",
        text(&node.name),
        label.join("\\n"),
        fill(node.state, node.shape),
        stroke(node.state, EdgeKind::Forward),
    )
}

/// Text within DOT's quotes.
fn text(plain: &str) -> String {
    plain.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}
