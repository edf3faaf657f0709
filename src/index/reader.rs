//! Reads an inventory: the index file of a backup and, for referenced segments, those of earlier backups.
//!
//! The caller has checked the digest of this backup's index file against the signed manifest. From there on trust goes
//! by digest: the table names the SHA-256 of every segment, wherever it lies, and a segment is used only if it matches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::segment::{MAX_SEGMENT_BYTES, Segment};
use super::{Order, problem};
use crate::archive::{FramedReader, Scratch};
use crate::error::{Error, Result};
use crate::model::{BackupId, Digest, Entry, EntryKind, EntryPath, Scan};
use crate::source::Problem;

/// Opens the index file of the same component in another backup of the chain.
pub trait IndexFiles: Send + Sync + std::fmt::Debug {
    /// The opened file; the caller keeps it.
    fn open_index(&self, backup: &BackupId) -> Result<FramedReader>;
}

/// The complete list of a component's entries.
#[derive(Debug)]
pub struct Inventory {
    name: String,
    own: BackupId,
    files: Box<dyn IndexFiles>,
    opened: Mutex<BTreeMap<BackupId, Arc<FramedReader>>>,
    segments: Vec<Segment>,
    entries: u64,
    problems: Vec<Problem>,
}

/// The table is at most this long, in bytes: a million segments of ordinary paths.
const MAX_TABLE_BYTES: u64 = 512 << 20;

impl Inventory {
    /// Opens the inventory of `own`; `name` is for errors.
    pub fn open(name: &str, own: BackupId, files: Box<dyn IndexFiles>) -> Result<Self> {
        let file = Arc::new(files.open_index(&own)?);
        let mut scratch = Scratch::new()?;
        let mut frame = Vec::new();
        let last = file.frames().checked_sub(1).ok_or_else(|| Error::damage(format!("{name} is empty")))?;
        file.read_frame(last, &mut scratch, &mut frame)?;
        let end = End::parse(name, &frame)?;
        let table_end = file.span(last).offset;
        let table_bytes = table_end.checked_sub(end.table_offset).filter(|&n| n <= MAX_TABLE_BYTES);
        let table_bytes =
            table_bytes.ok_or_else(|| Error::damage(format!("{name} has an impossible segment table")))?;
        let mut text = Vec::new();
        file.read_range(end.table_offset, table_bytes, &mut scratch, &mut frame, &mut |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        let segments: Vec<_> = lines(&text)?.map(Segment::parse_line).collect::<Result<_>>()?;
        let sum = segments.iter().try_fold(0_u64, |n, s| n.checked_add(s.entries));
        if segments.len() as u64 != end.segments || sum != Some(end.entries) {
            return Err(Error::damage(format!("the segment table of {name} does not add up")));
        }
        if segments.windows(2).any(|w| w[0].first >= w[1].first) {
            return Err(Error::damage(format!("the segment table of {name} is not in path order")));
        }
        let own_end = segments.iter().filter(|s| s.backup == own).map(|s| s.offset.saturating_add(s.length)).max();
        let own_end = own_end.unwrap_or(0);
        let problem_bytes = end.table_offset.checked_sub(own_end).filter(|&n| n <= MAX_TABLE_BYTES);
        let problem_bytes =
            problem_bytes.ok_or_else(|| Error::damage(format!("a segment of {name} reaches into its table")))?;
        text.clear();
        file.read_range(own_end, problem_bytes, &mut scratch, &mut frame, &mut |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        let problems = lines(&text)?.map(problem::parse_line).collect::<Result<_>>()?;
        let opened = Mutex::new(BTreeMap::from([(own.clone(), file)]));
        Ok(Self { name: name.to_owned(), own, files, opened, segments, entries: end.entries, problems })
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Problems that the capture met, with their paths.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The segments in path order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The backup it belongs to.
    #[must_use]
    pub fn backup(&self) -> &BackupId {
        &self.own
    }

    /// The entries of one segment, checked against its digest, its count and its place in the order.
    pub fn read_segment(&self, number: usize, scratch: &mut Scratch) -> Result<Vec<Entry>> {
        let segment =
            self.segments.get(number).ok_or_else(|| Error::failed(format!("{} has no segment {number}", self.name)))?;
        let file = self.file(&segment.backup)?;
        let about = |what: &str| {
            Error::damage(format!(
                "the index segment of {} at {} in backup {} {what}",
                self.name, segment.first, segment.backup
            ))
        };
        let frame = file.find(segment.offset)?;
        let span = file.span(frame);
        if span.offset != segment.offset || span.length != segment.length || segment.length > MAX_SEGMENT_BYTES {
            return Err(about("is not a frame of its own"));
        }
        let mut text = Vec::new();
        file.read_frame(frame, scratch, &mut text)?;
        if Digest::of(&text) != segment.sha256 {
            return Err(about("does not match its digest"));
        }
        let entries: Vec<_> = lines(&text)?.map(Entry::parse_line).collect::<Result<_>>()?;
        if entries.len() as u64 != segment.entries || entries.first().is_none_or(|e| e.path != segment.first) {
            return Err(about("does not hold the entries that its table line promises"));
        }
        let next = self.segments.get(number + 1).map(|s| &s.first);
        let ordered = entries.windows(2).all(|w| w[0].path < w[1].path);
        if !ordered || entries.last().is_some_and(|e| next.is_some_and(|n| e.path >= *n)) {
            return Err(about("is not in path order"));
        }
        Ok(entries)
    }

    /// All entries in path order, each folder before what it holds.
    pub fn iter(&self) -> Result<Entries<'_>> {
        Ok(Entries {
            inventory: self,
            segment: 0,
            pending: Vec::new().into_iter(),
            scratch: Scratch::new()?,
            order: Order::default(),
        })
    }

    /// The entry with exactly this path.
    pub fn find(&self, path: &EntryPath) -> Result<Option<Entry>> {
        let number = self.segments.partition_point(|s| s.first <= *path);
        let Some(number) = number.checked_sub(1) else { return Ok(None) };
        let entries = self.read_segment(number, &mut Scratch::new()?)?;
        Ok(entries.into_iter().find(|e| e.path == *path))
    }

    fn file(&self, backup: &BackupId) -> Result<Arc<FramedReader>> {
        let mut opened = self.opened.lock().map_err(|_| Error::failed("a thread died while it held the index"))?;
        if let Some(file) = opened.get(backup) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.files.open_index(backup)?);
        opened.insert(backup.clone(), file.clone());
        Ok(file)
    }
}

/// Iterates over an inventory; ends after the first error.
#[derive(Debug)]
pub struct Entries<'a> {
    inventory: &'a Inventory,
    segment: usize,
    pending: std::vec::IntoIter<Entry>,
    scratch: Scratch,
    order: Order,
}

impl Entries<'_> {
    fn check_order(&mut self, entry: &Entry) -> Result<()> {
        let is_dir = matches!(entry.kind, EntryKind::Dir);
        let name = &self.inventory.name;
        self.order
            .next(entry.path.as_bytes(), is_dir)
            .map_err(|e| Error::damage(format!("{name} is no inventory: {}", e.one_line())))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.pending.next() {
                return Some(self.check_order(&entry).map(|()| entry));
            }
            if self.segment >= self.inventory.segments.len() {
                return None;
            }
            match self.inventory.read_segment(self.segment, &mut self.scratch) {
                Ok(entries) => {
                    self.segment += 1;
                    self.pending = entries.into_iter();
                }
                Err(error) => {
                    self.segment = self.inventory.segments.len();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// What the end line says.
struct End {
    table_offset: u64,
    segments: u64,
    entries: u64,
}

impl End {
    fn parse(name: &str, line: &[u8]) -> Result<Self> {
        if !line.ends_with(b"\n") {
            return Err(Error::damage(format!("the last line of {name} does not end")));
        }
        let mut scan = Scan::new(line);
        Self::scan(&mut scan).ok_or_else(|| scan.fault(&format!("the end line of {name}")))
    }

    fn scan(scan: &mut Scan<'_>) -> Option<Self> {
        scan.expect("{\"end\":{\"table_offset\":")?;
        let table_offset = scan.number()?;
        scan.expect(",\"segments\":")?;
        let segments = scan.number()?;
        scan.expect(",\"entries\":")?;
        let entries = scan.number()?;
        scan.end(&["table_offset", "segments", "entries"], "}")?;
        Some(Self { table_offset, segments, entries })
    }
}

/// Lines without their newlines. None is empty in an index, and the parsers of lines refuse such.
fn lines(text: &[u8]) -> Result<impl Iterator<Item = &[u8]>> {
    if !text.is_empty() && !text.ends_with(b"\n") {
        return Err(Error::damage("an index ends inside a line"));
    }
    Ok(text.split_inclusive(|&b| b == b'\n'))
}
