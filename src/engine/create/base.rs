//! What a component builds on: the local copy of its last index, and how far that may be trusted.

use std::collections::BTreeMap;

use crate::index::LocalIndex;
use crate::model::{BackupId, Entry, EntryKind, Extent, Fields, Moment};

/// The last index of a component.
#[derive(Debug)]
pub(super) struct LastIndex {
    pub(super) copy: LocalIndex,
    /// When that capture began.
    pub(super) captured_from: Moment,
    /// Its lines passed the acceptance of readers as they are today.
    pub(super) accepted: bool,
    /// What it may refer to.
    pub(super) volumes: Volumes,
    /// Read files even if they look unchanged.
    pub(super) rehash: bool,
}

/// How long the archive volumes of one component are in the backups that may be referred to.
#[derive(Debug)]
pub(super) struct Volumes(pub(super) BTreeMap<(BackupId, u32), u64>);

impl Volumes {
    /// Whether the home and all extents of a line lie inside of them.
    pub(super) fn hold(&self, line: &Fields<'_>) -> bool {
        let home = &line.home;
        let mut extents = line.content.iter().chain(&line.pieces).flatten();
        self.have(&home.backup, home.volume, home.offset, 1) && extents.all(|e| self.hold_extent(e))
    }

    /// The same for an entry.
    pub(super) fn hold_entry(&self, entry: &Entry) -> bool {
        let extents = if let EntryKind::File { extents, .. } = &entry.kind { extents.as_slice() } else { &[] };
        let home = &entry.home;
        self.have(&home.backup, home.volume, home.offset, 1) && extents.iter().all(|e| self.hold_extent(e))
    }

    /// Whether an extent lies inside of them.
    pub(super) fn hold_extent(&self, extent: &Extent) -> bool {
        self.have(&extent.backup, extent.volume, extent.offset, extent.length)
    }

    fn have(&self, backup: &BackupId, volume: u32, offset: u64, length: u64) -> bool {
        let end = offset.checked_add(length);
        self.0.get(&(backup.clone(), volume)).is_some_and(|&bytes| end.is_some_and(|end| end <= bytes))
    }
}
