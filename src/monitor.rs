//! How the library and whoever watches it talk while it works: counters and notes one way, the wish to stop and a limit of
//! the rate the other. It never prints by itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::error::{Error, Hint, Kind, Result};

/// What long work tells whoever watches it, and asks. Called from many threads; must be quick, but for `throttle`.
pub trait Monitor: Send + Sync + std::fmt::Debug {
    /// A named stage begins; totals are set when they are known beforehand.
    fn stage(&self, name: &str, total_bytes: Option<u64>, total_entries: Option<u64>);
    /// Progress since the last call.
    fn advance(&self, bytes: u64, entries: u64);
    /// Something a person should read, not a failure.
    fn note(&self, text: &str);
    /// A note with what the reader can do about it.
    fn advise(&self, text: &str, _hint: &Hint) {
        self.note(text);
    }

    /// The number of the signal that asked to stop, or 0.
    fn stop_signal(&self) -> i32;

    /// Called where bytes of files or archives are read; returns when it is time to go on, or to stop.
    fn throttle(&self, _bytes: u64) {}

    /// An error when a signal asked to stop; long loops call this at every step.
    fn check(&self) -> Result<()> {
        match self.stop_signal() {
            0 => Ok(()),
            signal => Err(Error::new(Kind::Interrupted(signal), "interrupted; nothing half-done was published")),
        }
    }
}

/// Collects what it is told; for tests and for callers that show nothing.
#[derive(Debug, Default)]
pub struct Recorder {
    /// All notes in order.
    pub notes: Mutex<Vec<String>>,
    /// Sum of bytes.
    pub bytes: AtomicU64,
    /// Sum of entries.
    pub entries: AtomicU64,
    /// What `stop_signal` returns.
    pub signal: AtomicI32,
}

impl Monitor for Recorder {
    fn stage(&self, _name: &str, _total_bytes: Option<u64>, _total_entries: Option<u64>) {}

    fn advance(&self, bytes: u64, entries: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(text.to_owned());
        }
    }

    fn stop_signal(&self) -> i32 {
        self.signal.load(Ordering::Relaxed)
    }
}
