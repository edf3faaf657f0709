//! Writes one archive or index file: frames in order, then the seek table, all sealed and digested on the way.

use std::io::Write as _;

use super::frame::SeekTable;
use super::seal::{SealWriter, Sealer};
use super::write_behind::WriteBehind;
use crate::durable::DurableFile;
use crate::error::{Context, Result};
use crate::model::Digest;

/// A finished file, as the manifest records it.
#[derive(Clone, Debug)]
pub struct Written {
    /// Stored bytes.
    pub size_bytes: u64,
    /// SHA-256 of the stored bytes.
    pub sha256: Digest,
    /// Length of the stream inside, before compression.
    pub stream_bytes: u64,
    /// Number of frames without the seek table.
    pub frames: u64,
}

/// Takes compressed frames and writes a sealed file.
#[derive(Debug)]
#[must_use = "without finish() the file has no seek table and is not synced"]
pub struct FramedWriter {
    seal: SealWriter<WriteBehind>,
    table: SeekTable,
}

impl FramedWriter {
    /// Begins a file.
    pub fn new(file: DurableFile, sealer: &Sealer) -> Result<Self> {
        Ok(Self { seal: sealer.start(WriteBehind::new(file)?)?, table: SeekTable::default() })
    }

    /// Adds a compressed frame of `length` bytes of stream; returns the offset in the stream where it begins.
    pub fn put(&mut self, compressed: &[u8], length: u64) -> Result<u64> {
        let offset = self.table.size();
        self.table.push(compressed.len() as u64, length)?;
        self.seal.write_all(compressed).doing("cannot write an archive")?;
        Ok(offset)
    }

    /// Bytes of the stream so far.
    #[must_use]
    pub fn stream_bytes(&self) -> u64 {
        self.table.size()
    }

    /// Compressed bytes so far; what is stored differs by the seal's overhead of 0.03 %.
    #[must_use]
    pub fn compressed_bytes(&self) -> u64 {
        self.table.stored_size()
    }

    /// Writes the table, ends the seal and syncs the file.
    pub fn finish(mut self) -> Result<Written> {
        let mut bytes = Vec::new();
        self.table.write(&mut bytes);
        self.seal.write_all(&bytes).doing("cannot write an archive")?;
        let (sha256, size_bytes) = self.seal.finish()?.finish()?;
        Ok(Written { size_bytes, sha256, stream_bytes: self.table.size(), frames: self.table.frames() as u64 })
    }
}
