//! A Chrome trace of a run: what each thread did when, for `chrome://tracing` and Perfetto.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::json;

use super::fault::lock;
use crate::checkpoint::atomic;

/// A thread keeps at most this many spans (64 bytes each); later ones are counted, not kept.
const MOST_SPANS: usize = 1 << 20;

/// One stretch of a thread's time.
#[derive(Clone, Debug)]
struct Span {
    name: String,
    step: u64,
    start: Instant,
    end: Instant,
}

/// What one thread did.
#[derive(Debug)]
struct Record {
    thread: String,
    spans: Vec<Span>,
    dropped: usize,
}

/// Collects the tracks of all threads. Costs nothing but a test where no trace was asked for.
pub struct Trace {
    zero: Instant,
    wanted: bool,
    done: Mutex<Vec<Record>>,
}

/// One thread's part of the trace; joins the rest when it is dropped, also while a panic unwinds.
pub struct Track<'a> {
    trace: &'a Trace,
    record: Record,
}

impl Trace {
    pub fn new(wanted: bool) -> Self {
        Trace { zero: Instant::now(), wanted, done: Mutex::new(Vec::new()) }
    }

    /// The track of the thread of this name.
    pub fn track(&self, thread: impl Into<String>) -> Track<'_> {
        Track { trace: self, record: Record { thread: thread.into(), spans: Vec::new(), dropped: 0 } }
    }

    /// Writes the trace whole.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut records = std::mem::take(&mut *lock(&self.done));
        records.sort_by(|a, b| a.thread.cmp(&b.thread));
        atomic::write(path, |file| {
            write!(file, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
            let mut comma = "";
            for event in records.iter().enumerate().flat_map(|(tid, record)| self.events(tid, record)) {
                write!(file, "{comma}\n{event}")?;
                comma = ",";
            }
            writeln!(file, "\n]}}")
        })
    }

    fn events<'a>(&self, tid: usize, record: &'a Record) -> impl Iterator<Item = serde_json::Value> + 'a {
        let name = json!({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name",
            "args": {"name": record.thread, "spans_left_out": record.dropped}});
        let zero = self.zero;
        std::iter::once(name).chain(record.spans.iter().map(move |span| {
            let start = span.start.duration_since(zero).as_secs_f64() * 1e6;
            let length = span.end.duration_since(span.start).as_secs_f64() * 1e6;
            json!({"ph": "X", "pid": 1, "tid": tid, "name": span.name, "ts": start, "dur": length,
                "args": {"step": span.step}})
        }))
    }
}

impl Track<'_> {
    /// Adds a stretch that has just ended.
    pub fn span(&mut self, name: impl FnOnce() -> String, step: u64, start: Instant, end: Instant) {
        if !self.trace.wanted {
            return;
        }
        if self.record.spans.len() < MOST_SPANS {
            self.record.spans.push(Span { name: name(), step, start, end });
        } else {
            self.record.dropped += 1;
        }
    }
}

impl Drop for Track<'_> {
    fn drop(&mut self) {
        if self.trace.wanted {
            let empty = Record { thread: String::new(), spans: Vec::new(), dropped: 0 };
            lock(&self.trace.done).push(std::mem::replace(&mut self.record, empty));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_json_with_a_name_for_each_thread() {
        let trace = Trace::new(true);
        std::thread::scope(|scope| {
            for name in ["decode 0", "island"] {
                let trace = &trace;
                scope.spawn(move || {
                    let now = Instant::now();
                    trace.track(name).span(|| "work".into(), 5, now, now);
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        trace.write(&path).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(events[0]["args"]["name"], "decode 0");
        assert_eq!((events[3]["ph"].as_str(), events[3]["args"]["step"].as_u64()), (Some("X"), Some(5)));
    }
}
