//! What could not be read of an inventory.

use std::collections::BTreeSet;

use crate::model::EntryPath;

/// Entries of an inventory that cannot be read, or cannot be where they claim to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Path of the first of them; of a folder when only its own line is missing.
    pub path: EntryPath,
    /// How many are lost; 0 when only a folder's own line is missing.
    pub entries: u64,
    /// Which, and why.
    pub detail: String,
}

/// Each loss once, however often it is met.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) losses: Vec<Loss>,
    pub(super) segments: BTreeSet<usize>,
    /// Number of a segment, and of a line in it.
    pub(super) lines: BTreeSet<(usize, usize)>,
    /// Entries, and folders that are not listed.
    pub(super) paths: BTreeSet<EntryPath>,
}
