//! How a product is cut into tasks and chunks: by its shape alone, so that no sum depends on the number of threads.

use super::{COLUMNS, ROWS};
use std::ops::Range;

/// A length cut into equal stretches, the last of which may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Stretches {
    pub whole: usize,
    pub each: usize,
}

impl Stretches {
    /// As few as possible of at most `most`, of multiples of `unit`.
    pub fn new(whole: usize, most: usize, unit: usize) -> Self {
        let count = whole.div_ceil(most.max(1)).max(1);
        Stretches { whole, each: whole.div_ceil(count).next_multiple_of(unit).max(unit) }
    }

    pub fn count(self) -> usize {
        self.whole.div_ceil(self.each).max(1)
    }

    pub fn range(self, i: usize) -> Range<usize> {
        (i * self.each).min(self.whole)..((i + 1) * self.each).min(self.whole)
    }
}

/// A product's tasks: blocks of rows by blocks of columns by parts of the sum.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub rows: Stretches,
    pub columns: Stretches,
    /// Steps along k that are multiplied at a time: a panel of b so deep stays in the L1 cache.
    pub chunks: Stretches,
    /// Parts of the sum that tasks of their own add up, in chunks.
    pub parts: Stretches,
}

/// Tasks that keep a processor's threads equally busy.
const TASKS: usize = 32;
/// Multiplications of lanes below which a task does not pay for its start.
const WORK: usize = 1 << 20;
/// Rows of a block of a, where there are many: they stay in the L2 cache while panels of b pass by.
const BLOCK: usize = 64;
/// So many rows may stay one block where b is wide: then a panel of b is packed by the one task that reads it.
const FEW: usize = 768;
/// Steps of a chunk: 48 lanes each are three quarters of an L1 cache of 48 KB.
const DEPTH: usize = 192;
/// Columns of c so few that sums of twice as many rows stay in the L2 cache.
const NARROW: usize = 256;
/// Columns whose sums over several chunks a task keeps in the L2 cache.
const WIDE: usize = 768;

impl Cut {
    /// Cuts a product (m, n) of sums over `steps` lanes; `lies` when a is read where it lies, else it is packed.
    pub fn of(m: usize, n: usize, steps: usize, lies: bool) -> Self {
        let panels = n.div_ceil(COLUMNS);
        // nor does it pay to pack b before the tasks when a few rows read it, as long as parts of the sum keep all threads busy
        let long = !lies && steps / DEPTH >= TASKS / 2;
        let whole = m <= 2 * BLOCK || m <= FEW && panels >= TASKS || m <= 3 * BLOCK && long;
        // columns of aᵀ are packed from another page at every step: where sums take little room, more of each is read
        let block = if lies || n > NARROW { BLOCK } else { 2 * BLOCK };
        let rows = Stretches::new(m, if whole { m } else { block }, ROWS);
        let chunks = Stretches::new(steps, DEPTH, 16);
        // no more tasks than there is work for
        let tasks = (m * n * steps / WORK).clamp(1, TASKS);
        let wanted = tasks.div_ceil(rows.count());
        let widest = if chunks.count() > 1 { (WIDE * 3 * BLOCK / rows.each).clamp(COLUMNS, WIDE) } else { n };
        // tasks beside each other read the same rows of a, which would be packed for each, or first for all
        let beside = if lies || rows.count() == 1 { wanted } else { 1 };
        let columns = Stretches::new(n, n.div_ceil(beside).min(widest), COLUMNS);
        let wanted = tasks.div_ceil(rows.count() * columns.count());
        let parts = Stretches::new(chunks.count(), chunks.count().div_ceil(wanted).max(2), 1);
        Cut { rows, columns, chunks, parts }
    }

    /// One task for all of a product that is small enough for a cache.
    pub fn whole(m: usize, n: usize, steps: usize) -> Self {
        let all = |whole: usize, unit: usize| Stretches::new(whole, whole, unit);
        Cut { rows: all(m, ROWS), columns: all(n, COLUMNS), chunks: all(steps, 16), parts: all(1, 1) }
    }
}
