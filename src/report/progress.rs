//! Progress while a run lasts: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// A bar where standard error is a terminal, else lines.
    #[default]
    Auto,
    /// A line every few seconds.
    Lines,
    /// Nothing.
    Nothing,
}

/// Seconds between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows a run's progress on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    first: u64,
    end: u64,
    last_line: Option<Instant>,
    /// Means that forget: about the last twenty steps.
    seconds: f64,
    waited: f64,
}

impl Progress {
    /// A run that does the steps from `first` up to `end`.
    pub fn new(show: Show, first: u64, end: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (show == Show::Auto && terminal).then(|| {
            let bar = ProgressBar::new(end).with_position(first);
            // the template is a constant: it parses
            if let Ok(style) = ProgressStyle::with_template("{bar:24} step {pos}/{len}  {msg}  {eta} left") {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
        let lines = show == Show::Lines || (show == Show::Auto && !terminal);
        let last_line = None;
        Progress { bar, lines, first, end, last_line, seconds: 0.0, waited: 0.0 }
    }

    /// A step is done: `images` in `took`, of which the island waited `waited` for pictures.
    pub fn step(&mut self, step: u64, loss: Option<f64>, images: usize, took: Duration, waited: Duration) {
        let blend = |mean: &mut f64, new: f64, first: bool| {
            *mean = if first { new } else { *mean * 0.95 + new * 0.05 }
        };
        blend(&mut self.seconds, took.as_secs_f64(), step == self.first);
        blend(&mut self.waited, waited.as_secs_f64(), step == self.first);
        let rate = images as f64 / self.seconds.max(1e-9);
        let share = 100.0 * self.waited / self.seconds.max(1e-9);
        let loss = loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
        let message = format!("loss {loss}  {rate:.1} images/s  {share:.0} % waiting for data");
        let done = step + 1;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message);
        } else if self.lines
            && (done == self.end || self.last_line.is_none_or(|at| at.elapsed() >= BETWEEN_LINES))
        {
            self.last_line = Some(Instant::now());
            let left = Duration::from_secs_f64(self.seconds * (self.end - done) as f64);
            self.print(&format!("step {done}/{}  {message}  {} left", self.end, HumanDuration(left)));
        }
    }

    /// A line that stays, above the bar where there is one.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.lines => self.print(line),
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn print(&self, line: &str) {
        // a closed standard error is no reason to stop training
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
