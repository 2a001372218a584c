//! The report as one page that needs nothing else: no network, no script.

use maud::{Markup, PreEscaped, html};

use super::end::End;
use super::markdown::{COLUMNS, about, difference, figures};
use super::outcome::{Met, Outcome};
use super::result::{Record, RunResult};
use super::variant::{Ablation, Variant};
use crate::plan::explain::diff::changes;
use crate::plan::explain::svg::svg;
use crate::report::page::plot::{Ink, SMALL, plot};
use crate::report::page::series::{curve, range};
use crate::report::page::shell::{data_url, shell};

/// Points of a curve at most; more can't be told apart at its size.
const POINTS: usize = 150;

/// A series of a record.
type Series = fn(&Record) -> &[(u64, f64)];

/// A column of curves.
struct Column {
    title: &'static str,
    first: Series,
    second: Option<Series>,
    /// The scale, where it is fixed.
    range: Option<(f64, f64)>,
}

fn columns() -> [Column; 4] {
    let column = |title, first: Series| Column { title, first, second: None, range: None };
    [
        column("loss", |record| &record.loss),
        Column {
            second: Some(|record| &record.batch_entropy),
            range: Some((0.0, 1.05)),
            ..column("entropy / ln K", |record| &record.teacher_entropy)
        },
        column("KL", |record| &record.kl),
        column("k-NN, %", |record| &record.knn),
    ]
}

/// The page.
pub fn page(ablation: &Ablation, outcomes: &[Outcome]) -> String {
    shell(
        &ablation.title,
        html! {
            header {
                h1 { (ablation.title) }
                p.quiet { (about(ablation)) }
            }
            section { (summary(outcomes)) }
            section { h2 { "Curves" } (curves(outcomes)) }
            section { h2 { "Figures" } (table(outcomes)) }
            section { (differences(ablation)) }
            footer.quiet { "dinoflow ablate" }
        },
    )
}

/// What came of a variant, as the mark beside it: its class and its sign.
fn mark(outcome: &Outcome) -> (&'static str, &'static str) {
    let ends: Vec<End> = outcome.runs.iter().map(End::of).collect();
    match () {
        () if ends.iter().any(|end| matches!(end, End::Failed(_))) => ("failed", "✕"),
        () if ends.iter().any(|end| matches!(end, End::Collapsed(_))) => ("collapsed", "▼"),
        () if ends.contains(&End::Unlearnt) => ("collapsed", "▽"),
        () if ends.iter().any(|end| !end.tells()) => ("unfinished", "○"),
        () => ("trained", "●"),
    }
}

fn summary(outcomes: &[Outcome]) -> Markup {
    html! {
        table.summary {
            tbody {
                @for outcome in outcomes {
                    @let (class, sign) = mark(outcome);
                    tr {
                        td class=(class) { (sign) }
                        th scope="row" { (outcome.name) }
                        td { (outcome.word()) }
                        td.number { @if let Some(knn) = outcome.knn_word() { (knn) } }
                        td.number.quiet { @if let Some(published) = &outcome.published { "published " (published) } }
                        td { (met(outcome)) }
                    }
                }
            }
        }
    }
}

fn met(outcome: &Outcome) -> Markup {
    let (class, sign) = match outcome.met() {
        Some(Met::Yes) => ("met", "✓ "),
        Some(Met::No) => ("unmet", "✕ "),
        Some(Met::Partly(..)) => ("unmet", "~ "),
        Some(Met::Unknown) | None => ("quiet", ""),
    };
    html! { span class=(class) { (sign) (outcome.verdict().unwrap_or_default()) } }
}

/// A row of pictures for each variant, on the same scales.
fn curves(outcomes: &[Outcome]) -> Markup {
    let runs = || outcomes.iter().flat_map(|outcome| &outcome.runs);
    let steps =
        runs().filter_map(|run| run.record.loss.last()).map(|(step, _)| *step).max().unwrap_or(1) as f64;
    let scaled = columns().into_iter().filter_map(|column| {
        let found = range(runs().map(|run| (column.first)(&run.record)))?;
        let range = column.range.unwrap_or(found);
        Some((column, range))
    });
    let scaled: Vec<(Column, (f64, f64))> = scaled.collect();
    html! {
        p.quiet {
            "One row for each variant, one line for each seed, on the same scales; the other variants in grey. Entropy: "
            span.first { "of a target" } " and " span.second { "of the batch's mean target" } "."
        }
        @for outcome in outcomes {
            @let (class, sign) = mark(outcome);
            article {
                h3 { span class=(class) { (sign) } " " (outcome.name) " " span.quiet { (outcome.word()) } }
                @if outcome.runs.iter().any(|run| !run.record.loss.is_empty()) {
                    div.row {
                        @for (column, range) in &scaled {
                            figure {
                                figcaption { (column.title) }
                                div.plot { (PreEscaped(picture(outcomes, outcome, column, steps, *range))) }
                            }
                        }
                    }
                }
                (doctor(outcome))
            }
        }
    }
}

fn picture(outcomes: &[Outcome], own: &Outcome, column: &Column, steps: f64, range: (f64, f64)) -> String {
    let others =
        outcomes.iter().filter(|other| other.name != own.name).filter_map(|other| other.runs.first());
    let faint = others.map(|run| (Ink::Faint, curve((column.first)(&run.record), POINTS)));
    let second = column.second.map(|second| {
        own.runs.iter().map(move |run: &RunResult| (Ink::Second, curve(second(&run.record), POINTS)))
    });
    let first = own.runs.iter().map(|run| (Ink::First, curve((column.first)(&run.record), POINTS)));
    let all: Vec<(Ink, Vec<(f64, f64)>)> = faint.chain(second.into_iter().flatten()).chain(first).collect();
    plot(SMALL, &all, steps, range)
}

/// What the doctor has to say of a collapsed variant.
fn doctor(outcome: &Outcome) -> Markup {
    let collapsed = outcome.runs.iter().find(|run| matches!(End::of(run), End::Collapsed(_)));
    let cause = collapsed.and_then(|run| run.diagnosis.as_ref()?.causes.first());
    html! {
        @if let Some(cause) = cause {
            p { "Likely cause: " (cause.what) ". Remedy: " code { (cause.remedy) } }
        }
    }
}

fn table(outcomes: &[Outcome]) -> Markup {
    html! {
        div.scroll {
            table.figures {
                thead { tr { @for column in COLUMNS { th scope="col" { (column) } } } }
                tbody {
                    @for outcome in outcomes {
                        tr {
                            @for (index, cell) in figures(outcome).iter().enumerate() {
                                @if index == 0 { th scope="row" { (cell) } } @else { td.number { (cell) } }
                            }
                        }
                    }
                }
            }
        }
        p.quiet { "At the end of the runs; mean ± deviation over the seeds." }
    }
}

fn differences(ablation: &Ablation) -> Markup {
    let first = ablation.variants.first().map_or("", |first| first.name.as_str());
    html! {
        h2 { "What differs from “" (first) "”" }
        @for variant in &ablation.variants { (difference_of(ablation, variant)) }
    }
}

fn difference_of(ablation: &Ablation, variant: &Variant) -> Markup {
    html! {
        @if let Some(picture) = difference(ablation, variant) {
            article {
                h3 { (variant.name) }
                ul { @for line in changes(&picture) { li { code { (line) } } } }
                details {
                    summary { "the graph, drawn" }
                    img alt=(format!("what differs in the graph of {}", variant.name)) src=(data_url("image/svg+xml", svg(&picture).as_bytes()));
                }
            }
        }
    }
}
