//! Writes an index: cuts lines into segments, references those that an earlier index already holds, and keeps the
//! clear local copy beside it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;

use super::local::{LastSegment, LastSegments, LocalWriter};
use super::segment::{Segment, ends_after};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::archive::{FramedWriter, Written};
use crate::error::Result;
use crate::model::{BackupId, Digest, Entry, EntryPath, line_path};
use crate::source::Problem;

/// What an index holds, for the manifest.
#[derive(Clone, Debug)]
pub struct IndexTotals {
    /// The finished index file.
    pub written: Written,
    /// Segments of the inventory.
    pub segments: u64,
    /// Those that this file holds.
    pub own_segments: u64,
    /// Backups whose index files hold the others.
    pub referenced: Vec<BackupId>,
}

/// Takes lines in path order.
#[derive(Debug)]
#[must_use = "without finish() the index has no table"]
pub struct IndexWriter {
    backup: BackupId,
    file: FramedWriter,
    local: LocalWriter,
    compressor: Compressor,
    /// Segments of the last index by digest.
    known: HashMap<Digest, LastSegment>,
    /// The local copy of their lines.
    last_lines: Option<File>,
    table: Vec<Segment>,
    lines: Vec<u8>,
    lines_entries: u64,
    own_segments: u64,
    compressed: Vec<u8>,
}

impl IndexWriter {
    /// Begins the index of `backup`; `last` are the segments of the index it is based on.
    pub(crate) fn new(
        backup: BackupId,
        file: FramedWriter,
        local: LocalWriter,
        level: i32,
        last: Option<LastSegments>,
    ) -> Result<Self> {
        let (known, last_lines) = last.map_or((Vec::new(), None), |l| (l.all, Some(l.lines)));
        Ok(Self {
            backup,
            file,
            local,
            compressor: Compressor::new(level)?,
            known: known.into_iter().map(|s| (s.segment.sha256, s)).collect(),
            last_lines,
            table: Vec::new(),
            lines: Vec::new(),
            lines_entries: 0,
            own_segments: 0,
            compressed: Vec::new(),
        })
    }

    /// Adds an entry's line as it stands in the last index, newline included.
    pub fn push_line(&mut self, line: &[u8]) -> Result<()> {
        let start = self.lines.len();
        self.lines.extend_from_slice(line);
        self.added(start)
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        let start = self.lines.len();
        entry.write_line(&mut self.lines);
        self.added(start)
    }

    fn added(&mut self, start: usize) -> Result<()> {
        self.lines_entries += 1;
        if ends_after(&self.lines[start..], self.lines_entries, self.lines.len()) {
            self.end_segment()?;
        }
        Ok(())
    }

    fn end_segment(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let sha256 = Digest::of(&self.lines);
        let known = self.known.get(&sha256).filter(|k| k.segment.length == self.lines.len() as u64);
        let segment = match (known, &self.last_lines) {
            (Some(known), Some(lines)) => {
                if !LastSegments::read_frame(lines, known, &mut self.compressed)? {
                    self.compressor.compress(&self.lines, &mut self.compressed)?;
                }
                known.segment.clone()
            }
            _ => {
                let first = first_path(&self.lines)?;
                let (length, entries) = (self.lines.len() as u64, self.lines_entries);
                let offset = put_frame(&mut self.file, &mut self.compressor, &self.lines, &mut self.compressed)?;
                self.own_segments += 1;
                Segment { backup: self.backup.clone(), offset, length, sha256, entries, first }
            }
        };
        // The copy in the clear takes the same frame.
        self.local.put(&segment, &self.compressed)?;
        self.table.push(segment);
        self.lines.clear();
        self.lines_entries = 0;
        Ok(())
    }

    /// Writes problems, table and end line; finishes both files.
    pub fn finish(mut self, problems: &[Problem]) -> Result<IndexTotals> {
        self.end_segment()?;
        let mut text = Vec::new();
        for problem in problems {
            super::problem::write_line(problem, &mut text);
            self.flush_text(&mut text, TARGET_FRAME_BYTES)?;
        }
        self.flush_text(&mut text, 1)?;
        let table_offset = self.file.stream_bytes();
        let mut entries = 0;
        for segment in std::mem::take(&mut self.table) {
            entries += segment.entries;
            segment.write_line(&mut text);
            self.flush_text(&mut text, TARGET_FRAME_BYTES)?;
            self.table.push(segment);
        }
        self.flush_text(&mut text, 1)?;
        let segments = self.table.len() as u64;
        writeln!(text, "{{\"end\":{{\"table_offset\":{table_offset},\"segments\":{segments},\"entries\":{entries}}}}}")
            .expect("writing to memory does not fail");
        self.flush_text(&mut text, 1)?;
        let mut referenced: Vec<_> =
            self.table.iter().filter(|s| s.backup != self.backup).map(|s| s.backup.clone()).collect();
        referenced.sort();
        referenced.dedup();
        self.local.finish()?;
        let written = self.file.finish()?;
        Ok(IndexTotals { written, segments, own_segments: self.own_segments, referenced })
    }

    fn flush_text(&mut self, text: &mut Vec<u8>, at_least: usize) -> Result<()> {
        if text.len() >= at_least {
            put_frame(&mut self.file, &mut self.compressor, text, &mut self.compressed)?;
            text.clear();
        }
        Ok(())
    }
}

fn put_frame(
    file: &mut FramedWriter,
    compressor: &mut Compressor,
    bytes: &[u8],
    compressed: &mut Vec<u8>,
) -> Result<u64> {
    compressor.compress(bytes, compressed)?;
    file.put(compressed, bytes.len() as u64)
}

fn first_path(lines: &[u8]) -> Result<EntryPath> {
    let line = lines.split(|&b| b == b'\n').next().unwrap_or(lines);
    EntryPath::new(&*line_path(line)?)
}
