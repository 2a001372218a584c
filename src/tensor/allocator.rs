//! The process's allocator: the system's, with every allocation counted.
//!
//! Counting costs two relaxed additions; what allocates often enough for them to matter is itself the fault to find.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Allocations since the process began. What was freed since is counted all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    pub count: u64,
    pub bytes: u64,
}

impl Sub for Allocated {
    type Output = Allocated;

    fn sub(self, earlier: Allocated) -> Allocated {
        Allocated { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}

/// A sum that threads share.
struct Tally {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    const fn new() -> Self {
        Tally { count: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn read(&self) -> Allocated {
        Allocated { count: self.count.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// Of the threads that count together: the island, and the pool that does its kernels.
static TOGETHER: Tally = Tally::new();
/// Of all threads that count apart.
static APART: Tally = Tally::new();

thread_local! {
    // constant and without a destructor, so that reading it never allocates
    static OWN: Cell<Option<Allocated>> = const { Cell::new(None) };
}

/// From here on this thread's allocations count as its own alone, and no longer as the island's: so does a host stage's thread.
pub fn count_apart() {
    OWN.set(Some(OWN.get().unwrap_or_default()));
}

/// What this thread's work has allocated: its own where it counts apart, else that of all threads that do not.
/// The difference of two readings is what the work between them cost.
pub fn here() -> Allocated {
    OWN.get().unwrap_or_else(|| TOGETHER.read())
}

/// What the whole process has allocated.
pub fn total() -> Allocated {
    let (together, apart) = (TOGETHER.read(), APART.read());
    Allocated { count: together.count + apart.count, bytes: together.bytes + apart.bytes }
}

fn count(bytes: usize) {
    let bytes = bytes as u64;
    let tally = match OWN.get() {
        Some(own) => {
            OWN.set(Some(Allocated { count: own.count + 1, bytes: own.bytes + bytes }));
            &APART
        }
        None => &TOGETHER,
    };
    tally.count.fetch_add(1, Relaxed);
    tally.bytes.fetch_add(bytes, Relaxed);
}

/// The system's allocator, counting. It is the global one of every program that links this library, which can name no other.
struct Counting;

// SAFETY: every call goes to the system's allocator with the arguments as they came; counting touches no memory but
// statics and a thread-local cell that needs neither an allocation nor a destructor
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the system's allocator's
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn a_thread_that_counts_apart_sees_its_own_alone() {
        let before = total();
        let seen = std::thread::spawn(|| {
            count_apart();
            let start = here();
            black_box(vec![1u8; 1000]);
            let other = std::thread::spawn(|| drop(black_box(vec![0u8; 1 << 20])));
            let spawned = here();
            other.join().unwrap();
            let mut grown = black_box(Vec::<u8>::with_capacity(10));
            grown.reserve_exact(100);
            ((spawned - start).bytes, here() - spawned)
        });
        let (first, then) = seen.join().unwrap();
        assert!((1000..1 << 20).contains(&first), "{first}");
        // the second buffer, and what it grew into; joining may free, not allocate
        assert_eq!(then, Allocated { count: 2, bytes: 110 });
        assert!((total() - before).bytes >= (1 << 20) + 1110);
    }

    #[test]
    fn threads_that_do_not_are_counted_together() {
        let before = here();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| drop(black_box(vec![1u8; 3 << 20])));
        let made = here() - before;
        assert!(made.count >= 1 && made.bytes >= 3 << 20, "{made:?}");
    }
}
