//! Progress of work that is counted: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Counts what is done, on standard error.
pub struct Count {
    what: String,
    total: usize,
    done: usize,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Count {
    /// Nothing done of `total`.
    pub fn new(what: impl Into<String>, total: usize) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64).with_message(what.clone());
            // the template is a constant: it parses
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {eta} left") {
                bar.set_style(style);
            }
            bar
        });
        Count { what, total, done: 0, bar, last_line: Instant::now() }
    }

    /// So many more are done.
    pub fn add(&mut self, more: usize) {
        self.done += more;
        match &self.bar {
            Some(bar) => bar.inc(more as u64),
            None if self.last_line.elapsed() >= BETWEEN_LINES => {
                self.last_line = Instant::now();
                self.say(&format!("{}: {}/{}", self.what, self.done, self.total));
            }
            None => {}
        }
    }

    /// A line that stays, above the bar where there is one.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // a closed standard error is no reason to stop
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
