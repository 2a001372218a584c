//! The shapes of an SVG's nodes.

use super::layout::Frame;
use super::picture::Outline;

/// How far a house's roof reaches down, and the half height of a cylinder's lid.
pub const ROOF: f64 = 16.0;
pub const LID: f64 = 7.0;

/// A node's outline as SVG.
pub fn outline(shape: Outline, frame: &Frame, style: &str) -> String {
    let Frame { x, y, width, height } = *frame;
    let (l, r, t, b) = (x - width / 2.0, x + width / 2.0, y - height / 2.0, y + height / 2.0);
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        format!("<polygon points=\"{}\" stroke-linejoin=\"round\" {style}/>\n", points.join(" "))
    };
    match shape {
        Outline::Slanted => polygon(&[(l + 14.0, t), (r, t), (r - 14.0, b), (l, b)]),
        Outline::Hexagon => {
            polygon(&[(l + 16.0, t), (r - 16.0, t), (r, y), (r - 16.0, b), (l + 16.0, b), (l, y)])
        }
        Outline::Octagon => {
            let c = 12.0;
            polygon(&[
                (l + c, t),
                (r - c, t),
                (r, t + c),
                (r, b - c),
                (r - c, b),
                (l + c, b),
                (l, b - c),
                (l, t + c),
            ])
        }
        Outline::House => polygon(&[(x, t), (r, t + ROOF), (r, b), (l, b), (l, t + ROOF)]),
        Outline::Note => polygon(&[(l, t), (r - 12.0, t), (r, t + 12.0), (r, b), (l, b)]),
        Outline::Ellipse => {
            let (rx, ry) = (width / 2.0, height / 2.0);
            format!("<ellipse cx=\"{x:.1}\" cy=\"{y:.1}\" rx=\"{rx:.1}\" ry=\"{ry:.1}\" {style}/>\n")
        }
        Outline::Cylinder => cylinder(frame, style),
        Outline::Box => format!(
            "<rect x=\"{l:.1}\" y=\"{t:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" {style}/>\n"
        ),
    }
}

/// A can, seen from above.
fn cylinder(frame: &Frame, style: &str) -> String {
    let (left, width, lid) = (frame.x - frame.width / 2.0, frame.width, LID);
    let (top, bottom) = (frame.y - frame.height / 2.0 + lid, frame.y + frame.height / 2.0 - lid);
    let (right, half) = (left + width, width / 2.0);
    let arc = format!("A{half:.1} {lid} 0 0 0");
    format!(
        "<path d=\"M{left:.1} {top:.1}V{bottom:.1}{arc} {right:.1} {bottom:.1}V{top:.1}{arc} {left:.1} {top:.1}\
         {arc} {right:.1} {top:.1}\" {style}/>\n"
    )
}
