//! Working memory in whole cache lines, kept from one task to the next: fresh pages cost more than what is done in them.

use std::cell::RefCell;

/// A cache line of 32-bit lanes: vectors loaded from its start never straddle two.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u32; LINE]);

const LINE: usize = 16;

thread_local! {
    /// Several, because a task may need more than one, and a thread that waits for a product may be handed a part of another.
    static IDLE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// So many lanes of working memory, with whatever the last user left in them.
pub struct Lines {
    lines: Vec<Line>,
    lanes: usize,
}

impl Lines {
    pub fn take(lanes: usize) -> Self {
        let count = lanes.div_ceil(LINE);
        let mut lines = IDLE.with_borrow_mut(|idle| {
            // the smallest that is large enough, else the largest
            let fit = (0..idle.len()).min_by_key(|&i| {
                let len = idle[i].len();
                if len < count { (true, usize::MAX - len) } else { (false, len) }
            });
            fit.map(|i| idle.swap_remove(i)).unwrap_or_default()
        });
        if lines.len() < count {
            // nothing in it is worth a copy
            lines.clear();
            lines.resize(count, Line([0; LINE]));
        }
        Lines { lines, lanes }
    }

    pub fn lanes(&mut self) -> &mut [u32] {
        // SAFETY: a line is an array of lanes without padding, and `take` made enough of them
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lanes) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        IDLE.with_borrow_mut(|idle| idle.push(lines));
    }
}
