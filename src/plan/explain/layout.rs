//! Where everything stands in an SVG: layers by dagre, sizes by an estimate of the text.

use dagre::graph::{Graph, GraphOptions};
use dagre::layout::types::LabelPos;
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, layout};

use super::ends::{End, height, spread};
use super::picture::{Cluster, Line, Node, Outline, Picture};
use crate::plan::EdgeKind;

/// Height of a line of a node's text, and of a wire's, in pixels.
pub const LINE: f64 = 17.0;
pub const SMALL_LINE: f64 = 13.0;

/// A box by its middle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Frame {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// A picture with places for everything, in pixels.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub width: f64,
    pub height: f64,
    /// In the order of the picture's nodes.
    pub nodes: Vec<Frame>,
    /// In the order of the picture's wires: the line from producer to consumer, and the label's box.
    pub wires: Vec<(Vec<(f64, f64)>, Frame)>,
    pub clusters: Vec<(Cluster, Frame)>,
}

/// An estimate of a text's width, on the safe side for the usual sans-serif fonts.
pub fn text_width(text: &str, size: f64) -> f64 {
    let narrow =
        |c: char| matches!(c, 'i' | 'j' | 'l' | 't' | 'f' | '.' | ',' | '(' | ')' | ' ' | '/' | '\'');
    let wide = |c: char| matches!(c, 'm' | 'w' | 'M' | 'W' | '→' | '∂' | 'G' | 'O');
    let one = |c: char| match c {
        c if narrow(c) => 0.36,
        c if wide(c) => 0.92,
        c if c.is_uppercase() => 0.72,
        _ => 0.6,
    };
    text.chars().map(one).sum::<f64>() * size
}

/// A node's size, with room for its shape's corners.
fn size(node: &Node) -> (f64, f64) {
    let lines = [&node.kind].into_iter().chain(&node.details);
    let below = lines.map(|line| text_width(line, 12.0)).fold(0.0, f64::max);
    let text = below.max(text_width(&node.name, 14.0) * 1.08);
    let count = 1 + usize::from(!node.kind.is_empty()) + node.details.len();
    let (wider, higher) = match node.shape {
        Outline::Hexagon | Outline::Octagon | Outline::Slanted => (44.0, 14.0),
        Outline::Ellipse => (56.0, 28.0),
        Outline::House => (28.0, 30.0),
        Outline::Cylinder => (28.0, 28.0),
        Outline::Note | Outline::Box => (28.0, 14.0),
    };
    (text + wider, count as f64 * LINE + higher)
}

/// A label's size.
fn label_size(wire: &Line) -> (f64, f64) {
    let lines = wire.label();
    let width = lines.iter().map(|line| text_width(line, 11.0)).fold(0.0, f64::max);
    (width + 8.0, lines.len() as f64 * SMALL_LINE + 6.0)
}

/// Places everything, from top to bottom. Wires that go back in time or backward are laid out the other way round, so
/// that they don't turn the picture upside down.
pub fn place(picture: &Picture) -> Layout {
    let options = GraphOptions { directed: true, multigraph: true, compound: true };
    let mut graph: Graph<NodeLabel, EdgeLabel> = Graph::with_options(options);
    for (index, node) in picture.nodes.iter().enumerate() {
        let (width, height) = size(node);
        graph.set_node(format!("n{index}"), Some(NodeLabel { width, height, ..NodeLabel::default() }));
    }
    let clusters: Vec<Cluster> = [Cluster::Host, Cluster::Island, Cluster::Barrier]
        .into_iter()
        .filter(|cluster| picture.nodes.iter().any(|node| node.place == *cluster))
        .collect();
    for cluster in &clusters {
        graph.set_node(format!("{cluster:?}"), Some(NodeLabel::default()));
    }
    for (index, node) in picture.nodes.iter().enumerate().filter(|(_, node)| node.place != Cluster::None) {
        graph.set_parent(&format!("n{index}"), Some(&format!("{:?}", node.place)));
    }
    for (index, wire) in picture.wires.iter().enumerate() {
        let (from, to) = ends_of(picture, wire);
        let (width, height) = label_size(wire);
        let weight = if wire.kind == EdgeKind::Forward { 3 } else { 1 };
        let label = EdgeLabel { width, height, weight, labelpos: LabelPos::Center, ..EdgeLabel::default() };
        graph.set_edge(format!("n{from}"), format!("n{to}"), Some(label), Some(&format!("w{index}")));
    }
    let options = LayoutOptions { nodesep: 36.0, edgesep: 18.0, ranksep: 42.0, ..LayoutOptions::default() };
    layout(&mut graph, Some(options));
    read(picture, &graph, &clusters)
}

/// The nodes between which a wire is laid out, upper one first.
fn ends_of(picture: &Picture, wire: &Line) -> (usize, usize) {
    let place = |name: &str| picture.nodes.iter().position(|node| node.name == name).unwrap_or(0);
    let (from, to) = (place(&wire.from), place(&wire.to));
    if upward(wire) { (to, from) } else { (from, to) }
}

fn upward(wire: &Line) -> bool {
    let to_optimizer = wire.to_port == "gradients";
    wire.kind == EdgeKind::Feedback || (wire.kind == EdgeKind::Gradient && !to_optimizer)
}

/// Room above the drawing for the title, and around it.
pub const MARGIN: f64 = 24.0;

fn read(picture: &Picture, graph: &Graph<NodeLabel, EdgeLabel>, clusters: &[Cluster]) -> Layout {
    let frame = |label: Option<&NodeLabel>| {
        label.map_or(Frame::default(), |label| Frame {
            x: label.x.unwrap_or(0.0),
            y: label.y.unwrap_or(0.0),
            width: label.width,
            height: label.height,
        })
    };
    let nodes = (0..picture.nodes.len()).map(|index| frame(graph.node(&format!("n{index}")))).collect();
    let wire = |(index, wire): (usize, &Line)| {
        let (from, to) = ends_of(picture, wire);
        let edge = graph.edge(&format!("n{from}"), &format!("n{to}"), Some(&format!("w{index}")));
        let Some(edge) = edge else { return (Vec::new(), Frame::default()) };
        let mut points: Vec<(f64, f64)> = edge.points.iter().map(|point| (point.x, point.y)).collect();
        if upward(wire) {
            points.reverse();
        }
        let (width, height) = label_size(wire);
        (points, Frame { x: edge.x.unwrap_or(0.0), y: edge.y.unwrap_or(0.0), width, height })
    };
    let mut out = Layout {
        nodes,
        wires: picture.wires.iter().enumerate().map(wire).collect(),
        clusters: clusters.iter().map(|c| (*c, frame(graph.node(&format!("{c:?}"))))).collect(),
        ..Layout::default()
    };
    out.touch(picture);
    out.settle();
    out
}

/// Pixels that a wire goes straight up or down at its ends.
const STUB: f64 = 13.0;

impl Layout {
    /// Lets wires end at the nodes' upper and lower edges.
    fn touch(&mut self, picture: &Picture) {
        let shapes: Vec<Outline> = picture.nodes.iter().map(|node| node.shape).collect();
        let mut ends = Vec::new();
        for (wire, (points, _)) in self.wires.iter().enumerate().filter(|(_, wire)| wire.0.len() > 2) {
            let (upper, lower) = ends_of(picture, &picture.wires[wire]);
            if upper == lower {
                continue;
            }
            let down = points[0].1 < points[points.len() - 1].1;
            let (first, last) = if down { (upper, lower) } else { (lower, upper) };
            ends.push(End { wire, last: false, node: first, upper: !down, x: points[1].0 });
            ends.push(End { wire, last: true, node: last, upper: down, x: points[points.len() - 2].0 });
        }
        let mut ends = spread(ends, &self.nodes, &shapes);
        // last ends first, so that what is put in front of them moves no other end
        ends.sort_by_key(|end| !end.last);
        for End { wire, last, node, upper, x } in ends {
            let y = height(&self.nodes[node], shapes[node], upper, x);
            let upright = (x, if upper { y - STUB } else { y + STUB });
            let points = &mut self.wires[wire].0;
            let end = if last { points.len() - 1 } else { 0 };
            points[end] = (x, y);
            points.insert(if last { end } else { 1 }, upright);
        }
    }

    /// Moves everything to positive places and measures the whole.
    fn settle(&mut self) {
        let frames = self.nodes.iter().chain(self.wires.iter().map(|(_, label)| label));
        let frames: Vec<Frame> =
            frames.chain(self.clusters.iter().map(|(_, frame)| frame)).copied().collect();
        let points = || self.wires.iter().flat_map(|(points, _)| points.iter().copied());
        let lefts = frames.iter().map(|f| f.x - f.width / 2.0).chain(points().map(|p| p.0));
        let rights = frames.iter().map(|f| f.x + f.width / 2.0).chain(points().map(|p| p.0));
        let tops = frames.iter().map(|f| f.y - f.height / 2.0).chain(points().map(|p| p.1));
        let bottoms = frames.iter().map(|f| f.y + f.height / 2.0).chain(points().map(|p| p.1));
        let (left, top) = (lefts.fold(f64::MAX, f64::min) - MARGIN, tops.fold(f64::MAX, f64::min) - MARGIN);
        self.width = rights.fold(0.0, f64::max) - left + MARGIN;
        self.height = bottoms.fold(0.0, f64::max) - top + MARGIN;
        let shift = |frame: &mut Frame| (frame.x, frame.y) = (frame.x - left, frame.y - top);
        self.nodes.iter_mut().for_each(shift);
        self.clusters.iter_mut().for_each(|(_, frame)| shift(frame));
        for (points, label) in &mut self.wires {
            shift(label);
            points.iter_mut().for_each(|(x, y)| (*x, *y) = (*x - left, *y - top));
        }
    }
}
