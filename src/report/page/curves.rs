//! The curves of a page: one run by itself, or several over each other.

use maud::{Markup, PreEscaped, html};

use super::plot::{Ink, LARGE, plot};
use super::record::Series;
use super::run::Run;
use super::series::{curve, range};

/// Points of a curve at most; more can't be told apart at its size, and would make the page heavy.
const POINTS: usize = 600;

/// A picture: its title, what its second curve is, and its curves.
struct Chart {
    title: String,
    /// What is solid and what is dashed, where there are both.
    parts: Option<(&'static str, &'static str)>,
    curves: Vec<(Ink, Series)>,
    /// The scale, where it is fixed.
    range: Option<(f64, f64)>,
}

/// Keys of a step's line with their titles, in the order of the page.
const TITLES: [(&str, &str); 12] = [
    ("loss", "loss, nats"),
    ("kl", "KL: what the student has left to learn, nats"),
    ("grad_norm", "gradient norm before clipping"),
    ("center_norm", "length of the centre"),
    ("used_prototypes", "prototypes in use in a batch"),
    ("agreement", "student and teacher agree, part of the pictures"),
    ("effective_rank", "effective rank of the features"),
    ("lr", "learning rate"),
    ("weight_decay", "weight decay"),
    ("teacher_momentum", "teacher momentum"),
    ("teacher_temperature", "teacher temperature"),
    ("images_per_second", "pictures per second"),
];
/// Those two stand in one picture.
const ENTROPIES: [&str; 2] = ["teacher_entropy", "batch_entropy"];

/// All pictures that the runs have something for.
pub fn curves(runs: &[Run]) -> Markup {
    let steps = runs.iter().map(|run| run.record.length()).max().unwrap_or(1).max(1) as f64;
    let charts = charts(runs);
    html! {
        @if charts.is_empty() {
            p.quiet { "No steps were recorded." }
        }
        @if runs.len() > 1 { (legend(runs)) }
        div.charts {
            @for chart in &charts {
                figure {
                    figcaption {
                        (chart.title)
                        @if let Some((solid, dashed)) = chart.parts { (parts(runs.len(), solid, dashed)) }
                    }
                    div.plot { (PreEscaped(drawn(chart, steps))) }
                }
            }
        }
        @if let Some(stretch) = thinned(runs) {
            p.quiet { "The longest of these runs is thinned: a point is the mean of " (stretch) " steps." }
        }
    }
}

/// How many steps a point of the longest series stands for, where that is more than one.
fn thinned(runs: &[Run]) -> Option<usize> {
    let longest = runs.iter().flat_map(|run| run.record.steps.values()).map(Vec::len).max()?;
    Some(longest.div_ceil(POINTS)).filter(|stretch| *stretch > 1)
}

/// Which colour is which run.
pub fn legend(runs: &[Run]) -> Markup {
    html! {
        ul.legend aria-label="colours of the runs" {
            @for (index, run) in runs.iter().enumerate() {
                li { span.swatch style=(format!("background: var({})", Ink::Run(index).variable())) {} " " (run.name) }
            }
        }
    }
}

/// Which curve of a picture is which.
fn parts(runs: usize, first: &str, second: &str) -> Markup {
    match runs {
        1 => html! { ": " span.first { (first) } ", " span.second { (second) } },
        _ => html! { ": " (first) " solid, " (second) " dashed" },
    }
}

fn drawn(chart: &Chart, steps: f64) -> String {
    let found = range(chart.curves.iter().map(|(_, series)| series.as_slice()));
    let Some(range) = chart.range.or(found) else { return String::new() };
    let curves: Vec<_> = chart.curves.iter().map(|(ink, series)| (*ink, curve(series, POINTS))).collect();
    plot(LARGE, &curves, steps, range)
}

/// The inks of a run's two curves.
fn inks(runs: &[Run], index: usize) -> (Ink, Ink) {
    if runs.len() == 1 { (Ink::First, Ink::Second) } else { (Ink::Run(index), Ink::Dashed(index)) }
}

fn charts(runs: &[Run]) -> Vec<Chart> {
    let mut charts: Vec<Chart> = Vec::new();
    let (first, rest) = TITLES.split_at(1);
    charts.extend(first.iter().filter_map(|(key, title)| single(runs, key, title)));
    charts.extend(entropies(runs));
    charts.extend(neighbours(runs));
    charts.extend(rest.iter().filter_map(|(key, title)| single(runs, key, title)));
    let known = |key: &str| TITLES.iter().any(|(known, _)| *known == key) || ENTROPIES.contains(&key);
    let mut others: Vec<&String> =
        runs.iter().flat_map(|run| run.record.steps.keys()).filter(|key| !known(key)).collect();
    others.sort();
    others.dedup();
    charts.extend(others.into_iter().filter_map(|key| single(runs, key, key)));
    charts
}

/// One series of each run.
fn single(runs: &[Run], key: &str, title: &str) -> Option<Chart> {
    let of = |(index, run): (usize, &Run)| (inks(runs, index).0, run.record.series(key).to_vec());
    let curves: Vec<(Ink, Series)> = runs.iter().enumerate().map(of).filter(|(_, s)| !s.is_empty()).collect();
    let chart = Chart { title: title.into(), parts: None, curves, range: None };
    (!chart.curves.is_empty()).then_some(chart)
}

/// Entropy of a target and of the mean target, as parts of ln K where K is known to all.
fn entropies(runs: &[Run]) -> Option<Chart> {
    let most: Vec<Option<f64>> = runs
        .iter()
        .map(|run| Some((run.diagnosis.as_ref()?.prototypes.filter(|k| *k > 1)? as f64).ln()))
        .collect();
    let parts = most.iter().all(Option::is_some);
    let mut curves = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let scale = most[index].filter(|_| parts).unwrap_or(1.0);
        let of = |key: &str| -> Series {
            run.record.series(key).iter().map(|(step, entropy)| (*step, entropy / scale)).collect()
        };
        let (first, second) = inks(runs, index);
        let [target, batch] = ENTROPIES.map(of);
        curves
            .extend([(second, batch), (first, target)].into_iter().filter(|(_, series)| !series.is_empty()));
    }
    let title = if parts { "entropy, parts of ln K" } else { "entropy, nats" };
    let chart = Chart {
        title: title.into(),
        parts: Some(("of a target", "of the batch's mean target")),
        curves,
        range: parts.then_some((0.0, 1.05)),
    };
    (!chart.curves.is_empty()).then_some(chart)
}

/// A picture for each number of neighbours; raw pixels, once, as a faint line.
fn neighbours(runs: &[Run]) -> Vec<Chart> {
    let mut all: Vec<u64> = runs.iter().flat_map(|run| run.record.neighbours()).collect();
    all.sort_unstable();
    all.dedup();
    let chart = |k: u64| {
        let mut curves = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            let (first, second) = inks(runs, index);
            if let Some((_, pixels)) = run.record.accuracy("pixels", k).first().filter(|_| index == 0) {
                curves.push((Ink::Faint, vec![(0, *pixels), (run.record.length().max(1), *pixels)]));
            }
            let of = |network: &str| run.record.accuracy(network, k).to_vec();
            let both = [(second, of("student")), (first, of("teacher"))];
            curves.extend(both.into_iter().filter(|(_, series)| !series.is_empty()));
        }
        let title = format!("{k}-NN accuracy, % (grey: raw pixels)");
        Chart { title, parts: Some(("teacher", "student")), curves, range: None }
    };
    all.into_iter().map(chart).collect()
}
