//! Writes an index: cuts lines into segments, references those that an earlier index already holds, and keeps the
//! clear local copy beside it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;

use super::local::{LastSegment, LastSegments, LocalWriter};
use super::order::Order;
use super::segment::{PATH_KEY, Segment, ends_after, path_text};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::archive::{FramedWriter, Written};
use crate::error::{Error, Result};
use crate::model::{
    BackupId, Digest, Entry, EntryKind, EntryPath, Hasher, MAX_TABLE_BYTES, Problem, TableRecord, line_path,
};

/// What an index holds, for the manifest.
#[derive(Clone, Debug)]
pub struct IndexTotals {
    /// The finished index file.
    pub written: Written,
    /// Segments of the inventory.
    pub segments: u64,
    /// Those that this file holds.
    pub own_segments: u64,
    /// Where its segment table lies.
    pub table: TableRecord,
    /// Backups whose index files hold the others.
    pub referenced: Vec<BackupId>,
}

/// What became of an entry.
#[derive(Debug)]
#[must_use]
pub enum Pushed {
    /// It is in the index.
    Taken,
    /// Readers would not take it; the index is as before.
    Refused(Error),
}

/// Most bytes of an entry's line: with what may stand before it in a segment, it must fit a frame.
const MAX_LINE_BYTES: usize = 32 << 20;
/// What a table line has besides the text of its path, at the most; in bytes.
const TABLE_LINE_BYTES: u64 = 200;

/// Takes lines in path order; what a reader would refuse is refused here.
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
    /// Length of the table as it will be written, at the most.
    table_bytes: u64,
    table_limit: u64,
    order: Order,
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
            table_bytes: 0,
            table_limit: MAX_TABLE_BYTES,
            order: Order::default(),
            lines: Vec::new(),
            lines_entries: 0,
            own_segments: 0,
            compressed: Vec::new(),
        })
    }

    /// Adds an entry's line as it stands in the last index, newline included.
    pub(crate) fn push_line(&mut self, line: &[u8]) -> Result<Pushed> {
        let path = line_path(line)?;
        let text = path_text(line).len();
        let is_dir = line.get(PATH_KEY.len() + text..).is_some_and(|rest| rest.starts_with(b"\",\"type\":\"dir\""));
        if let Err(refused) = self.accept(&path, is_dir, text) {
            return Ok(Pushed::Refused(refused));
        }
        let start = self.lines.len();
        self.lines.extend_from_slice(line);
        self.added(start).map(|()| Pushed::Taken)
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry) -> Result<Pushed> {
        let start = self.lines.len();
        entry.write_line(&mut self.lines);
        let line = &self.lines[start..];
        let (bytes, text) = (line.len(), path_text(line).len());
        let accepted = if bytes > MAX_LINE_BYTES {
            Err(Error::damage(format!("its line in the index would have {bytes} bytes, more than {MAX_LINE_BYTES}")))
        } else {
            let is_dir = entry.kind == EntryKind::Dir;
            entry.check().and_then(|()| self.accept(entry.path.as_bytes(), is_dir, text))
        };
        match accepted {
            Ok(()) => self.added(start).map(|()| Pushed::Taken),
            Err(refused) => {
                self.lines.truncate(start);
                Ok(Pushed::Refused(refused))
            }
        }
    }

    /// Whether a reader would take the entry here: after all others, below a folder, in a table that is not too long.
    fn accept(&mut self, path: &[u8], is_dir: bool, path_text_bytes: usize) -> Result<()> {
        if self.lines_entries == 0 {
            let bytes = path_text_bytes as u64 + TABLE_LINE_BYTES;
            if self.table_bytes + bytes > self.table_limit {
                return Err(Error::failed("the index has no room for more segments"));
            }
        }
        self.order.next(path, is_dir)
    }

    fn added(&mut self, start: usize) -> Result<()> {
        if self.lines_entries == 0 {
            self.table_bytes += path_text(&self.lines).len() as u64 + TABLE_LINE_BYTES;
        }
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
        let mut hasher = Hasher::default();
        for segment in std::mem::take(&mut self.table) {
            entries += segment.entries;
            let start = text.len();
            segment.write_line(&mut text);
            hasher.update(&text[start..]);
            self.flush_text(&mut text, TARGET_FRAME_BYTES)?;
            self.table.push(segment);
        }
        self.flush_text(&mut text, 1)?;
        let table_bytes = self.file.stream_bytes() - table_offset;
        let table = TableRecord { offset: table_offset, bytes: table_bytes, sha256: hasher.finish() };
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
        Ok(IndexTotals { written, segments, own_segments: self.own_segments, table, referenced })
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::archive::seal::Sealer;
    use crate::archive::{FramedReader, StoredFile};
    use crate::durable::Disk;
    use crate::index::{IndexFiles, Inventory, LocalIndex};
    use crate::keys::Keys;
    use crate::model::{Moment, Position, Sealing, Timestamp};

    #[derive(Debug)]
    struct One(PathBuf);

    impl IndexFiles for One {
        fn open_index(&self, _: &BackupId) -> Result<FramedReader> {
            let file = StoredFile::new(File::open(&self.0).unwrap()).unwrap();
            FramedReader::open(Arc::new(file), &Sealing::None, &Keys::none(), "index")
        }
    }

    #[test]
    fn what_the_segment_table_has_no_room_for_is_refused_and_the_rest_can_be_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let (path, backup) =
            (dir.path().join("index"), BackupId::at(Moment::from_unix_seconds(1_700_000_000), 1).unwrap());
        let disk = Disk::default();
        let file = FramedWriter::new(disk.create(&path).unwrap(), &Sealer::none()).unwrap();
        let local = LocalIndex::at(dir.path(), "files").create(&disk).unwrap();
        let mut writer = IndexWriter::new(backup.clone(), file, local, 3, None).unwrap();
        writer.table_limit = 3 * TABLE_LINE_BYTES;
        let (mut taken, mut refused) = (0, 0);
        for number in 0..5000 {
            let entry = Entry {
                path: EntryPath::new(format!("{number:04}").into_bytes()).unwrap(),
                kind: EntryKind::Fifo,
                mode: 0o600,
                uid: 0,
                gid: 0,
                user: String::new(),
                group: String::new(),
                mtime: Timestamp::default(),
                ctime: Timestamp::default(),
                inode: 1,
                xattrs: Vec::new(),
                home: Position { backup: backup.clone(), volume: 0, offset: 0 },
            };
            match writer.push(&entry).unwrap() {
                Pushed::Taken => taken += 1,
                Pushed::Refused(why) => {
                    assert!(why.to_string().contains("no room"), "{why}");
                    refused += 1;
                }
            }
            // Neither twice nor backwards, whatever became of it.
            assert!(matches!(writer.push(&entry).unwrap(), Pushed::Refused(_)));
        }
        let totals = writer.finish(&[]).unwrap();
        assert!(totals.segments == 2 && taken > 100 && refused > 1000, "{taken} {refused} {totals:?}");
        let inventory = Inventory::open("index", backup, Box::new(One(path))).unwrap();
        assert_eq!(inventory.readable().unwrap().collect::<Result<Vec<_>>>().unwrap().len(), taken);
        assert!(!inventory.is_lossy());
    }
}
