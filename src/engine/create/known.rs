//! Content that the chain already holds, by digest: so that a moved folder, a copied file or the untouched part of a
//! large file is referenced and not stored again.
//!
//! Built from the last index when the first new file asks for it: an unchanged tree never pays for it. About 70 bytes an
//! entry, sorted, looked up by halving.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use super::base::{LastIndex, Volumes};
use crate::error::Result;
use crate::model::{BackupId, Digest, Entry, EntryKind, Extent};

/// Smaller contents are stored again: a reference would not be shorter. In bytes.
pub(super) const MIN_REFERENCED_BYTES: u64 = 512;

/// Looks content up in the last index of a component.
#[derive(Debug)]
pub(super) struct KnownContent<'a> {
    last: Option<&'a LastIndex>,
    table: OnceLock<Result<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    backups: Vec<BackupId>,
    extents_by_digest: Vec<(Digest, CompactExtent)>,
    /// Sizes of all files that are large enough for pieces.
    large_sizes: HashSet<u64>,
    large_inodes: HashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct CompactExtent {
    offset: u64,
    length: u64,
    backup: u32,
    volume: u32,
}

impl<'a> KnownContent<'a> {
    /// Content of the last index; with none, nothing is known.
    pub(super) fn new(last: Option<&'a LastIndex>) -> Self {
        Self { last, table: OnceLock::new() }
    }

    /// Whether anything can be known at all.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    fn table(&self) -> Result<Option<&Table>> {
        let Some(last) = self.last else { return Ok(None) };
        let table = self
            .table
            .get_or_init(|| Table::build(last).map_err(|e| e.within("cannot use the local copy of the last index")));
        table.as_ref().map(Some).map_err(Clone::clone)
    }

    /// Where `length` bytes with this digest lie.
    pub(super) fn find(&self, sha256: Digest, length: u64) -> Result<Option<Extent>> {
        let Some(table) = self.table()? else { return Ok(None) };
        let at = table.extents_by_digest.partition_point(|p| p.0 < sha256);
        Ok(table.extents_by_digest.get(at).filter(|p| p.0 == sha256 && p.1.length == length).map(|(_, place)| Extent {
            backup: table.backups[place.backup as usize].clone(),
            volume: place.volume,
            offset: place.offset,
            length,
        }))
    }

    /// Whether a large file with this size or inode was there before, so that pieces of it may be known.
    pub(super) fn resembles_a_large_file(&self, size: u64, inode: u64) -> Result<bool> {
        Ok(self.table()?.is_some_and(|t| t.large_sizes.contains(&size) || t.large_inodes.contains(&inode)))
    }
}

impl Table {
    fn build(last: &LastIndex) -> Result<Self> {
        let mut table = Self::default();
        let mut numbers = BTreeMap::new();
        let mut lines = last.copy.lines()?;
        let mut line = Vec::new();
        while lines.next_line(&mut line)? {
            // What readers would refuse is not referred to.
            if let Ok(entry) = Entry::parse_line(&line) {
                table.add(&entry, &last.volumes, &mut numbers);
            }
        }
        table.extents_by_digest.sort_unstable_by_key(|p| p.0);
        table.extents_by_digest.dedup_by_key(|p| p.0);
        table.extents_by_digest.shrink_to_fit();
        Ok(table)
    }

    fn add(&mut self, entry: &Entry, volumes: &Volumes, numbers: &mut BTreeMap<BackupId, u32>) {
        let EntryKind::File { size, sha256, extents, chunks, unsettled: false, .. } = &entry.kind else { return };
        if !extents.iter().all(|e| volumes.hold_extent(e)) {
            return;
        }
        let mut put = |sha256: Digest, extent: &Extent, skip: u64, length: u64| {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let backup = *numbers.entry(extent.backup.clone()).or_insert_with(|| {
                self.backups.push(extent.backup.clone());
                next
            });
            let place = CompactExtent { offset: extent.offset + skip, length, backup, volume: extent.volume };
            self.extents_by_digest.push((sha256, place));
        };
        if let [extent] = extents.as_slice()
            && extent.length > MIN_REFERENCED_BYTES
        {
            put(*sha256, extent, 0, extent.length);
        }
        if chunks.is_empty() {
            return;
        }
        self.large_sizes.insert(*size);
        self.large_inodes.insert(entry.inode);
        // A chunk is known when it lies in one extent as a whole.
        let (mut at, mut inside) = (0, 0);
        for chunk in chunks {
            while at < extents.len() && inside >= extents[at].length {
                inside -= extents[at].length;
                at += 1;
            }
            let Some(extent) = extents.get(at) else { break };
            if inside + chunk.length <= extent.length {
                put(chunk.sha256, extent, inside, chunk.length);
            }
            inside += chunk.length;
        }
    }
}
