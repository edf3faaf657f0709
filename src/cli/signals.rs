//! SIGINT and SIGTERM become a number that long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Context as _, Result};

/// The signal that asked to stop, if any did. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// Takes over SIGINT and SIGTERM: the first sets the flag, the second ends the process as if it had no handler.
    pub fn install() -> Result<Self> {
        let stop = Self::default();
        let asked = Arc::new(AtomicBool::new(false));
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            const DOING: &str = "cannot take over SIGINT and SIGTERM";
            // Handlers run in this order, so the first signal passes the shutdown before it arms it.
            flag::register_conditional_default(signal, Arc::clone(&asked)).doing(DOING)?;
            flag::register(signal, Arc::clone(&asked)).doing(DOING)?;
            flag::register_usize(signal, Arc::clone(&stop.0), number).doing(DOING)?;
        }
        Ok(stop)
    }

    /// The signal's number, or 0.
    #[must_use]
    pub fn signal(&self) -> i32 {
        i32::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Asks to stop as `signal` would.
    pub fn set(&self, signal: i32) {
        self.0.store(usize::try_from(signal).unwrap_or(0), Ordering::Relaxed);
    }
}
