//! The one door to child programs.
//!
//! Invariants:
//! * A child gets arguments, never a line for a shell; of our environment only what every program needs, and what was
//!   given to it by name. Secrets reach it by its environment or by [`Command::secret_file`], never by an argument.
//! * It runs in a process group of its own, and a thread watches it: no child outlives its time, its silence, or the
//!   value that stands for it, even when nobody reads what it writes.
//! * To read its output to the end *is* the check: the end comes only after the exit status was good.
//! * What it writes to standard error is drained always, kept to its last part, and shown without the secrets that were
//!   given to it.

mod child;
mod command;
mod ended;
mod find;
mod private_file;
mod redact;
mod stream;
#[cfg(test)]
mod tests;
mod watch;

pub use command::Command;
pub use ended::{Ended, Output};
pub use stream::{Feed, Stream};
