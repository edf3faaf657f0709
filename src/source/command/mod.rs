//! Kind `command`: what a program writes is captured as one object, and a program takes it back.
//!
//! Invariant: an output is whole only when its program ended with exit code 0, it has the bytes that are expected at least, and
//! the end marker, where one is configured, stands within its last 4 KiB. Before a program may replace anything, what a capture
//! gives then is kept for an undo.

mod output;
mod plan;
mod programs;
mod source;
#[cfg(test)]
mod tests;

pub use source::CommandSource;
