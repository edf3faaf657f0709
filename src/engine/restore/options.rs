//! What a restore is asked for, and what it says it did.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::engine::finding::Finding;
use crate::engine::select::Selection;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{EntryPath, Problem, ProblemKind, serialize_seconds};

/// What to restore, and how.
#[derive(Debug)]
pub struct RestoreOptions {
    /// Components; all if empty.
    pub components: Vec<String>,
    /// Entries.
    pub selection: Selection,
    /// Write over what differs.
    pub overwrite: bool,
    /// Remove what the backup does not have.
    pub delete: bool,
    /// Worker threads.
    pub threads: usize,
}

/// Everything, into a folder that is empty or not there, by all processors.
impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            components: Vec::new(),
            selection: Selection::default(),
            overwrite: false,
            delete: false,
            threads: crate::threads::available(),
        }
    }
}

/// What a restore did, or, for a dry run, would do.
#[derive(Debug, Default, Serialize)]
pub struct RestoreReport {
    /// The backup; empty only before it is known.
    pub id: String,
    /// The folder.
    #[serde(serialize_with = "crate::model::serialize_path")]
    pub target: PathBuf,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Entries that were selected.
    pub entries: u64,
    /// Entries written.
    pub written: u64,
    /// Entries that were there already, content and metadata.
    pub unchanged: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
    /// Escaped paths that were removed, with their component.
    pub deleted: Vec<String>,
    /// What could not be restored because it is damaged.
    pub findings: Vec<Finding>,
    /// What was restored, but not with everything it had, or not cleanly captured.
    pub problems: Vec<Problem>,
    /// Wall time.
    #[serde(rename = "duration_seconds", serialize_with = "serialize_seconds")]
    pub duration: Duration,
}

impl RestoreReport {
    /// Whoever asked for something that is not there must not take silence for success.
    pub(super) fn matched_something(&self, options: &RestoreOptions) -> Result<()> {
        if self.entries > 0 || options.selection.is_everything() {
            return Ok(());
        }
        Err(Error::new(Kind::NotFound, format!("nothing in backup {} matches the selection", self.id))
            .hint(Hint::ListEntries))
    }

    /// What an unsettled file means for who restores it.
    pub(super) fn add_unsettled(&mut self, component: &str, path: &EntryPath) {
        let path = format!("{component}/{path}");
        self.problems.push(Problem { kind: ProblemKind::Unsettled, path, detail: UNSETTLED.into() });
    }
}

/// What is wrong with a file that was not read cleanly when it was captured: it comes back as it was stored.
pub const UNSETTLED: &str =
    "it could not be read cleanly when it was captured: its content may be of several moments, or zeros in part";
