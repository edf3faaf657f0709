//! The stored bytes of a file as one stream of exactly the promised length, and the cutting of it into chunks.

use std::fs::File;
use std::io;

use fastcdc::v2020::FastCDC;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::cache;

/// Files of at least this size are streamed, chunked and may be stored in pieces; in bytes.
pub(super) const LARGE_FILE_BYTES: u64 = 8 << 20;
/// Beyond this many stored bytes no chunks are listed: the index line would grow too long.
const MAX_CHUNKED_BYTES: u64 = 512 << 30;

/// Reads the data regions of a file one after the other. A file that ends early is filled with zeros: the member's
/// header has already promised its length.
#[derive(Debug)]
pub(super) struct StoredStream<'a> {
    file: &'a File,
    regions: Vec<(u64, u64)>,
    next: usize,
    inside: u64,
    /// The file ended before its size, or could not be read; zeros stand in from there.
    pub(super) fault: Option<io::Error>,
}

impl<'a> StoredStream<'a> {
    pub(super) fn new(file: &'a File, size: u64, regions: Option<&[(u64, u64)]>) -> Self {
        let regions = regions.map_or_else(|| vec![(0, size)], <[_]>::to_vec);
        Self { file, regions, next: 0, inside: 0, fault: None }
    }

    /// Total length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.regions.iter().map(|r| r.1).sum()
    }

    /// Fills as much of `buffer` as the stream still has; returns that number.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() && self.next < self.regions.len() {
            let (offset, length) = self.regions[self.next];
            let left = usize::try_from(length - self.inside).unwrap_or(usize::MAX);
            let want = left.min(buffer.len() - done);
            let part = &mut buffer[done..done + want];
            self.read_or_zero(part, offset + self.inside);
            done += want;
            self.inside += want as u64;
            if self.inside == length {
                self.next += 1;
                self.inside = 0;
            }
        }
        done
    }

    /// Appends the whole stream to `out`; for files that fit into memory.
    pub(super) fn append_to(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let end = start + usize::try_from(self.length()).unwrap_or(usize::MAX);
        out.reserve(end - start);
        // One region is read straight into memory that nobody has cleared before.
        while self.regions.len() == 1 && out.len() < end && self.fault.is_none() {
            let offset = self.regions[0].0 + (out.len() - start) as u64;
            // What lies behind the end, in a file that grows, is cut off below.
            match rustix::io::pread(self.file, spare_capacity(out), offset) {
                Ok(0) => self.fault = Some(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter")),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => self.fault = Some(e.into()),
            }
        }
        let read = out.len().min(end);
        out.resize(end, 0);
        if self.regions.len() > 1 {
            self.fill(&mut out[read..]);
        }
    }

    fn read_or_zero(&mut self, mut part: &mut [u8], mut offset: u64) {
        while !part.is_empty() && self.fault.is_none() {
            match cache::read_once_at(self.file, part, offset) {
                Ok(0) => self.fault = Some(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter")),
                Ok(n) => {
                    part = &mut part[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => self.fault = Some(e),
            }
        }
        part.fill(0);
    }
}

/// Parameters of the content-defined chunks, in bytes (FORMAT.md §7).
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkSizes {
    min: usize,
    average: usize,
    max: usize,
}

/// The parameters as the manifest states them.
pub(super) const CHUNKING: &str =
    "fastcdc-2020 normalization 1, min/avg/max 256 KiB/1 MiB/4 MiB (above 16 GiB: 1 MiB/4 MiB/16 MiB), from 8 MiB";

impl ChunkSizes {
    /// For a file of `stored` bytes; none for files too large to list chunks.
    pub(super) fn for_length(stored: u64) -> Option<Self> {
        let average = match stored {
            0..=0x4_0000_0000 => 1 << 20,
            0x4_0000_0001..=MAX_CHUNKED_BYTES => 4 << 20,
            _ => return None,
        };
        Some(Self { min: average / 4, average, max: average * 4 })
    }
}

/// Cuts a stream into chunks.
#[derive(Debug)]
pub(super) struct Chunker<'a, 's> {
    stream: &'s mut StoredStream<'a>,
    sizes: ChunkSizes,
    window: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'a, 's> Chunker<'a, 's> {
    pub(super) fn new(stream: &'s mut StoredStream<'a>, sizes: ChunkSizes) -> Self {
        let window = vec![0; sizes.max * 2];
        Self { stream, sizes, window, start: 0, end: 0 }
    }

    /// The next chunk; none at the end of the stream.
    pub(super) fn next_chunk(&mut self) -> Option<&[u8]> {
        if self.end - self.start < self.sizes.max {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let end = self.end;
            self.end += self.stream.fill(&mut self.window[end..]);
        }
        if self.start == self.end {
            return None;
        }
        let window = &self.window[self.start..self.end];
        let ChunkSizes { min, average, max } = self.sizes;
        let (_, length) = FastCDC::new(window, min, average, max).cut(0, window.len());
        let chunk = &window[..length];
        self.start += length;
        Some(chunk)
    }
}
