//! A decoded frame, and what is cut out of it.

use crate::archive::{FramedReader, Scratch};
use crate::error::{Error, Result};
use crate::model::{BackupId, Digest, Entry, Extent};
use crate::monitor::Monitor;

/// A decoded frame.
#[derive(Debug)]
pub(in crate::engine) struct Frame<'a> {
    pub(super) archive: &'a FramedReader,
    pub(super) number: usize,
    pub(super) backup: &'a BackupId,
    pub(super) volume: u32,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

impl Frame<'_> {
    /// The bytes of an extent, if it lies in this frame as a whole.
    pub(in crate::engine) fn slice(&self, extent: &Extent) -> Option<&[u8]> {
        if extent.backup != *self.backup || extent.volume != self.volume {
            return None;
        }
        let start = usize::try_from(extent.offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(extent.length).ok()?)?)
    }

    /// The bytes from an offset of the stream to the frame's end.
    pub(in crate::engine) fn from(&self, offset: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(offset.checked_sub(self.offset)?).ok()?..)
    }
}

/// Content that is not what the index promised is damage.
pub(in crate::engine) fn check_digest(entry: &Entry, found: Digest, expected: Digest) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::damage(format!("the content of {} has SHA-256 {found}, the index says {expected}", entry.path)))
}

/// Reads a frame, no faster than was asked for.
pub(super) fn read_frame(
    archive: &FramedReader,
    frame: usize,
    scratch: &mut Scratch,
    bytes: &mut Vec<u8>,
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.throttle(archive.span(frame).stored_length);
    archive.read_frame(frame, scratch, bytes)
}
