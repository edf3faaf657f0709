//! Sources: the code that captures a component of one kind.

pub mod files;

use serde::{Deserialize, Serialize};

/// Something about one entry that kept it from being captured whole. A problem is a value: it travels to the index,
/// the manifest, the output and the exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `unreadable`, `vanished`, `changed`, `unsupported`, `too-long`; or [`Problem::LEFT_OUT`], which is none.
    pub kind: String,
    /// Escaped path inside the component.
    pub path: String,
    /// What happened, for people.
    pub detail: String,
}

impl Problem {
    /// The kind of lines that list what a rule left out. They are wanted, so they do not count as problems.
    pub const LEFT_OUT: &str = "left-out";
}
