//! Faults: the first cause wins, everyone else stops quietly.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};

use super::stage::StageError;

/// What ended a run: the cause, and the node and step at which it struck.
#[derive(Debug, thiserror::Error)]
#[error("{node}, step {step}: {cause}")]
pub struct Failure {
    pub node: String,
    pub step: u64,
    #[source]
    pub cause: Cause,
}

/// Why a firing ended a run.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Error(#[from] StageError),
    #[error("panicked at {place}: {message}")]
    Panic { message: String, place: String },
}

impl Failure {
    /// The exit status that this failure stands for: 3 for numbers that are none, 2 for data that can't be used, else 1.
    pub fn status(&self) -> u8 {
        match self.cause {
            Cause::Error(StageError::NonFinite { .. }) => 3,
            Cause::Error(StageError::Data(_)) => 2,
            _ => 1,
        }
    }
}

/// The place where threads report the end of their work, and learn of another's.
///
/// Nothing is ever sent over the inner channel: closing it is the message, and it wakes whoever waits.
pub struct Fault {
    first: Mutex<Option<Failure>>,
    open: Mutex<Option<Sender<Infallible>>>,
    closed: Receiver<Infallible>,
}

impl Default for Fault {
    fn default() -> Self {
        let (open, closed) = bounded(0);
        Fault { first: Mutex::new(None), open: Mutex::new(Some(open)), closed }
    }
}

impl Fault {
    /// Records a failure, unless there was one before, and stops everyone.
    pub fn raise(&self, failure: Failure) {
        lock(&self.first).get_or_insert(failure);
        self.stop();
    }

    /// Stops everyone without a cause.
    pub fn stop(&self) {
        lock(&self.open).take();
    }

    /// Whether everyone is to stop.
    pub fn stopped(&self) -> bool {
        self.closed.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Disconnects when everyone is to stop; for waiting on it beside something else.
    pub fn closed(&self) -> Receiver<Infallible> {
        self.closed.clone()
    }

    /// The first cause, if there was one.
    pub fn take(&self) -> Option<Failure> {
        lock(&self.first).take()
    }
}

/// Locks, also after a panic: what these locks hold is whole at every instant.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `work` and turns a panic in it into a [`Cause`]; nothing is printed.
pub fn guard<T>(work: impl FnOnce() -> Result<T, StageError>) -> Result<T, Cause> {
    keep_places();
    let outer = GUARDED.replace(true);
    // what a panic leaves half-done is never used again: the run ends
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(Cause::Error),
        Err(payload) => {
            // a panic in one of rayon's threads was printed there and only passed on to this one
            let place = Some(PLACE.take()).filter(|place| !place.is_empty());
            let place = place.unwrap_or_else(|| "the place printed above".into());
            Err(Cause::Panic { message: words(payload.as_ref()), place })
        }
    }
}

/// Panics in guarded code leave their place behind instead of a printed backtrace; all others print as before.
fn keep_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                PLACE.set(info.location().map(ToString::to_string).unwrap_or_default());
            } else {
                before(info);
            }
        }));
    });
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_wins() {
        let fault = Fault::default();
        assert!(!fault.stopped());
        for node in ["decode", "student"] {
            let cause = Cause::Error(StageError::NonFinite { what: "loss".into() });
            fault.raise(Failure { node: node.into(), step: 3, cause });
        }
        assert!(fault.stopped());
        let first = fault.take().unwrap();
        assert_eq!((first.to_string().as_str(), first.status()), ("decode, step 3: loss is not finite", 3));
    }

    #[test]
    fn a_panic_becomes_a_cause_with_its_place() {
        let cause = guard::<()>(|| panic!("width {}", 7)).unwrap_err();
        let text = cause.to_string();
        assert!(text.contains("width 7") && text.contains("fault.rs:"), "{text}");
    }
}
