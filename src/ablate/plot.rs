//! A small picture of some curves over steps, as SVG in a page.

use std::error::Error;

use plotters::prelude::*;

/// Width and height in pixels.
const SIZE: (u32, u32) = (250, 150);

/// A curve's part in its picture. The page gives each a colour for light and one for dark; these stand in the SVG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// What is shown.
    First,
    /// What is shown beside it.
    Second,
    /// What it is compared with.
    Faint,
}

/// Lines of the scale, and its figures.
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const TEXT: RGBColor = RGBColor(0x77, 0x77, 0x77);

impl Ink {
    fn color(self) -> RGBColor {
        match self {
            Ink::First => RGBColor(0x25, 0x63, 0xeb),
            Ink::Second => RGBColor(0xd9, 0x77, 0x06),
            Ink::Faint => RGBColor(0xcc, 0xcc, 0xcc),
        }
    }
}

/// The colours of the pictures as a page's style sets them, from variables of these names.
pub fn style() -> String {
    let word = |color: RGBColor| format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2);
    let inks = [
        (Ink::First.color(), "--first"),
        (Ink::Second.color(), "--second"),
        (Ink::Faint.color(), "--faint"),
        (GRID, "--grid"),
    ];
    let strokes =
        inks.map(|(color, name)| format!(".plot [stroke=\"{}\"] {{ stroke: var({name}) }}", word(color)));
    format!("{}\n.plot text {{ fill: var(--quiet) }}", strokes.join("\n"))
}

/// Curves over steps from 0 to `steps` and values within `range`; those that come first lie below.
pub fn plot(curves: &[(Ink, Vec<(f64, f64)>)], steps: f64, range: (f64, f64)) -> String {
    let mut svg = String::new();
    match draw(&mut svg, curves, steps, range) {
        Ok(()) => svg,
        // drawing into memory does not fail
        Err(_) => String::new(),
    }
}

fn draw(
    svg: &mut String,
    curves: &[(Ink, Vec<(f64, f64)>)],
    steps: f64,
    (low, high): (f64, f64),
) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    {
        let mut chart = ChartBuilder::on(&area)
            .margin_top(8)
            .margin_right(12)
            .x_label_area_size(20)
            .y_label_area_size(42)
            .build_cartesian_2d(0.0..steps.max(1.0), low..high)
            .map_err(plain)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(4)
            .y_labels(4)
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|value| figure(*value, high - low))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GRID)
            .label_style(("sans-serif", 12).into_font().color(&TEXT))
            .draw()
            .map_err(plain)?;
        for (ink, points) in curves {
            let width = if *ink == Ink::Faint { 1 } else { 2 };
            let inside = |(_, y): &&(f64, f64)| y.is_finite();
            let line =
                LineSeries::new(points.iter().filter(inside).copied(), ink.color().stroke_width(width));
            chart.draw_series(line).map_err(plain)?;
        }
    }
    area.present().map_err(plain)
}

/// The area's error borrows from it.
fn plain(error: impl std::fmt::Display) -> Box<dyn Error> {
    error.to_string().into()
}

/// A figure of the scale, with the places that tell it from its neighbours.
fn figure(value: f64, span: f64) -> String {
    let places = if span >= 20.0 {
        0
    } else if span >= 2.0 {
        1
    } else if span >= 0.1 {
        2
    } else {
        4
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_lie_within_the_picture_in_their_colours() {
        let curves = [
            (Ink::Faint, vec![(0.0, 1.0), (9.0, 2.0)]),
            (Ink::First, vec![(0.0, 2.0), (5.0, f64::NAN), (9.0, 1.0)]),
        ];
        let svg = plot(&curves, 9.0, (1.0, 2.0));
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for color in ["#CCCCCC", "#2563EB", "#DDDDDD"] {
            assert!(svg.contains(color) && style().contains(color), "{color}");
        }
        assert!(!svg.contains("#D97706") && !svg.contains("NaN"));
    }
}
