//! A Chrome trace of a run: what each thread did when, for `chrome://tracing` and Perfetto.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fault::lock;
use crate::checkpoint::atomic;
use crate::plan::Actor;
use crate::tensor::allocator::Allocated;

/// A thread keeps at most this many spans (80 bytes each); later ones are counted, not kept.
const MOST_SPANS: usize = 1 << 20;

/// What a thread did in a stretch of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// One half of a stage fired.
    Firing(Actor),
    /// The island waited for pictures.
    Waiting,
}

/// One stretch of a thread's time.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub doing: Doing,
    pub step: u64,
    pub start: Instant,
    pub end: Instant,
    /// By this thread, or, on the island, by its kernels' threads as well.
    pub allocated: Allocated,
}

impl Span {
    pub fn length(&self) -> Duration {
        self.end - self.start
    }
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

    /// The spans of all threads that are done, thread by thread; they are handed out once.
    pub fn spans(&self) -> Vec<Span> {
        std::mem::take(&mut *lock(&self.done)).into_iter().flat_map(|record| record.spans).collect()
    }

    /// Writes the trace whole; `name` says what a firing is called.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path, name: impl Fn(Actor) -> String) -> std::io::Result<()> {
        let mut records = std::mem::take(&mut *lock(&self.done));
        records.sort_by(|a, b| a.thread.cmp(&b.thread));
        atomic::write(path, |file| {
            write!(file, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
            let mut comma = "";
            let events = records.iter().enumerate().flat_map(|(tid, record)| self.events(tid, record, &name));
            for event in events {
                write!(file, "{comma}\n{event}")?;
                comma = ",";
            }
            writeln!(file, "\n]}}")
        })
    }

    fn events<'a>(
        &self,
        tid: usize,
        record: &'a Record,
        name: &'a impl Fn(Actor) -> String,
    ) -> impl Iterator<Item = serde_json::Value> + 'a {
        let thread = json!({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name",
            "args": {"name": record.thread, "spans_left_out": record.dropped}});
        let zero = self.zero;
        std::iter::once(thread).chain(record.spans.iter().map(move |span| {
            let start = span.start.duration_since(zero).as_secs_f64() * 1e6;
            let length = span.length().as_secs_f64() * 1e6;
            let name = match span.doing {
                Doing::Firing(actor) => name(actor),
                Doing::Waiting => "wait for pictures".into(),
            };
            json!({"ph": "X", "pid": 1, "tid": tid, "name": name, "ts": start, "dur": length,
                "args": {"step": span.step, "allocations": span.allocated.count, "bytes": span.allocated.bytes}})
        }))
    }
}

impl Track<'_> {
    /// Adds a stretch that has just ended.
    pub fn span(&mut self, span: impl FnOnce() -> Span) {
        if !self.trace.wanted {
            return;
        }
        if self.record.spans.len() < MOST_SPANS {
            self.record.spans.push(span());
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
    use crate::plan::{Direction, NodeId};

    #[test]
    fn a_trace_is_json_with_a_name_for_each_thread() {
        let trace = Trace::new(true);
        std::thread::scope(|scope| {
            for name in ["decode 0", "island"] {
                let trace = &trace;
                scope.spawn(move || {
                    let (start, actor) =
                        (Instant::now(), Actor { node: NodeId(0), direction: Direction::Forward });
                    let doing = Doing::Firing(actor);
                    let allocated = Allocated { count: 2, bytes: 64 };
                    trace.track(name).span(|| Span { doing, step: 5, start, end: start, allocated });
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        trace.write(&path, |_| "work".into()).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(events[0]["args"]["name"], "decode 0");
        let last = &events[3];
        assert_eq!((&last["ph"], &last["name"]), (&json!("X"), &json!("work")));
        assert_eq!(last["args"], json!({"step": 5, "allocations": 2, "bytes": 64}));
    }
}
