//! The cores that kernels and host stages share: one pool of threads, as many as the run may use.
//!
//! A host stage waits on a thread of its own and fires on a borrowed core: a thread of the pool that finds no more work of a kernel
//! lends its core, and sleeps until it has it back. So never more threads work than the pool has. The island's own thread, for which
//! all others would wait, lends its core only while it waits for pictures.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam::channel::{Receiver, Sender, bounded, select_biased, unbounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::channel::Stopped;
use super::fault::Fault;
use super::options::RunError;

/// The stack of the pool's threads: kernels may recurse over a network's depth.
pub const STACK: usize = 16 << 20;

/// The threads of a run: those asked for, or one for each of the machine's cores.
pub fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Where a borrower waits for a core.
pub type Borrower = Sender<Loan>;

/// A borrowed core. Dropping it gives it back: nothing is ever sent over the channel, its end is the message.
pub struct Loan {
    _until: Sender<Infallible>,
}

/// Gives the calling thread's core to a borrower, and waits until it comes back.
pub fn lend(borrower: Borrower) {
    let (until, back) = bounded(0);
    let sent = borrower.send(Loan { _until: until }).is_ok();
    // a loan that nobody takes goes with its channel, once neither end is held: a borrower that was stopped leaves it there
    drop(borrower);
    if sent {
        let _ = back.recv();
    }
}

/// The pool, and those who ask for one of its cores.
pub struct Cores {
    pool: ThreadPool,
    ask: Sender<Borrower>,
    asking: Receiver<Borrower>,
    /// The index of the pool's thread that the island is on.
    island: Arc<AtomicUsize>,
}

/// No thread's index.
const NOBODY: usize = usize::MAX;

impl Cores {
    /// A pool of so many threads.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn new(threads: usize) -> Result<Self, RunError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build();
        let pool = pool.map_err(|e| RunError::Threads(e.to_string()))?;
        let (ask, asking) = unbounded();
        Ok(Cores { pool, ask, asking, island: Arc::new(AtomicUsize::new(NOBODY)) })
    }

    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Does the island's work, and the kernels in it, on the pool's threads.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(|| {
            self.island.store(rayon::current_thread_index().unwrap_or(NOBODY), Relaxed);
            let done = work();
            self.island.store(NOBODY, Relaxed);
            done
        })
    }

    /// Who asks for a core; for a thread of the pool that waits for something else meanwhile.
    pub fn asking(&self) -> Receiver<Borrower> {
        self.asking.clone()
    }

    /// Waits for a core. Who has one must not wait for anything: a kernel may wait for that core.
    pub fn borrow(&self, fault: &Fault) -> Result<Loan, Stopped> {
        let (borrower, loan) = bounded(1);
        // both ends of this channel live as long as `self`
        let _ = self.ask.send(borrower);
        let (asking, island) = (self.asking.clone(), self.island.clone());
        self.pool.spawn_broadcast(move |thread| {
            // one thread lends; when the others come to it, nobody asks any more
            if thread.index() != island.load(Relaxed) {
                asking.try_iter().take(1).for_each(lend);
            }
        });
        let stop = fault.closed();
        select_biased! {
            recv(stop) -> _ => Err(Stopped),
            recv(loan) -> loan => loan.map_err(|_| Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    #[test]
    fn no_more_work_at_once_than_there_are_cores() {
        for threads in [1, 2, 3] {
            let (cores, fault) = (Cores::new(threads).unwrap(), Fault::default());
            let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = || {
                most.fetch_max(working.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::sleep(Duration::from_micros(300));
                working.fetch_sub(1, SeqCst);
            };
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            let loan = cores.borrow(&fault).ok();
                            work();
                            drop(loan);
                        }
                    });
                }
                cores.install(|| {
                    for _ in 0..10 {
                        rayon::join(work, work);
                    }
                });
            });
            let most = most.load(SeqCst);
            assert!((1..=threads).contains(&most), "{most} at once on {threads}");
        }
    }

    /// Such a core never came back once, and the next run's island waited for it: the lender held on to the channel in which its loan lay.
    #[test]
    fn a_loan_that_nobody_takes_comes_back() {
        let (borrower, loan) = bounded(1);
        let (done, ended) = bounded(1);
        std::thread::spawn(move || {
            lend(borrower);
            let _ = done.send(());
        });
        while loan.is_empty() {
            std::thread::yield_now();
        }
        drop(loan);
        assert!(ended.recv_timeout(Duration::from_secs(60)).is_ok(), "the core is still lent");
    }

    #[test]
    fn a_stop_wakes_a_borrower_and_the_pool_ends() {
        let (cores, fault) = (Cores::new(1).unwrap(), Fault::default());
        let (begun, busy) = bounded::<()>(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // the only thread is busy until the borrower was woken
                cores.install(|| {
                    let _ = begun.send(());
                    let _ = fault.closed().recv();
                })
            });
            busy.recv().unwrap();
            let borrower = scope.spawn(|| cores.borrow(&fault).is_err());
            std::thread::sleep(Duration::from_millis(5));
            fault.stop();
            assert!(borrower.join().unwrap());
        });
    }
}
