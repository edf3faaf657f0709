//! What the three binaries share: arguments, environment, terminal, progress, errors and exit codes.
//!
//! Only here is the environment read, something printed and an exit code chosen; everything below reports through
//! `Monitor` and return values. A verb gets its parsed arguments and a [`Context`], and returns an exit code.

pub mod args;
mod context;
mod environment;
mod error;
mod paths;
mod planned;
mod progress;
mod run;
mod signals;
mod terminal;
mod text;
pub mod verbs;

pub use context::Context;
pub use environment::Environment;
pub use error::report;
pub use paths::HostDirs;
pub use planned::{Ops, Recover, not_built};
pub use progress::TerminalMonitor;
pub use run::{Program, run, run_in};
pub use signals::StopFlag;
pub use terminal::{Captured, Terminal};
pub use text::{Align, Table, human_bytes, human_duration, shown};
