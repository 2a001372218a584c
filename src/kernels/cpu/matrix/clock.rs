//! How long the threads have been at matrix products: what a benchmark calls their share of a step.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// The time of every thread that products have held since the process began, packing and epilogues included. A product on all
/// threads holds each of them until it is done, one within a task the task's own. Two readings tell what was in between.
pub fn spent() -> Duration {
    Duration::from_nanos(NANOSECONDS.load(Relaxed))
}

/// Counts the time of some work for each of the threads that it holds.
pub(super) fn counted(threads: usize, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    NANOSECONDS.fetch_add(start.elapsed().as_nanos() as u64 * threads as u64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_holds_as_many_threads_as_it_says() {
        let before = spent();
        counted(3, || std::thread::sleep(Duration::from_millis(10)));
        assert!(spent() - before >= Duration::from_millis(30));
    }
}
