//! A picture of some curves over steps, as SVG in a page.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Width and height in pixels of a picture among many, and of one that is read closely.
pub const SMALL: (u32, u32) = (250, 150);
pub const LARGE: (u32, u32) = (520, 220);

/// Series of so few points are drawn with a dot at each.
const FEW: usize = 60;

/// A curve's part in its picture. The page gives each a colour for light and one for dark; these stand in the SVG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// What is shown.
    First,
    /// What is shown beside it.
    Second,
    /// What it is compared with.
    Faint,
    /// One run of several, the first of its two curves.
    Run(usize),
    /// The second, dashed.
    Dashed(usize),
}

/// A curve: points of a step and a value.
pub type Curve = (Ink, Vec<(f64, f64)>);

/// Lines of the scale, and its figures.
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const TEXT: RGBColor = RGBColor(0x77, 0x77, 0x77);

/// Colours that tell runs apart, on white and on black; there are no more, and they begin again.
const RUNS: [(RGBColor, &str); 8] = [
    (RGBColor(0x24, 0x63, 0xeb), "#7aa7ff"),
    (RGBColor(0xd8, 0x77, 0x06), "#f2b04a"),
    (RGBColor(0x15, 0x80, 0x3d), "#5fd38a"),
    (RGBColor(0xbe, 0x18, 0x5d), "#ff8fc0"),
    (RGBColor(0x0e, 0x74, 0x90), "#5cc8e0"),
    (RGBColor(0x7c, 0x3a, 0xed), "#b79cff"),
    (RGBColor(0x92, 0x40, 0x0e), "#d9a273"),
    (RGBColor(0x57, 0x53, 0x4e), "#b8b3ac"),
];

impl Ink {
    fn color(self) -> RGBColor {
        match self {
            Ink::First => RGBColor(0x25, 0x63, 0xeb),
            Ink::Second => RGBColor(0xd9, 0x77, 0x06),
            Ink::Faint => RGBColor(0xcc, 0xcc, 0xcc),
            Ink::Run(run) => RUNS[run % RUNS.len()].0,
            // told from the other by its last bit, so that the page can dash it
            Ink::Dashed(run) => {
                let RGBColor(red, green, blue) = RUNS[run % RUNS.len()].0;
                RGBColor(red, green ^ 0x80, blue)
            }
        }
    }

    /// The variable of the page's style that holds its colour.
    pub fn variable(self) -> String {
        match self {
            Ink::First => "--first".into(),
            Ink::Second => "--second".into(),
            Ink::Faint => "--faint".into(),
            Ink::Run(run) | Ink::Dashed(run) => format!("--run{}", run % RUNS.len()),
        }
    }
}

fn word(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// The colours of the pictures as a page's style sets them, from variables of these names.
pub fn style() -> String {
    let (light, dark): (Vec<String>, Vec<String>) = RUNS
        .iter()
        .enumerate()
        .map(|(run, (light, dark))| {
            (format!("--run{run}: {};", word(*light)), format!("--run{run}: {dark};"))
        })
        .unzip();
    let runs = (0..RUNS.len()).flat_map(|run| [Ink::Run(run), Ink::Dashed(run)]);
    let inks = [Ink::First, Ink::Second, Ink::Faint].into_iter().chain(runs);
    let color = |ink: Ink| {
        let (word, name) = (word(ink.color()), ink.variable());
        format!(
            ".plot [stroke=\"{word}\"] {{ stroke: var({name}) }}\n\
             .plot [fill=\"{word}\"] {{ fill: var({name}) }}\n"
        )
    };
    let dash = |run| {
        format!(".plot polyline[stroke=\"{}\"] {{ stroke-dasharray: 5 4 }}\n", word(Ink::Dashed(run).color()))
    };
    format!(
        "\n:root {{ {} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {} }} }}\n{}{}\
         .plot [stroke=\"{}\"] {{ stroke: var(--grid) }}\n.plot text {{ fill: var(--quiet) }}",
        light.join(" "),
        dark.join(" "),
        inks.map(color).collect::<String>(),
        (0..RUNS.len()).map(dash).collect::<String>(),
        word(GRID)
    )
}

/// Curves over steps from 0 to `steps` and values within `range`, in a picture of this size; those that come first lie below.
pub fn plot(size: (u32, u32), curves: &[Curve], steps: f64, range: (f64, f64)) -> String {
    let mut svg = String::new();
    match draw(&mut svg, size, curves, steps, range) {
        Ok(()) => scalable(&svg, size),
        // drawing into memory does not fail
        Err(_) => String::new(),
    }
}

/// The picture without a size of its own: the page's style says how wide it is.
fn scalable(svg: &str, (width, height): (u32, u32)) -> String {
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\"");
    svg.replacen(&fixed, "<svg", 1)
}

fn draw(
    svg: &mut String,
    size: (u32, u32),
    curves: &[Curve],
    steps: f64,
    range: (f64, f64),
) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    draw_on(&area, size == LARGE, curves, steps, range)?;
    area.present().map_err(plain)
}

fn draw_on(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    large: bool,
    curves: &[Curve],
    steps: f64,
    (low, high): (f64, f64),
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(8)
        .margin_right(14)
        .x_label_area_size(22)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..steps.max(1.0), low..high)
        .map_err(plain)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(if large { 6 } else { 4 })
        .y_labels(if large { 5 } else { 4 })
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| figure(*value, high - low))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .label_style(("sans-serif", 12).into_font().color(&TEXT))
        .draw()
        .map_err(plain)?;
    for (ink, points) in curves {
        let inside: Vec<(f64, f64)> = points.iter().filter(|(_, y)| y.is_finite()).copied().collect();
        let style = ink.color().stroke_width(if *ink == Ink::Faint { 1 } else { 2 });
        chart.draw_series(LineSeries::new(inside.iter().copied(), style)).map_err(plain)?;
        if large && inside.len() <= FEW && *ink != Ink::Faint {
            let dots = inside.iter().map(|point| Circle::new(*point, 3, ink.color().filled()));
            chart.draw_series(dots).map_err(plain)?;
        }
    }
    Ok(())
}

/// The area's error borrows from it.
fn plain(error: impl std::fmt::Display) -> Box<dyn Error> {
    error.to_string().into()
}

/// A figure of the scale, with the places that tell it from its neighbours.
fn figure(value: f64, span: f64) -> String {
    let places = match span {
        span if span >= 20.0 => 0,
        span if span >= 2.0 => 1,
        span if span >= 0.1 => 2,
        span if span >= 1e-3 => 4,
        _ => return format!("{value:.1e}"),
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
            (Ink::Run(1), vec![(0.0, 1.0), (9.0, 1.5)]),
            (Ink::First, vec![(0.0, 2.0), (5.0, f64::NAN), (9.0, 1.0)]),
        ];
        let svg = plot(LARGE, &curves, 9.0, (1.0, 2.0));
        assert!(
            svg.starts_with("<svg viewBox=\"0 0 520 220\"") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        for color in ["#CCCCCC", "#2563EB", "#D87706", "#DDDDDD"] {
            assert!(svg.contains(color) && style().contains(color), "{color}");
        }
        assert!(!svg.contains("#D97706") && !svg.contains("NaN"));
        // dots where there are few points
        assert_eq!(svg.matches("<circle").count(), 4);
        let every: std::collections::BTreeSet<String> = (0..8)
            .flat_map(|run| [Ink::Run(run), Ink::Dashed(run)])
            .chain([Ink::First, Ink::Second, Ink::Faint])
            .map(|ink| word(ink.color()))
            .collect();
        assert_eq!(every.len(), 19);
    }

    #[test]
    fn figures_of_a_scale_differ() {
        let check = |value: f64, span: f64, expected: &str| assert_eq!(figure(value, span), expected);
        check(1234.4, 900.0, "1234");
        check(0.25, 0.5, "0.25");
        check(0.00025, 0.0005, "2.5e-4");
    }
}
