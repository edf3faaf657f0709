//! The stored bytes of a file as one stream of exactly the promised length, and the cutting of it into chunks.

use std::fs::File;
use std::io;

use fastcdc::v2020::FastCDC;
use rustix::buffer::spare_capacity;

use super::capture::{changed, problem};
use crate::model::{Problem, ProblemKind};
use crate::page_cache;
use crate::source::files::Found;

/// Files of at least this size are streamed, chunked and may be stored in pieces; in bytes.
pub(super) const LARGE_FILE_BYTES: u64 = 8 << 20;
/// Beyond this many stored bytes no chunks are listed: the index line would grow too long.
const MAX_CHUNKED_BYTES: u64 = 512 << 30;

/// Most chunks of a stream that are listed: with their extents they take at most about 120 bytes each in a line of 32 MiB. A
/// longer stream is stored whole by the next backup.
pub(super) const MAX_STREAM_CHUNKS: usize = 240_000;
/// Average chunk of a stream of unknown length, in its first 4 GiB; in bytes.
const STREAM_CHUNK_BYTES: usize = 64 << 10;

/// What a stream reads from.
pub(super) trait ReadAt: std::fmt::Debug + Sync {
    /// Reads at an offset; 0 at the end.
    fn read_at(&self, part: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads what fits into the spare room after `out`, which nobody has cleared before.
    fn append_at(&self, out: &mut Vec<u8>, offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, part: &mut [u8], offset: u64) -> io::Result<usize> {
        page_cache::read_once_at(self, part, offset)
    }

    fn append_at(&self, out: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(self, spare_capacity(out), offset)?)
    }
}

/// Behind a place that cannot be read, reading goes on at the next multiple of this. In bytes.
const GAP_BYTES: usize = 4096;
/// After this many places a disk that fails is left in peace; the rest of the file counts as a gap.
const MAX_FAULTS: usize = 1024;

/// Reads the data regions of a file one after the other. What cannot be read, and what lies after an end that comes too
/// early, is filled with zeros: the member's header has already promised its length.
#[derive(Debug)]
pub(super) struct StoredStream<'a> {
    file: &'a dyn ReadAt,
    regions: Vec<(u64, u64)>,
    next: usize,
    inside: u64,
    /// The file ended before its size.
    ended: bool,
    /// Ranges that could not be read, from and to, in order and apart from each other.
    gaps: Vec<(u64, u64)>,
    faults: usize,
    error: Option<io::Error>,
}

impl<'a> StoredStream<'a> {
    pub(super) fn new(file: &'a dyn ReadAt, size: u64, regions: Option<&[(u64, u64)]>) -> Self {
        let regions = regions.map_or_else(|| vec![(0, size)], <[_]>::to_vec);
        Self { file, regions, next: 0, inside: 0, ended: false, gaps: Vec::new(), faults: 0, error: None }
    }

    /// Total length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.regions.iter().map(|r| r.1).sum()
    }

    /// What was wrong, as a problem; an error when nothing at all could be read.
    pub(super) fn fault(&mut self, found: &Found) -> io::Result<Option<Problem>> {
        if let Some(error) = self.error.take() {
            let lost: u64 = self.gaps.iter().map(|(from, to)| to - from).sum();
            if lost >= self.length() {
                return Err(error);
            }
            let ranges: Vec<_> = self.gaps.iter().take(8).map(|(from, to)| format!("{from} to {to}")).collect();
            let more =
                if self.gaps.len() > 8 { format!(" and {} more places", self.gaps.len() - 8) } else { String::new() };
            let ranges = ranges.join(", ");
            let detail = format!("{lost} bytes could not be read, zeros stand for them: {ranges}{more} ({error})");
            return Ok(Some(problem(found, ProblemKind::Unreadable, detail)));
        }
        Ok(self.ended.then(|| changed(found, "it became shorter while it was read; zeros stand for the rest")))
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
        while self.regions.len() == 1 && out.len() < end {
            let offset = self.regions[0].0 + (out.len() - start) as u64;
            // What lies after the end, in a file that grows, is cut off below.
            match self.file.append_at(out, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) if n > 0 => {}
                // The slow way knows what to do.
                _ => break,
            }
        }
        let read = out.len().min(end);
        out.resize(end, 0);
        self.inside = if self.regions.len() == 1 { (read - start) as u64 } else { 0 };
        if read < end {
            self.fill(&mut out[read..]);
        }
    }

    fn read_or_zero(&mut self, mut part: &mut [u8], mut offset: u64) {
        while !part.is_empty() && !self.ended && self.faults < MAX_FAULTS {
            let n = match self.file.read_at(part, offset) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let to_next = GAP_BYTES - usize::try_from(offset % GAP_BYTES as u64).unwrap_or(0);
                    let n = to_next.min(part.len());
                    part[..n].fill(0);
                    self.faults += 1;
                    self.error.get_or_insert(e);
                    self.gap(offset, n);
                    n
                }
            };
            part = &mut part[n..];
            offset += n as u64;
        }
        if !part.is_empty() {
            part.fill(0);
            if !self.ended {
                self.gap(offset, part.len());
            }
        }
    }

    fn gap(&mut self, from: u64, length: usize) {
        let to = from.saturating_add(length as u64);
        match self.gaps.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => self.gaps.push((from, to)),
        }
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
        Some(Self::around(average))
    }

    /// For a stream of unknown length, after `position` bytes of it. Rows and pages of databases change here and there, so
    /// chunks begin small (docs/PERFORMANCE.md has the measurement); they grow with the stream, because each takes a
    /// hundred bytes in the index.
    pub(super) fn at(position: u64) -> Self {
        Self::around(match position >> 30 {
            0..4 => STREAM_CHUNK_BYTES,
            4..16 => STREAM_CHUNK_BYTES * 4,
            16..64 => STREAM_CHUNK_BYTES * 16,
            64..256 => STREAM_CHUNK_BYTES * 64,
            _ => STREAM_CHUNK_BYTES * 128,
        })
    }

    fn around(average: usize) -> Self {
        Self { min: average / 4, average, max: average * 4 }
    }
}

/// What can be cut into chunks.
pub(super) trait Fill {
    /// Fills as much of `buffer` as there still is; returns that number. Less than its length is the end.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Fill for StoredStream<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(StoredStream::fill(self, buffer))
    }
}

/// Cuts a stream into chunks.
#[derive(Debug)]
pub(super) struct Chunker<'s, S> {
    stream: &'s mut S,
    sizes: ChunkSizes,
    window: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'s, S: Fill> Chunker<'s, S> {
    pub(super) fn new(stream: &'s mut S, sizes: ChunkSizes) -> Self {
        let window = vec![0; sizes.max * 2];
        Self { stream, sizes, window, start: 0, end: 0 }
    }

    /// Cuts what follows into chunks of other sizes, which are not smaller.
    pub(super) fn grow(&mut self, sizes: ChunkSizes) {
        if sizes.max > self.sizes.max {
            self.window.resize(sizes.max * 2, 0);
            self.sizes = sizes;
        }
    }

    /// The next chunk; none at the end of the stream.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<&[u8]>> {
        if self.end - self.start < self.sizes.max {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let end = self.end;
            self.end += self.stream.fill(&mut self.window[end..])?;
        }
        if self.start == self.end {
            return Ok(None);
        }
        let window = &self.window[self.start..self.end];
        let ChunkSizes { min, average, max } = self.sizes;
        let (_, length) = FastCDC::new(window, min, average, max).cut(0, window.len());
        let chunk = &window[..length];
        self.start += length;
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with places that cannot be read.
    #[derive(Debug)]
    struct Worn {
        content: Vec<u8>,
        bad: Vec<(usize, usize)>,
    }

    impl ReadAt for Worn {
        fn read_at(&self, part: &mut [u8], offset: u64) -> io::Result<usize> {
            let at = usize::try_from(offset).unwrap().min(self.content.len());
            let end = (at + part.len()).min(self.content.len());
            if self.bad.iter().any(|&(from, to)| from < end && at < to) {
                // As the kernel does: what lies before the bad place comes first.
                let good =
                    self.bad.iter().map(|b| b.0).filter(|&from| from > at).min().map_or(at, |from| from.min(end));
                let is_bad = self.bad.iter().any(|&(from, to)| from <= at && at < to);
                if is_bad || good == at {
                    return Err(io::Error::from_raw_os_error(5));
                }
                part[..good - at].copy_from_slice(&self.content[at..good]);
                return Ok(good - at);
            }
            part[..end - at].copy_from_slice(&self.content[at..end]);
            Ok(end - at)
        }

        fn append_at(&self, out: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
            let mut part = vec![0; out.capacity() - out.len()];
            let n = self.read_at(&mut part, offset)?;
            out.extend_from_slice(&part[..n]);
            Ok(n)
        }
    }

    fn found() -> Found {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut steps = crate::source::files::walk(&[file.path().to_owned()], Default::default()).unwrap();
        match steps.next() {
            Some(crate::source::files::Step::Entry(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_can_be_read_of_a_worn_disk_is_kept_and_the_gaps_are_named() {
        let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8 + 1).collect();
        let bad = vec![(20_000, 20_001), (60_000, 70_000)];
        let disk = Worn { content: content.clone(), bad };
        // Whole blocks are lost from the bad byte on.
        let mut expected = content.clone();
        expected[20_000..20_480].fill(0);
        expected[60_000..73_728].fill(0);
        let mut appended = b"before".to_vec();
        let mut stream = StoredStream::new(&disk, 100_000, None);
        stream.append_to(&mut appended);
        assert!(appended[6..] == expected);
        let mut filled = vec![9; 100_000];
        let mut other = StoredStream::new(&disk, 100_000, None);
        let mut done = 0;
        while done < filled.len() {
            let end = filled.len().min(done + 7777);
            done += other.fill(&mut filled[done..end]);
        }
        assert_eq!(other.fill(&mut [0; 10]), 0);
        let same = filled.iter().zip(&content).filter(|(a, b)| a == b).count();
        assert!(same > 100_000 - 24_000 && filled.iter().zip(&content).all(|(a, b)| a == b || *a == 0));
        for stream in [&mut stream, &mut other] {
            let problem = stream.fault(&found()).unwrap().unwrap();
            assert_eq!(problem.kind, ProblemKind::Unreadable);
            assert!(problem.detail.contains("20000 to 20480"), "{}", problem.detail);
        }
    }

    #[test]
    fn a_file_of_which_nothing_can_be_read_is_an_error_and_a_short_one_is_changed() {
        let disk = Worn { content: vec![1; 50_000], bad: vec![(0, 50_000)] };
        let mut stream = StoredStream::new(&disk, 50_000, None);
        stream.append_to(&mut Vec::new());
        assert_eq!(stream.fault(&found()).unwrap_err().raw_os_error(), Some(5));
        let disk = Worn { content: vec![1; 50_000], bad: vec![] };
        let mut stream = StoredStream::new(&disk, 60_000, Some(&[(0, 10_000), (40_000, 20_000)]));
        let mut out = Vec::new();
        stream.append_to(&mut out);
        assert!(out[..20_000].iter().all(|&b| b == 1) && out[20_000..].iter().all(|&b| b == 0) && out.len() == 30_000);
        assert_eq!(stream.fault(&found()).unwrap().unwrap().kind, ProblemKind::Changed);
        // A disk that fails everywhere is not asked for each of its blocks.
        let disk = Worn { content: vec![1; 64 << 20], bad: vec![(8192, 64 << 20)] };
        let mut stream = StoredStream::new(&disk, 64 << 20, None);
        stream.append_to(&mut Vec::new());
        assert_eq!((stream.faults, stream.gaps.as_slice()), (MAX_FAULTS, &[(8192, 64 << 20)][..]));
    }
}
