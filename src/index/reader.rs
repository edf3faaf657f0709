//! Reads an inventory: the index file of a backup and, for referenced segments, those of earlier backups.
//!
//! Either the caller has checked the digest of this backup's index file against the signed manifest, or the segment table
//! is checked against the digest that the manifest has of it. From there on trust goes by digest: the table names the
//! SHA-256 of every segment, wherever it lies, and a segment is used only if it matches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::loss::{Loss, Lost};
use super::problem;
use super::segment::{MAX_SEGMENT_BYTES, Segment};
use super::table::{End, lines, parse_table, read_text};
use crate::archive::{FramedReader, Scratch};
use crate::error::{Error, Result};
use crate::model::{
    BackupId, Digest, Entry, EntryKind, EntryPath, MAX_TABLE_BYTES, Problem, ProblemKind, TableRecord, line_path,
};
use crate::threads;

/// Opens the index file of the same component in another backup of the chain.
pub trait IndexFiles: Send + Sync + std::fmt::Debug {
    /// The opened file; the caller keeps it.
    fn open_index(&self, backup: &BackupId) -> Result<FramedReader>;
}

/// The complete list of a component's entries.
#[derive(Debug)]
pub struct Inventory {
    name: String,
    files: Box<dyn IndexFiles>,
    /// One that cannot be opened is tried only once.
    opened: Mutex<BTreeMap<BackupId, Result<Arc<FramedReader>>>>,
    table: TableRecord,
    segments: Vec<Segment>,
    problems: Vec<Problem>,
    left_out: Vec<Problem>,
    /// Why the problem lines cannot be read. Nothing but the list of problems needs them.
    problems_fault: Option<String>,
    /// What could not be read so far.
    lost: Mutex<Lost>,
    /// The segments that were looked into last; hard links often lead to the same few.
    recent: Mutex<Vec<(usize, Arc<Vec<Entry>>)>>,
}

/// Segments that are kept for looking into them again.
const RECENT_SEGMENTS: usize = 8;

impl Inventory {
    /// Opens the inventory of `own`, whose index file has its signed digest; `name` is for errors.
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
        let text = read_text(&file, end.table_offset, table_bytes)?;
        let (segments, entries) = parse_table(name, &text)?;
        if segments.len() as u64 != end.segments || entries != end.entries {
            return Err(Error::damage(format!("the segment table of {name} does not add up")));
        }
        let table = TableRecord { offset: end.table_offset, bytes: table_bytes, sha256: Digest::of(&text) };
        let own_end = segments.iter().filter(|s| s.backup == own).map(|s| s.offset.saturating_add(s.length)).max();
        let own_end = own_end.unwrap_or(0);
        let problem_bytes = end.table_offset.checked_sub(own_end).filter(|&n| n <= MAX_TABLE_BYTES);
        let problem_bytes =
            problem_bytes.ok_or_else(|| Error::damage(format!("a segment of {name} reaches into its table")))?;
        let problems = read_text(&file, own_end, problem_bytes)
            .and_then(|text| lines(&text)?.map(problem::parse_line).collect::<Result<Vec<_>>>())
            .map_err(|e| e.one_line());
        let mut inventory = Self::new(name, own, files, file, table, segments);
        match problems {
            Ok(listed) => {
                (inventory.left_out, inventory.problems) =
                    listed.into_iter().partition(|p| p.kind == ProblemKind::LeftOut);
            }
            Err(why) => inventory.problems_fault = Some(why),
        }
        Ok(inventory)
    }

    /// Opens the inventory of `own`, whose index file is damaged, by its segment table, of which the signed manifest has
    /// the place and the digest. What else the file holds counts only as far as the table binds it, so nothing is known
    /// of problems.
    pub fn open_by_table(name: &str, own: BackupId, files: Box<dyn IndexFiles>, table: &TableRecord) -> Result<Self> {
        let file = Arc::new(files.open_index(&own)?);
        if table.bytes > MAX_TABLE_BYTES {
            return Err(Error::damage(format!("{name} has an impossible segment table")));
        }
        let text = read_text(&file, table.offset, table.bytes)?;
        if Digest::of(&text) != table.sha256 {
            return Err(Error::damage(format!("the segment table of {name} does not match its signed digest")));
        }
        let (segments, _) = parse_table(name, &text)?;
        Ok(Self::new(name, own, files, file, table.clone(), segments))
    }

    fn new(
        name: &str,
        own: BackupId,
        files: Box<dyn IndexFiles>,
        file: Arc<FramedReader>,
        table: TableRecord,
        segments: Vec<Segment>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            opened: Mutex::new(BTreeMap::from([(own, Ok(file))])),
            files,
            table,
            segments,
            problems: Vec::new(),
            left_out: Vec::new(),
            problems_fault: None,
            lost: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The name for errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where its segment table lies.
    #[must_use]
    pub fn table(&self) -> &TableRecord {
        &self.table
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.segments.iter().map(|s| s.entries).sum()
    }

    /// Problems that the capture met, with their paths.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What rules left out, as far as it is listed; the manifest has the count.
    #[must_use]
    pub fn left_out(&self) -> &[Problem] {
        &self.left_out
    }

    /// Why the problems cannot be read, if they cannot.
    #[must_use]
    pub fn problems_fault(&self) -> Option<&str> {
        self.problems_fault.as_deref()
    }

    /// The segments in path order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The lines of a segment, as they were written.
    fn segment_text(&self, number: usize, scratch: &mut Scratch) -> Result<Vec<u8>> {
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
        if lines(&text)?.count() as u64 != segment.entries {
            return Err(about("does not hold as many entries as its table line promises"));
        }
        Ok(text)
    }

    /// The entries of a segment but for bad lines, which are told: number, path as far as it is known, and why.
    fn parse(&self, number: usize, text: &[u8], bad: &mut dyn FnMut(usize, Option<EntryPath>, Error)) -> Vec<Entry> {
        let first = self.segments.get(number).map(|s| &s.first);
        let next = self.segments.get(number + 1).map(|s| &s.first);
        let mut entries: Vec<Entry> = Vec::new();
        for (at, line) in text.split_inclusive(|&b| b == b'\n').enumerate() {
            let entry = match Entry::parse_line(line) {
                Ok(entry) => entry,
                Err(error) => {
                    bad(at, line_path(line).ok().and_then(|path| EntryPath::new(&*path).ok()), error);
                    continue;
                }
            };
            let begins = if at == 0 { first == Some(&entry.path) } else { first.is_some_and(|f| *f < entry.path) };
            let follows = entries.last().is_none_or(|last| last.path < entry.path);
            if begins && follows && next.is_none_or(|next| entry.path < *next) {
                entries.push(entry);
            } else {
                let error = Error::damage(format!("{} lists {} out of order", self.name, entry.path));
                bad(at, None, error);
            }
        }
        entries
    }

    /// The entries of one segment, checked against its digest, its count and its place in the order. A damaged segment is
    /// empty, a bad line left out, and both are noted in [`Self::losses`].
    pub fn readable_segment(&self, number: usize, scratch: &mut Scratch) -> Result<Vec<Entry>> {
        let error = match self.segment_text(number, scratch) {
            Ok(text) => return Ok(self.parse(number, &text, &mut |at, path, e| self.note_line(number, at, path, &e))),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error),
        };
        if let Some(Segment { first, entries, .. }) = self.segments.get(number) {
            let until = match self.segments.get(number + 1) {
                Some(next) => format!("up to the one before {}", next.first),
                None => "up to the last".to_owned(),
            };
            let detail = format!("the lines of {entries} entries are lost, from {first} {until}: {}", error.one_line());
            let mut lost = self.lost();
            if lost.segments.insert(number) {
                lost.losses.push(Loss { path: first.clone(), entries: *entries, detail });
            }
        }
        Ok(Vec::new())
    }

    fn note_line(&self, number: usize, at: usize, path: Option<EntryPath>, error: &Error) {
        let Some(segment) = self.segments.get(number) else { return };
        let mut lost = self.lost();
        if lost.lines.insert((number, at)) {
            let shown = path.as_ref().unwrap_or(&segment.first);
            let detail = format!("line {} of the segment at {} is lost: {}", at + 1, segment.first, error.one_line());
            lost.losses.push(Loss { path: shown.clone(), entries: 1, detail });
            lost.paths.extend(path);
        }
    }

    /// The entry with exactly this path.
    pub fn find(&self, path: &EntryPath) -> Result<Option<Entry>> {
        let Some(number) = self.segment_of(path) else { return Ok(None) };
        let entries = self.segment_again(number)?;
        let found = entries.binary_search_by(|e| e.path.cmp(path)).ok().and_then(|at| entries.get(at)).cloned();
        let may_be_lost = || self.lost().lines.range((number, 0)..(number + 1, 0)).next().is_some();
        if found.is_none() && may_be_lost() {
            return Err(Error::damage(format!("the line of {path} may be one that is lost in {}", self.name)));
        }
        Ok(found)
    }

    /// The first name that a hard link leads to. A link to anything else than an earlier entry that is neither a folder
    /// nor a hard link is damage (FORMAT.md §7).
    pub fn first_name(&self, link: &EntryPath, target: &EntryPath) -> Result<Entry> {
        let bad = |what: &str| Error::damage(format!("{link} is a hard link to {target}, which {what}"));
        let found = self.find(target).map_err(|e| if e.is_damage() { bad("is lost").because(e) } else { e })?;
        let first = found.ok_or_else(|| bad("is not listed"))?;
        match first.kind {
            EntryKind::Dir => Err(bad("is a folder")),
            EntryKind::Hardlink { .. } => Err(bad("is itself a hard link")),
            _ => Ok(first),
        }
    }

    /// What could not be read so far, in path order.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        let mut losses = self.lost().losses.clone();
        losses.sort_by(|a, b| a.path.cmp(&b.path));
        losses
    }

    /// Whether anything could not be read so far.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        !self.lost().losses.is_empty()
    }

    /// Whether the line of an entry is known to be lost, or would be if there was one.
    #[must_use]
    pub fn is_lost(&self, path: &EntryPath) -> bool {
        let lost = self.lost();
        lost.paths.contains(path) || self.segment_of(path).is_some_and(|number| lost.segments.contains(&number))
    }

    pub(super) fn note_loss(&self, loss: Loss) {
        let mut lost = self.lost();
        if lost.paths.insert(loss.path.clone()) {
            lost.losses.push(loss);
        }
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment that would hold this path.
    fn segment_of(&self, path: &EntryPath) -> Option<usize> {
        self.segments.partition_point(|s| s.first <= *path).checked_sub(1)
    }

    /// A segment that others may have asked for before.
    fn segment_again(&self, number: usize) -> Result<Arc<Vec<Entry>>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(n, _)| *n == number) {
            recent[..=at].rotate_right(1);
        } else {
            let text = self.segment_text(number, &mut Scratch::new()?)?;
            let note = &mut |at, path, e: Error| self.note_line(number, at, path, &e);
            let entries = Arc::new(self.parse(number, &text, note));
            recent.insert(0, (number, entries));
            recent.truncate(RECENT_SEGMENTS);
        }
        Ok(Arc::clone(&recent[0].1))
    }

    fn file(&self, backup: &BackupId) -> Result<Arc<FramedReader>> {
        let mut opened = self.opened.lock().map_err(threads::died)?;
        opened.entry(backup.clone()).or_insert_with(|| self.files.open_index(backup).map(Arc::new)).clone()
    }
}
