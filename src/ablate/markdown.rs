//! The report as Markdown.

use super::outcome::Outcome;
use super::variant::{Ablation, Variant};
use crate::plan::explain::diff::{changes, diff};
use crate::plan::explain::picture::Picture;

/// The columns of the table of figures.
pub const COLUMNS: [&str; 9] = [
    "variant",
    "k-NN, %",
    "published",
    "loss",
    "target entropy / ln K",
    "batch entropy / ln K",
    "KL",
    "ms a step",
    "peak memory, MB",
];

/// A variant's figures at its runs' ends, in the columns' order.
pub fn figures(outcome: &Outcome) -> [String; 9] {
    let word =
        |spread: Option<super::spread::Spread>, places| spread.map_or("–".into(), |s| s.word(places));
    let last = |series: &[(u64, f64)]| series.last().map(|(_, value)| *value);
    [
        outcome.name.clone(),
        word(outcome.knn(), 1),
        outcome.published.clone().unwrap_or_else(|| "–".into()),
        word(outcome.spread(|run| last(&run.record.loss)), 3),
        word(outcome.spread(|run| last(&run.record.teacher_entropy)), 2),
        word(outcome.spread(|run| last(&run.record.batch_entropy)), 2),
        word(outcome.spread(|run| last(&run.record.kl)), 3),
        word(outcome.step_ms(), 1),
        outcome.peak_bytes().map_or("–".into(), |bytes| format!("{:.0}", bytes as f64 / 1e6)),
    ]
}

/// The picture of what differs from the first variant; none for that one itself.
pub fn difference(ablation: &Ablation, variant: &Variant) -> Option<Picture> {
    let first = ablation.variants.first().filter(|first| first.name != variant.name)?;
    Some(diff(&first.picture, &variant.picture))
}

/// What a table of this report is about.
pub fn about(ablation: &Ablation) -> String {
    let seeds: Vec<String> = ablation.seeds.iter().map(u64::to_string).collect();
    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{} · {word} {}", ablation.graph.display(), seeds.join(", "))
}

/// The page.
pub fn page(ablation: &Ablation, outcomes: &[Outcome]) -> String {
    let mut out = format!("# {}\n\n{}\n\n", ablation.title, about(ablation));
    for outcome in outcomes {
        out += &format!("- **{}**: {}\n", outcome.name, outcome.line());
    }
    out += &format!("\n## Figures\n\n{}\n{}\n", row(&COLUMNS), row(&["---"; 9]));
    for outcome in outcomes {
        out += &format!("{}\n", row(&figures(outcome)));
    }
    out += "\nAt the end of the runs; mean ± deviation over the seeds. The curves are in report.html.\n";
    out += &format!("\n## What differs from `{}`\n", outcomes.first().map_or("", |first| &first.name));
    for variant in &ablation.variants {
        let Some(difference) = difference(ablation, variant) else { continue };
        out += &format!("\n**{}**\n\n", variant.name);
        for line in changes(&difference) {
            out += &format!("- `{line}`\n");
        }
    }
    out
}

fn row(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
    format!("| {} |", cells.join(" | "))
}
