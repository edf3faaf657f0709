//! Where the stored bytes of a regular file belong in it: holes are not stored (FORMAT.md §5).

use std::os::fd::AsFd;

use rustix::io::Errno;

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
            end = next.ok_or_else(|| bad("has regions that overlap or lie behind its end"))?;
            if length > 0 {
                runs.push(Run { stored, offset, length });
            }
            stored += length;
        }
        Ok(Self { size, stored, runs })
    }

    /// Writes bytes that start at `position` of the stored bytes where they belong. They must fit.
    pub(super) fn write(&self, fd: impl AsFd, position: u64, bytes: &[u8]) -> Result<(), Errno> {
        let first = self.runs.partition_point(|run| run.stored + run.length <= position);
        let (mut position, mut rest) = (position, bytes);
        for run in self.runs.get(first..).unwrap_or_default() {
            if rest.is_empty() {
                break;
            }
            let inside = position.checked_sub(run.stored).ok_or(Errno::INVAL)?;
            let room = usize::try_from(run.length - inside).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            write_all_at(&fd, now, run.offset + inside)?;
            position += now.len() as u64;
            rest = later;
        }
        if rest.is_empty() { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Whether the file ends with a hole, so that its size must be set.
    pub(super) fn ends_with_hole(&self) -> bool {
        self.runs.last().map_or(0, |run| run.offset + run.length) < self.size
    }
}

fn write_all_at(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset`; returns less only at the end of the file.
pub(super) fn read_at(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}
