//! The content of one file as a stream for whoever pulls: frames are decoded one at a time, and its end is reached only
//! when the digest is right.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use super::frame::{check_digest, read_frame};
use super::streams::Parts;
use crate::archive::Scratch;
use crate::engine::chain::Archives;
use crate::error::{Error, Result};
use crate::model::{Entry, EntryKind, Extent, Hasher};
use crate::monitor::Monitor;

/// Reads a regular file, holes as zeros. After an error it gives no more than that error.
pub(in crate::engine) struct ContentReader<'a> {
    entry: Entry,
    parts: Parts<'a, std::vec::IntoIter<Extent>>,
    scratch: Scratch,
    /// The frame that is being read, and what of it is still to be given.
    frame: Vec<u8>,
    ranges: VecDeque<Range<usize>>,
    /// None when the digest was compared.
    hasher: Option<Hasher>,
    /// Stretches of data that are still to be given: offset and length.
    regions: VecDeque<(u64, u64)>,
    position: u64,
    failed: Option<Error>,
    monitor: &'a dyn Monitor,
}

impl<'a> ContentReader<'a> {
    /// Begins; `entry` is a regular file.
    pub(in crate::engine) fn new(archives: &'a Archives, entry: &Entry, monitor: &'a dyn Monitor) -> Result<Self> {
        let EntryKind::File { size, extents, regions, .. } = &entry.kind else {
            return Err(Error::failed(format!("{} is a {}, not a file", entry.path, entry.kind.name())));
        };
        Ok(Self {
            parts: Parts::new(archives, extents.clone().into_iter()),
            scratch: Scratch::new()?,
            frame: Vec::new(),
            ranges: VecDeque::new(),
            hasher: Some(Hasher::default()),
            regions: regions.clone().unwrap_or_else(|| vec![(0, *size)]).into(),
            position: 0,
            failed: None,
            entry: entry.clone(),
            monitor,
        })
    }

    /// Logical size in bytes, holes included.
    pub(in crate::engine) fn size(&self) -> u64 {
        self.entry.size()
    }

    fn next(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            let Some(&(offset, length)) = self.regions.front() else {
                self.check_end()?;
                return Ok(self.zeros_to(self.entry.size(), out));
            };
            if self.position < offset {
                return Ok(self.zeros_to(offset, out));
            }
            if length == 0 {
                self.regions.pop_front();
                continue;
            }
            let Some(range) = self.stored()? else {
                return Err(Error::damage(format!("{} has less content than its regions", self.entry.path)));
            };
            let room = usize::try_from(length).unwrap_or(usize::MAX).min(out.len());
            let bytes = self.frame.get(range).unwrap_or_default();
            let taken = room.min(bytes.len());
            out[..taken].copy_from_slice(&bytes[..taken]);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&bytes[..taken]);
            }
            if let Some(range) = self.ranges.front_mut() {
                range.start += taken;
            }
            if let Some(region) = self.regions.front_mut() {
                *region = (offset + taken as u64, length - taken as u64);
            }
            self.position += taken as u64;
            self.monitor.advance(taken as u64, 0);
            return Ok(taken);
        }
    }

    /// Zeros of a hole that ends at `end`; 0 when it has ended.
    fn zeros_to(&mut self, end: u64, out: &mut [u8]) -> usize {
        let left = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let taken = left.min(out.len());
        out[..taken].fill(0);
        self.position += taken as u64;
        taken
    }

    /// Where the next stored bytes lie in the frame; never an empty stretch.
    fn stored(&mut self) -> Result<Option<Range<usize>>> {
        loop {
            while let Some(range) = self.ranges.front() {
                if !range.is_empty() {
                    return Ok(Some(range.clone()));
                }
                self.ranges.pop_front();
            }
            self.monitor.check()?;
            let Some(part) = self.parts.next()? else { return Ok(None) };
            read_frame(&part.archive, part.frame, &mut self.scratch, &mut self.frame, self.monitor)?;
            if part.ranges.iter().any(|range| range.end > self.frame.len()) {
                return Err(Error::damage(format!("a frame of {} is too short", part.archive.name())));
            }
            self.ranges = part.ranges.into();
        }
    }

    /// Compares the digest, once all stored bytes were given.
    fn check_end(&mut self) -> Result<()> {
        if self.hasher.is_none() {
            return Ok(());
        }
        if self.stored()?.is_some() {
            return Err(Error::damage(format!("{} has more content than its regions", self.entry.path)));
        }
        match (&self.entry.kind, self.hasher.take()) {
            (EntryKind::File { sha256, .. }, Some(hasher)) => check_digest(&self.entry, hasher.finish(), *sha256),
            _ => Ok(()),
        }
    }

    /// Reads all that is left, as it is `Read` but with the error as it is.
    pub(in crate::engine) fn read_all(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut piece = vec![0; 64 << 10];
        loop {
            match self.next(&mut piece)? {
                0 => return Ok(()),
                taken => out.extend_from_slice(&piece[..taken]),
            }
        }
    }
}

impl std::fmt::Debug for ContentReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentReader").field("path", &self.entry.path).finish_non_exhaustive()
    }
}

impl Read for ContentReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(io::Error::other(error.clone()));
        }
        if out.is_empty() {
            return Ok(0);
        }
        self.next(out).map_err(|error| {
            self.failed = Some(error.clone());
            io::Error::other(error)
        })
    }
}
