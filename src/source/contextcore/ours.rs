//! The two summaries that a backup adds, and how they are told from files of somebody else.

use serde::Deserialize;

use crate::model::EntryPath;

/// Path of the summary of tasks.
pub(super) const TASKS: &str = "state/tasks.json";
/// Path of the summary of projects.
pub(super) const PROJECTS: &str = "state/projects.json";
/// Who wrote a summary.
pub(super) const WRITTEN_BY: &str = "ccbackup";

/// Whether a file lies where a summary goes.
pub(super) fn is_named(path: &EntryPath) -> bool {
    [TASKS, PROJECTS].iter().any(|summary| path.as_bytes() == summary.as_bytes())
}

/// Whether a file is a summary that a backup wrote.
pub(super) fn is_ours(path: &EntryPath, bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Head {
        written_by: String,
    }
    is_named(path) && serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.written_by == WRITTEN_BY)
}
