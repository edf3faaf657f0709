//! Rows of one data block in COPY's text form: how many, and a digest that does not depend on their order.
//!
//! A line is a row, as COPY escapes line feeds in values; the block ends with the line `\.` and two empty ones. Chunks of
//! the archive are not counted: that one chunk is one row holds for the servers of today only.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// What stands behind the last row.
const TAIL_LINES: u8 = 3;

/// A sum of SHA-256 digests, so that equal sets of rows have equal sums in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source::postgres) struct Sum([u64; 4]);

impl Sum {
    /// Adds one digest.
    pub(super) fn add(&mut self, digest: &[u8; 32]) {
        let (words, _) = digest.as_chunks::<8>();
        for (lane, word) in self.0.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|lane| write!(f, "{lane:016x}"))
    }
}

/// Counts what is fed to it.
#[derive(Debug, Default)]
pub(super) struct Rows {
    count: u64,
    bytes: u64,
    sum: Sum,
    hasher: Sha256,
    /// Of the line that is being read: its length so far and its first two bytes.
    line: u64,
    head: [u8; 2],
    /// Lines of the tail that were seen.
    tail: u8,
}

impl Rows {
    /// The next bytes of the block's data.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.piece(piece)?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) -> Result<()> {
        if self.tail > 0 {
            if piece != b"\n" || self.tail == TAIL_LINES {
                return Err(Error::damage("rows come behind the end mark of their table"));
            }
            self.tail += 1;
            return Ok(());
        }
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        for (place, byte) in self.head.iter_mut().skip(usize::try_from(self.line).unwrap_or(2)).zip(text) {
            *place = *byte;
        }
        self.line += text.len() as u64;
        if text.len() == piece.len() {
            self.hasher.update(text);
            return Ok(());
        }
        if self.line == 2 && self.head == *b"\\." {
            self.tail = 1;
        } else {
            self.hasher.update(text);
            self.count += 1;
            self.bytes += self.line + 1;
            self.sum.add(&self.hasher.finalize_reset().into());
        }
        self.line = 0;
        Ok(())
    }

    /// The rows, their bytes and their digest; an error unless the tail was there.
    pub(super) fn finish(self) -> Result<(u64, u64, Sum)> {
        if self.tail != TAIL_LINES {
            return Err(Error::damage("the rows of a table end without their end mark"));
        }
        Ok((self.count, self.bytes, self.sum))
    }
}
