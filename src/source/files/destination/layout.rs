//! Where the stored bytes of a regular file belong in it: holes are not stored (FORMAT.md §5).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::error::{Error, Result};
use crate::model::{Entry, EntryKind};

/// A run of stored bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where it starts in the stored bytes.
    pub(super) stored: u64,
    /// Where it starts in the file.
    pub(super) offset: u64,
    /// Its length in bytes, above 0.
    pub(super) length: u64,
}

/// The runs of a file, in order and without overlap.
#[derive(Debug)]
pub(super) struct Layout {
    /// Logical size of the file in bytes.
    pub(super) size: u64,
    /// Count of stored bytes.
    pub(super) stored: u64,
    pub(super) runs: Vec<Run>,
}

impl Layout {
    pub(super) fn of(entry: &Entry) -> Result<Self> {
        let bad = |fault: &str| Error::damage(format!("the entry {} {fault}", entry.path));
        let EntryKind::File { size, regions, .. } = &entry.kind else { return Err(bad("is not a regular file")) };
        let size = *size;
        let dense = [(0, size)];
        let (mut stored, mut end, mut runs) = (0, 0, Vec::new());
        for &(offset, length) in regions.as_deref().unwrap_or(&dense) {
            let next = offset.checked_add(length).filter(|&next| offset >= end && next <= size);
            end = next.ok_or_else(|| bad("has regions that overlap or lie after its end"))?;
            if length > 0 {
                runs.push(Run { stored, offset, length });
            }
            stored += length;
        }
        Ok(Self { size, stored, runs })
    }

    /// Writes bytes that start at `position` of the stored bytes where they belong. They must fit.
    pub(super) fn write(&self, file: &File, position: u64, bytes: &[u8]) -> io::Result<()> {
        let first = self.runs.partition_point(|run| run.stored + run.length <= position);
        let (mut position, mut rest) = (position, bytes);
        for run in self.runs.get(first..).unwrap_or_default() {
            if rest.is_empty() {
                break;
            }
            let inside = position.checked_sub(run.stored).ok_or(io::ErrorKind::InvalidInput)?;
            let room = usize::try_from(run.length - inside).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            file.write_all_at(now, run.offset + inside)?;
            position += now.len() as u64;
            rest = later;
        }
        if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Sets the size of a file that ends with a hole.
    pub(super) fn set_size(&self, file: &File) -> io::Result<()> {
        let ends_with_hole = self.runs.last().map_or(0, |run| run.offset + run.length) < self.size;
        if ends_with_hole { file.set_len(self.size) } else { Ok(()) }
    }
}
