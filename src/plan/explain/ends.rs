//! Where wires touch nodes: at the upper and lower edges, apart from each other, so that no wire cuts through a node.

use super::layout::Frame;
use super::picture::Outline;

/// Pixels between the ends of two wires at one edge.
const APART: f64 = 16.0;

/// An end of a wire at a node's edge.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub wire: usize,
    /// The last point of the wire's line, or the first.
    pub last: bool,
    pub node: usize,
    /// At the node's upper edge.
    pub upper: bool,
    /// Where the wire comes from: the next point's place.
    pub x: f64,
}

/// The wires' ends with their places along the edges, spread out.
pub fn spread(mut ends: Vec<End>, frames: &[Frame], shapes: &[Outline]) -> Vec<End> {
    ends.sort_by(|a, b| (a.node, a.upper).cmp(&(b.node, b.upper)).then(a.x.total_cmp(&b.x)));
    for edge in ends.chunk_by_mut(|a, b| (a.node, a.upper) == (b.node, b.upper)) {
        let (left, right) = reach(&frames[edge[0].node], shapes[edge[0].node], edge[0].upper);
        let apart = APART.min((right - left) / edge.len() as f64);
        let mut least = left;
        for end in edge.iter_mut() {
            end.x = end.x.clamp(left, right).max(least);
            least = end.x + apart;
        }
        let mut most = right;
        for end in edge.iter_mut().rev() {
            end.x = end.x.min(most);
            most = end.x - apart;
        }
    }
    ends
}

/// The stretch of a node's edge that wires may touch.
fn reach(frame: &Frame, shape: Outline, upper: bool) -> (f64, f64) {
    let (left, right) = (frame.x - frame.width / 2.0, frame.x + frame.width / 2.0);
    let (from_left, from_right) = match shape {
        Outline::Hexagon => (22.0, 22.0),
        Outline::Octagon => (16.0, 16.0),
        Outline::Slanted if upper => (20.0, 6.0),
        Outline::Slanted => (6.0, 20.0),
        Outline::Ellipse => (frame.width * 0.15, frame.width * 0.15),
        Outline::Note if upper => (8.0, 18.0),
        _ => (10.0, 10.0),
    };
    (left + from_left, right - from_right)
}

/// The height of a node's edge at a place along it.
pub fn height(frame: &Frame, shape: Outline, upper: bool, x: f64) -> f64 {
    let side = if upper { -1.0 } else { 1.0 };
    let edge = frame.y + side * frame.height / 2.0;
    let across = ((x - frame.x) / (frame.width / 2.0)).clamp(-1.0, 1.0);
    let arc = (1.0 - across * across).sqrt();
    match shape {
        Outline::Ellipse => frame.y + side * arc * frame.height / 2.0,
        Outline::Cylinder => edge - side * super::outline::LID * (1.0 - arc),
        Outline::House if upper => edge + super::outline::ROOF * across.abs(),
        _ => edge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_stay_on_the_edge_and_apart() {
        let frame = Frame { x: 100.0, y: 50.0, width: 100.0, height: 40.0 };
        let end = |wire, x| End { wire, last: true, node: 0, upper: true, x };
        let spread = spread(vec![end(0, 500.0), end(1, 400.0), end(2, -50.0)], &[frame], &[Outline::Box]);
        let places: Vec<(usize, f64)> = spread.iter().map(|end| (end.wire, end.x)).collect();
        assert_eq!(places, [(2, 60.0), (1, 124.0), (0, 140.0)]);
        assert_eq!(height(&frame, Outline::Box, true, 60.0), 30.0);
        assert_eq!(height(&frame, Outline::House, true, 100.0), 30.0);
    }
}
