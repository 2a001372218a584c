//! A picture as SVG, with no program but this one.

use std::fmt::Write;

use super::layout::{Frame, LINE, Layout, MARGIN, SMALL_LINE, place, text_width};
use super::outline::outline;
use super::paint::{BOTTLENECK, fill, heat, stroke};
use super::picture::{Line, Load, Node, Outline, Picture, State};
use crate::plan::EdgeKind;

/// Height of a line of the heading.
const HEADING: f64 = 20.0;

/// The picture as an SVG document.
pub fn svg(picture: &Picture) -> String {
    let layout = place(picture);
    let above = MARGIN + HEADING * (1 + picture.remarks.len()) as f64;
    let widest = std::iter::once(text_width(&picture.title, 16.0))
        .chain(picture.remarks.iter().map(|(_, remark)| text_width(remark, 12.0)))
        .fold(layout.width, |widest, text| widest.max(text + 2.0 * MARGIN));
    let height = layout.height + above + LEGEND;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{widest:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {widest:.0} {height:.0}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    out += &arrowheads(picture);
    // writing to a string does not fail
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"16\" font-weight=\"bold\">{}</text>",
        MARGIN + 8.0,
        text(&picture.title)
    );
    for (index, (state, remark)) in picture.remarks.iter().enumerate() {
        let y = MARGIN + 8.0 + HEADING * (index + 1) as f64;
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{y}\" font-size=\"12\" fill=\"{}\">{}</text>",
            stroke(*state, EdgeKind::Forward),
            text(remark)
        );
    }
    let _ = writeln!(out, "<g transform=\"translate(0 {above})\">");
    for (_, frame) in &layout.clusters {
        out += &box_of(frame, "#fafafa", "#b8b8b8", 10.0);
    }
    draw(picture, &layout, &mut out);
    out += "</g>\n";
    out += &legend(height - LEGEND / 2.0);
    out + "</svg>\n"
}

/// A cluster's title in the first of its corners that no line passes, or over the lines in the first.
fn cluster_title(title: &str, frame: &Frame, layout: &Layout) -> String {
    let (width, height) = (text_width(title, 12.0) + 8.0, 17.0);
    let (across, down) = ((frame.width - width) / 2.0 - 8.0, (frame.height - height) / 2.0 - 4.5);
    let corners = [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)].map(|(x, y)| Frame {
        x: frame.x + x * across,
        y: frame.y + y * down,
        width,
        height,
    });
    let clear = |corner: &&Frame| !layout.wires.iter().any(|(points, _)| passes(points, corner));
    let behind = corners.iter().find(clear).unwrap_or(&corners[0]);
    let (x, y) = (behind.x - width / 2.0 + 4.0, behind.y + 4.0);
    let mut out = box_of(behind, "#fafafa", "none", 3.0);
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" fill=\"#616161\">{title}</text>");
    out
}

/// Whether a line through these points passes a frame, looked at in small steps.
fn passes(points: &[(f64, f64)], frame: &Frame) -> bool {
    const STEPS: usize = 32;
    let inside = |x: f64, y: f64| {
        (x - frame.x).abs() <= frame.width / 2.0 && (y - frame.y).abs() <= frame.height / 2.0
    };
    let between = |pair: &[(f64, f64)], step: usize| {
        let (part, [(x, y), (to_x, to_y)]) = (step as f64 / STEPS as f64, [pair[0], pair[1]]);
        inside(x + part * (to_x - x), y + part * (to_y - y))
    };
    points.windows(2).any(|pair| (0..=STEPS).any(|step| between(pair, step)))
}

/// Lines first, then nodes, then labels, so that no text is crossed out.
fn draw(picture: &Picture, layout: &Layout, out: &mut String) {
    for (wire, (points, _)) in picture.wires.iter().zip(&layout.wires) {
        *out += &line(wire, points);
    }
    for (cluster, frame) in &layout.clusters {
        *out += &cluster_title(cluster.title(), frame, layout);
    }
    for (node, frame) in picture.nodes.iter().zip(&layout.nodes) {
        *out += &self::node(node, frame);
    }
    for (wire, (_, frame)) in picture.wires.iter().zip(&layout.wires) {
        *out += &label(wire, frame);
    }
}

fn box_of(frame: &Frame, fill: &str, stroke: &str, round: f64) -> String {
    format!(
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\" fill=\"{fill}\" \
         stroke=\"{stroke}\"/>\n",
        frame.x - frame.width / 2.0,
        frame.y - frame.height / 2.0,
        frame.width,
        frame.height
    )
}

/// One arrowhead for each colour in use: SVG's markers don't take their line's.
fn arrowheads(picture: &Picture) -> String {
    let mut colors: Vec<&str> = picture.wires.iter().map(|wire| stroke(wire.state, wire.kind)).collect();
    colors.sort_unstable();
    colors.dedup();
    let head = |color: &&str| {
        format!(
            "<marker id=\"a{}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" \
             markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 1L10 5L0 9z\" fill=\"{color}\"/></marker>",
            &color[1..]
        )
    };
    format!("<defs>{}</defs>\n", colors.iter().map(head).collect::<String>())
}

/// A wire: straight stretches with rounded corners.
fn line(wire: &Line, points: &[(f64, f64)]) -> String {
    let Some(((x, y), rest)) = points.split_first() else { return String::new() };
    let mut path = format!("M{x:.1} {y:.1}");
    for (index, &(x, y)) in rest.iter().enumerate() {
        match rest.get(index + 1) {
            None => {
                let _ = write!(path, "L{x:.1} {y:.1}");
            }
            Some(&next) => {
                let (before, after) = (toward((x, y), points[index], 14.0), toward((x, y), next, 14.0));
                let _ = write!(
                    path,
                    "L{:.1} {:.1}Q{x:.1} {y:.1} {:.1} {:.1}",
                    before.0, before.1, after.0, after.1
                );
            }
        }
    }
    let color = stroke(wire.state, wire.kind);
    let width = if wire.kind == EdgeKind::Gradient { 0.8 } else { 1.6 };
    let dash = match (wire.kind, wire.state) {
        (_, State::Missing) | (EdgeKind::Feedback, _) => " stroke-dasharray=\"6 4\"",
        (_, State::Removed) => " stroke-dasharray=\"2 4\"",
        _ => "",
    };
    format!(
        "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{dash} \
         marker-end=\"url(#a{})\"/>\n",
        &color[1..]
    )
}

/// The point this far from a corner toward another point, at most half way.
fn toward(corner: (f64, f64), other: (f64, f64), far: f64) -> (f64, f64) {
    let (dx, dy) = (other.0 - corner.0, other.1 - corner.1);
    let length = dx.hypot(dy).max(1e-9);
    let part = (far / length).min(0.5);
    (corner.0 + part * dx, corner.1 + part * dy)
}

fn label(wire: &Line, frame: &Frame) -> String {
    let lines = wire.label();
    let white = Frame { width: frame.width - 2.0, height: frame.height - 2.0, ..*frame };
    let mut out = box_of(&white, "#ffffff", "none", 3.0)
        .replace("fill=\"#ffffff\"", "fill=\"#ffffff\" fill-opacity=\"0.88\"");
    let color = stroke(wire.state, wire.kind);
    for (index, line) in lines.iter().enumerate() {
        let y = frame.y + (index as f64 - (lines.len() - 1) as f64 / 2.0) * SMALL_LINE + 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{y:.1}\" font-size=\"11\" text-anchor=\"middle\" fill=\"{color}\">{}</text>",
            frame.x,
            text(line)
        );
    }
    out
}

fn node(node: &Node, frame: &Frame) -> String {
    let (fill, color, edge) = match node.load {
        Some(Load { share, bottleneck: true }) => (heat(share), BOTTLENECK.to_owned(), 3.5),
        Some(Load { share, .. }) => (heat(share), stroke(node.state, EdgeKind::Forward).to_owned(), 1.4),
        None => {
            (fill(node.state, node.shape).to_owned(), stroke(node.state, EdgeKind::Forward).to_owned(), 1.4)
        }
    };
    let dash = match node.state {
        State::Missing | State::Removed => " stroke-dasharray=\"6 4\"",
        _ => "",
    };
    let style = format!("fill=\"{fill}\" stroke=\"{color}\" stroke-width=\"{edge}\"{dash}");
    let mut out = outline(node.shape, frame, &style);
    let lines: Vec<&String> = std::iter::once(&node.name)
        .chain(std::iter::once(&node.kind).filter(|kind| !kind.is_empty()))
        .chain(&node.details)
        .collect();
    // a house's and a cylinder's room is below its roof
    let lower = match node.shape {
        Outline::House => 7.0,
        Outline::Cylinder => 5.0,
        _ => 0.0,
    };
    for (index, line) in lines.iter().enumerate() {
        let y = frame.y + lower + (index as f64 - (lines.len() - 1) as f64 / 2.0) * LINE + 4.5;
        let style = if index == 0 { "font-size=\"14\" font-weight=\"bold\"" } else { "font-size=\"12\"" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{y:.1}\" {style} text-anchor=\"middle\">{}</text>",
            frame.x,
            text(line)
        );
    }
    out
}

/// Height of the strip that explains the lines.
const LEGEND: f64 = 36.0;

fn legend(y: f64) -> String {
    let mut out = String::new();
    let entries = [
        (EdgeKind::Forward, "this step's value"),
        (EdgeKind::Feedback, "the previous step's value"),
        (EdgeKind::Gradient, "gradient"),
    ];
    let mut x = MARGIN;
    for (kind, words) in entries {
        let dash = if kind == EdgeKind::Feedback { " stroke-dasharray=\"6 4\"" } else { "" };
        let width = if kind == EdgeKind::Gradient { 0.8 } else { 1.6 };
        let color = stroke(State::Plain, kind);
        let _ = writeln!(
            out,
            "<path d=\"M{x} {y}h36\" stroke=\"{color}\" stroke-width=\"{width}\"{dash}/>\
             <text x=\"{}\" y=\"{}\" font-size=\"11\" fill=\"#616161\">{words}</text>",
            x + 42.0,
            y + 4.0
        );
        x += 42.0 + text_width(words, 11.0) + 24.0;
    }
    out
}

/// Text within SVG.
fn text(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_passes_what_lies_on_its_way() {
        let frame = Frame { x: 10.0, y: 10.0, width: 4.0, height: 4.0 };
        let check = |points: &[(f64, f64)], expected: bool| {
            assert_eq!(passes(points, &frame), expected, "{points:?}");
        };
        check(&[(0.0, 10.0), (20.0, 10.0)], true);
        check(&[(0.0, 0.0), (0.0, 20.0), (10.0, 20.0), (10.0, 11.0)], true);
        // beside it, though the box around the line holds it
        check(&[(0.0, 0.0), (0.0, 20.0), (20.0, 20.0)], false);
        check(&[(0.0, 15.0), (15.0, 0.0)], false);
        check(&[(10.0, 10.0)], false);
        check(&[], false);
    }
}
