//! Sources: the code that captures a component of one kind.

pub mod files;

use serde::Serialize;

/// Something that could not be captured, or not cleanly. A partial failure is a value: it travels into the manifest,
/// and the capture goes on with the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable word: `unreadable`, `vanished`, `changed`, `unsupported` or `too-long`.
    pub kind: &'static str,
    /// The path inside the component, C-escaped (FORMAT.md §6); it need not be a valid entry path.
    pub path: String,
    /// What was expected and what happened, in a few words.
    pub detail: String,
}
