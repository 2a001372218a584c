//! What the end-of-run table is made of: each stage's compute time, each channel's waits and fill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A stage's firings and the time inside them, summed over its workers.
#[derive(Debug, Default)]
pub struct Meter {
    firings: AtomicU64,
    busy: AtomicU64,
}

impl Meter {
    pub fn add(&self, busy: Duration) {
        self.firings.fetch_add(1, Relaxed);
        self.busy.fetch_add(nanos(busy), Relaxed);
    }

    pub fn firings(&self) -> u64 {
        self.firings.load(Relaxed)
    }

    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy.load(Relaxed))
    }
}

/// A channel's traffic.
#[derive(Debug, Default)]
pub struct Gauge {
    pub from: String,
    pub to: String,
    pub capacity: usize,
    sent: AtomicU64,
    send_wait: AtomicU64,
    receive_wait: AtomicU64,
    fill: AtomicU64,
    fullest: AtomicU64,
}

impl Gauge {
    pub fn new(from: impl Into<String>, to: impl Into<String>, capacity: usize) -> Arc<Self> {
        Arc::new(Gauge { from: from.into(), to: to.into(), capacity, ..Gauge::default() })
    }

    /// One value went in after `wait`, and `fill` lay in the channel then.
    pub fn sent(&self, wait: Duration, fill: usize) {
        self.sent.fetch_add(1, Relaxed);
        self.send_wait.fetch_add(nanos(wait), Relaxed);
        self.fill.fetch_add(fill as u64, Relaxed);
        self.fullest.fetch_max(fill as u64, Relaxed);
    }

    /// One value came out after `wait`.
    pub fn received(&self, wait: Duration) {
        self.receive_wait.fetch_add(nanos(wait), Relaxed);
    }

    /// Values that went through.
    pub fn count(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Time that senders waited for room, summed over them.
    pub fn send_wait(&self) -> Duration {
        Duration::from_nanos(self.send_wait.load(Relaxed))
    }

    /// Time that receivers waited for a value, summed over them.
    pub fn receive_wait(&self) -> Duration {
        Duration::from_nanos(self.receive_wait.load(Relaxed))
    }

    /// The most values that lay in it at once, the one that came in counted.
    pub fn fullest(&self) -> u64 {
        self.fullest.load(Relaxed)
    }

    /// Mean share of the capacity that was taken when a value came in: 1 means that the receiver is the slower one.
    pub fn occupancy(&self) -> f64 {
        let most = self.count() as f64 * self.capacity.max(1) as f64;
        if most == 0.0 { 0.0 } else { self.fill.load(Relaxed) as f64 / most }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
