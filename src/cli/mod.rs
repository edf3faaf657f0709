//! The three programs, a folder each, and what they share: environment, terminal, progress, errors and exit codes.
//!
//! Only here is the environment read, something printed and an exit code chosen; everything below reports through
//! `Monitor` and return values. A verb gets its parsed arguments and a [`Context`], and returns an exit code.

pub mod ccbackup;
pub mod ccops;
pub mod ccrecover;
mod context;
mod environment;
mod error;
mod global;
mod hints;
mod paths;
mod planned;
mod progress;
mod run;
mod signals;
mod terminal;
mod text;

pub use context::Context;
pub(crate) use context::DEFAULT_REPOSITORY;
pub use environment::Environment;
pub use error::report;
pub(crate) use error::{DAMAGE_FOUND, DONE_WITH_PROBLEMS};
pub use global::Global;
pub(crate) use hints::{document, why_full};
pub use hints::{with_next, worded};
pub use paths::HostDirs;
pub use planned::{Rest, not_built};
pub use progress::TerminalMonitor;
pub use run::{Program, run, run_in};
pub use signals::StopFlag;
pub use terminal::{Captured, Terminal};
pub(crate) use text::escaped;
pub use text::{Table, human_bytes, shown};
