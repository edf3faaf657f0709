//! Random access to one archive or index file: a stream of frames behind a seal.
//!
//! Nothing that is read here is trusted: the seal and the frames' checksums find accidents, but only a digest from a
//! signed manifest or a verified index says that bytes are those that were written. Callers compare it.

use std::sync::Arc;

use super::frame::{Decompressor, FOOTER_BYTES, FrameSpan, MAX_FRAME_BYTES, SeekTable, frame_header};
use super::seal::SealedReader;
use super::stored::ReadAt;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::model::Sealing;

/// An open archive or index file. Shared by threads; each brings its own [`Scratch`].
#[derive(Debug)]
pub struct FramedReader {
    name: String,
    sealed: SealedReader,
    table: SeekTable,
}

/// Buffers and the decompressor of one thread.
#[derive(Debug)]
pub struct Scratch {
    stored: Vec<u8>,
    decompressor: Decompressor,
}

impl Scratch {
    /// Fresh buffers.
    pub fn new() -> Result<Self> {
        Ok(Self { stored: Vec::new(), decompressor: Decompressor::new()? })
    }
}

impl FramedReader {
    /// Opens a stored file; `name` is for errors.
    pub fn open(stored: Arc<dyn ReadAt>, sealing: &Sealing, keys: &Keys, name: &str) -> Result<Self> {
        let sealed = SealedReader::open(stored, sealing, keys, name)?;
        let table = seek_table(&sealed, name)?;
        Ok(Self { name: name.to_owned(), sealed, table })
    }

    /// Opens what is left of a file that is known to be damaged. Its frames are found one after the other from the front,
    /// or, where one cannot be followed, by the seek table. Every byte that is read must be compared with a digest.
    pub fn salvage(stored: Arc<dyn ReadAt>, sealing: &Sealing, keys: &Keys, name: &str) -> Result<Self> {
        let sealed = SealedReader::salvage(stored, sealing, keys, name)?;
        let found = walk(&sealed);
        let table = match seek_table(&sealed, name) {
            Ok(table) if found.stored_size() < table.stored_size() => table,
            Err(error) if !error.is_damage() || found.frames() == 0 => return Err(error),
            _ => found,
        };
        Ok(Self { name: name.to_owned(), sealed, table })
    }

    /// Length of the stream.
    #[must_use]
    pub fn stream_bytes(&self) -> u64 {
        self.table.size()
    }

    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.table.frames()
    }

    /// The frame that holds the byte at `offset` of the stream.
    pub fn find(&self, offset: u64) -> Result<usize> {
        self.table.find(offset).ok_or_else(|| {
            let (name, size) = (&self.name, self.table.size());
            Error::damage(format!("{name} has {size} bytes of stream, byte {offset} was asked for"))
        })
    }

    /// Where a frame lies.
    #[must_use]
    pub fn span(&self, frame: usize) -> FrameSpan {
        self.table.frame(frame)
    }

    /// Reads, opens and decompresses one frame into `out`.
    pub fn read_frame(&self, frame: usize, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<()> {
        let span = self.table.frame(frame);
        let about = |e: Error| e.within(format!("frame {frame} of {} cannot be read", self.name));
        let stored = usize::try_from(span.stored_length).map_err(|_| Error::damage("a frame is too large"))?;
        let length = usize::try_from(span.length).map_err(|_| Error::damage("a frame is too large"))?;
        debug_assert!(length <= MAX_FRAME_BYTES);
        self.sealed.read_at(span.stored_offset, &mut scratch.stored, stored).map_err(about)?;
        scratch.decompressor.decompress(&scratch.stored, length, out).map_err(about)
    }

    /// Feeds `length` bytes of the stream from `offset` to `sink`, in pieces of at most one frame.
    pub fn read_range(
        &self,
        mut offset: u64,
        mut length: u64,
        scratch: &mut Scratch,
        frame_buffer: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while length > 0 {
            let frame = self.find(offset)?;
            let span = self.table.frame(frame);
            self.read_frame(frame, scratch, frame_buffer)?;
            let start = usize::try_from(offset - span.offset).unwrap_or(usize::MAX);
            let available = frame_buffer.get(start..).unwrap_or_default();
            let take = available.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            if take == 0 {
                return Err(Error::damage(format!("{} ends at byte {offset} of its stream", self.name)));
            }
            sink(&available[..take])?;
            offset += take as u64;
            length -= take as u64;
        }
        Ok(())
    }

    /// The name for errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The seek table at the end of a file.
fn seek_table(sealed: &SealedReader, name: &str) -> Result<SeekTable> {
    let size = sealed.size();
    let Some(footer_at) = size.checked_sub(FOOTER_BYTES as u64) else {
        return Err(Error::damage(format!("{name} is too short to hold a seek table")));
    };
    let mut buffer = Vec::new();
    sealed.read_at(footer_at, &mut buffer, FOOTER_BYTES)?;
    let footer: &[u8; FOOTER_BYTES] = buffer.as_slice().try_into().map_err(|_| Error::damage("a footer was cut"))?;
    let about = |e: Error| e.within(format!("the seek table of {name} is damaged"));
    let table_bytes = SeekTable::table_size_from_footer(footer).map_err(about)?;
    let payload = size
        .checked_sub(table_bytes)
        .ok_or_else(|| Error::damage(format!("the seek table of {name} claims more bytes than the file has")))?;
    let length = usize::try_from(table_bytes).map_err(|_| Error::damage("a seek table is too large"))?;
    sealed.read_at(payload, &mut buffer, length)?;
    SeekTable::parse(&buffer, payload).map_err(about)
}

/// The frames of a file whose seek table is lost, as far as they can be followed.
fn walk(sealed: &SealedReader) -> SeekTable {
    let (mut table, mut at) = (SeekTable::default(), 0);
    while let Ok((stored, length)) = measure(sealed, at) {
        if table.push(stored, length).is_err() {
            break;
        }
        at += stored;
    }
    table
}

/// Stored length and content length of the frame at `at`, by its header and the headers of its blocks.
fn measure(sealed: &SealedReader, at: u64) -> Result<(u64, u64)> {
    const LONGEST_HEADER: u64 = 18;
    // A block holds 128 KiB, unless somebody wants to keep us busy.
    const MOST_BLOCKS: usize = 1 << 16;
    let mut bytes = Vec::new();
    let mut read = |at: u64, most: u64| {
        let there = usize::try_from(most.min(sealed.size().saturating_sub(at))).unwrap_or(0);
        sealed.read_at(at, &mut bytes, there).map(|()| bytes.clone())
    };
    let header = frame_header(&read(at, LONGEST_HEADER)?)?;
    let mut end = at + header.length;
    for _ in 0..MOST_BLOCKS {
        let bytes = read(end, 3)?;
        let &[a, b, c] = bytes.as_slice() else { return Err(Error::damage("a frame was cut")) };
        let block = u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16;
        // A block of one repeated byte stores only that byte.
        let (is_last, is_run) = (block & 1 == 1, block >> 1 & 3 == 1);
        end += 3 + if is_run { 1 } else { block >> 3 };
        if is_last {
            end += if header.has_checksum { 4 } else { 0 };
            let whole = (end <= sealed.size()).then_some((end - at, header.content));
            return whole.ok_or_else(|| Error::damage("a frame was cut"));
        }
    }
    Err(Error::damage("a frame has too many blocks"))
}
