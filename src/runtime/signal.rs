//! SIGINT and SIGTERM: the first asks for a checkpoint and an orderly end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

/// Whether someone asked the run to stop. Read between steps.
#[derive(Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
    hooks: Vec<SigId>,
}

impl Interrupt {
    /// Listens to the process's signals until dropped.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn from_signals() -> std::io::Result<Self> {
        let mut interrupt = Interrupt::default();
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let hooks = [
                // runs first: ends the process when an earlier signal has set `armed`
                flag::register_conditional_shutdown(signal, 128 + signal, armed.clone())?,
                flag::register(signal, armed.clone())?,
                flag::register_usize(signal, interrupt.signal.clone(), signal as usize)?,
            ];
            interrupt.hooks.extend(hooks);
        }
        Ok(interrupt)
    }

    /// Asks the run to stop as this signal would.
    pub fn set(&self, signal: i32) {
        self.signal.store(signal as usize, SeqCst);
    }

    /// The exit status that was asked for: 130 after SIGINT, 143 after SIGTERM.
    pub fn status(&self) -> Option<u8> {
        match self.signal.load(SeqCst) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for hook in self.hooks.drain(..) {
            low_level::unregister(hook);
        }
    }
}
