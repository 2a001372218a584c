//! A picture as Mermaid, for Markdown pages that draw it.

use std::fmt::Write;

use super::paint::{fill, stroke};
use super::picture::{Cluster, Line, Node, Outline, Picture, State};
use crate::plan::EdgeKind;

/// The picture as a flowchart.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = format!("---\ntitle: \"{}\"\n---\nflowchart TB\n", picture.title.replace('"', "'"));
    for (_, remark) in &picture.remarks {
        let _ = writeln!(out, "  %% {}", remark.replace('\n', " "));
    }
    for cluster in [Cluster::Host, Cluster::Island, Cluster::Barrier, Cluster::None] {
        let inside = picture.nodes.iter().enumerate().filter(|(_, node)| node.place == cluster);
        let inside: Vec<(usize, &Node)> = inside.collect();
        if inside.is_empty() {
            continue;
        }
        if cluster != Cluster::None {
            let _ = writeln!(out, "  subgraph {cluster:?}Cluster[\"{}\"]", cluster.title());
        }
        for (index, node) in &inside {
            let _ = writeln!(out, "    {}", self::node(*index, node));
        }
        if cluster != Cluster::None {
            let _ = writeln!(out, "  end");
        }
    }
    let place = |name: &str| picture.nodes.iter().position(|node| node.name == name).unwrap_or(0);
    for wire in &picture.wires {
        let _ = writeln!(out, "  n{} {} n{}", place(&wire.from), arrow(wire), place(&wire.to));
    }
    for (index, wire) in picture.wires.iter().enumerate() {
        let width = if wire.kind == EdgeKind::Gradient { "1px" } else { "2px" };
        let _ = writeln!(
            out,
            "  linkStyle {index} stroke:{},stroke-width:{width}",
            stroke(wire.state, wire.kind)
        );
    }
    for (index, node) in picture.nodes.iter().enumerate() {
        let dash =
            if matches!(node.state, State::Missing | State::Removed) { ",stroke-dasharray:5 4" } else { "" };
        let (fill, stroke) = (fill(node.state, node.shape), stroke(node.state, EdgeKind::Forward));
        let _ = writeln!(out, "  style n{index} fill:{fill},stroke:{stroke}{dash}");
    }
    out
}

fn arrow(wire: &Line) -> String {
    let label: Vec<String> = wire.label().iter().map(|line| text(line)).collect();
    let line = match (wire.kind, wire.state) {
        (_, State::Missing) | (EdgeKind::Feedback, _) => "-.->",
        _ => "-->",
    };
    format!("{line}|\"{}\"|", label.join("<br/>"))
}

fn node(index: usize, node: &Node) -> String {
    let (open, close) = match node.shape {
        Outline::Cylinder => ("[(", ")]"),
        Outline::Slanted => ("[/", "/]"),
        Outline::Hexagon => ("{{", "}}"),
        Outline::Ellipse => ("([", "])"),
        Outline::Octagon => ("{", "}"),
        Outline::House => ("[[", "]]"),
        Outline::Note => (">", "]"),
        Outline::Box => ("[", "]"),
    };
    let lines = [&node.kind].into_iter().chain(&node.details).filter(|line| !line.is_empty());
    let below: String = lines.map(|line| format!("<br/>{}", text(line))).collect();
    format!("n{index}{open}\"<b>{}</b>{below}\"{close}", text(&node.name))
}

/// Text within Mermaid's quotes.
fn text(plain: &str) -> String {
    plain.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
