//! What runs were on: the program, the machine, the data; and what their folders hold.

use std::path::Path;

use maud::{Markup, html};

use super::run::Run;
use crate::plan::explain::words::{bytes, count};

/// A table with a column for each run.
pub fn environment(runs: &[Run]) -> Markup {
    let columns: Vec<Vec<(&str, String)>> = runs.iter().map(facts).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let value = |column: &[(&str, String)], name: &str| {
        column.iter().find(|(other, _)| *other == name).map_or("–".to_owned(), |(_, value)| value.clone())
    };
    html! {
        div.scroll tabindex="0" role="group" aria-label="environment" {
            table.figures.settings {
                @if runs.len() > 1 { thead { tr { th {} @for run in runs { th scope="col" { (run.name) } } } } }
                tbody {
                    @for name in &names {
                        tr { th scope="row" { (name) } @for column in &columns { td { (value(column, name)) } } }
                    }
                }
            }
        }
    }
}

fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(timings) = &run.timings {
        let own = &timings.environment;
        let steps = &timings.steps;
        facts.extend([
            ("program", format!("dinoflow {}", own.version)),
            ("system", own.system.clone()),
            ("device", own.device.clone()),
            ("instructions", own.instructions.clone()),
            ("precision", own.precision.clone()),
            ("threads", format!("{} of {} cores", own.threads, own.cores)),
            (
                "pictures an epoch",
                format!("{}, in {} steps", count(own.pictures_an_epoch), count(own.steps_an_epoch)),
            ),
            ("steps planned", count(own.total_steps)),
            ("began", format!("{}, at step {}", date(own.started), steps.from)),
            ("took", format!("{}, to step {}", duration(timings.wall_seconds), steps.to)),
            (
                "peak of the process's memory",
                timings.peak_memory_bytes.map_or("–".into(), |peak| bytes(peak as f64)),
            ),
        ]);
        let device = timings.peak_device_memory_bytes.map(|peak| bytes(peak as f64));
        facts.extend(device.map(|peak| ("peak of the GPU's memory", peak)));
    }
    let rejected = match run.rejected {
        0 => "none".to_owned(),
        lines => format!("{lines}, named in rejected.jsonl"),
    };
    facts.push(("pictures that could not be used", rejected));
    facts
}

/// `2026-11-25 19:50 UTC`, from seconds since 1970.
fn date(seconds: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut days, rest, mut year) = (seconds / 86_400, seconds % 86_400, 1970);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", days + 1, rest / 3600, rest / 60 % 60)
}

/// `1 h 4 min`, `3 min 20 s`, `12.5 s`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// What lies in a run's folder, by its place in it.
pub fn files(run: &Run) -> Markup {
    let mut found: Vec<(String, u64)> = Vec::new();
    for entry in walkdir::WalkDir::new(&run.folder).sort_by_file_name().into_iter().flatten() {
        let name = entry.path().strip_prefix(&run.folder).unwrap_or(Path::new("")).display().to_string();
        let size =
            entry.metadata().ok().filter(|_| entry.file_type().is_file()).map(|metadata| metadata.len());
        found.extend(size.filter(|_| name != "lock").map(|size| (name, size)));
    }
    html! {
        details {
            summary { "The files of " (run.name) }
            ul.files { @for (name, size) in &found { li { code { (name) } " " span.quiet { (sized(*size)) } } } }
        }
    }
}

fn sized(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} B"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        _ => bytes(size as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        let check = |seconds: u64, expected: &str| assert_eq!(date(seconds), expected);
        check(0, "1970-01-01 00:00 UTC");
        check(951_782_400, "2000-02-29 00:00 UTC");
        check(1_735_689_599, "2024-12-31 23:59 UTC");
        check(1_795_636_134, "2026-11-25 19:48 UTC");
        assert_eq!([12.54, 200.0, 3840.0].map(duration), ["12.5 s", "3 min 20 s", "1 h 4 min"]);
        assert_eq!([12, 1500, 2_000_000].map(sized), ["12 B", "1.5 kB", "2 MB"]);
    }
}
