//! Joins the walk with the last index in path order and deals out the work: what is unchanged is passed on as its old
//! line, the rest is packed into batches that become frames, and large files go their own way.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::large::Part;
use super::pack::Packed;
use super::stream::LARGE_FILE_BYTES;
use crate::archive::frame::TARGET_FRAME_BYTES;
use crate::error::{Error, Result};
use crate::index::LocalLines;
use crate::model::{BackupId, Entry, EntryPath, Fields, Timestamp, line_path, tree_order};
use crate::source::Problem;
use crate::source::files::{FileKind, Found, LeftOut, Stat, Step, Walk};

/// Most entries in one batch: bounds memory where little is read.
const MAX_BATCH_ENTRIES: u64 = 4096;
/// Headers of a member in the tar stream, roughly, for the size of batches; in bytes.
const MEMBER_OVERHEAD_BYTES: u64 = 1536;

/// Entries on their way into the index.
#[derive(Debug)]
pub(super) enum Item {
    /// Unchanged ones.
    Kept(Kept),
    /// One to be captured.
    Read(Box<Job>),
}

/// Consecutive unchanged entries: their lines, as they stand in the last index.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) lines: Vec<u8>,
    pub(super) entries: u64,
    pub(super) content_bytes: u64,
}

/// An entry that has to be captured.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) found: Found,
    /// The entry of the same path in the last index, with its line.
    pub(super) previous: Option<(Vec<u8>, Entry)>,
    /// The first name of the same file, when this is a further one.
    pub(super) link_to: Option<EntryPath>,
}

/// Work for the pool.
#[derive(Debug)]
pub(super) enum Work {
    Batch(Vec<Item>, Sender<Result<Packed>>),
    Large(Box<Job>, Sender<Result<Part>>),
}

/// A place in the order of the archive, filled by a worker.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nothing for a worker.
    Kept(Kept),
    Batch(Receiver<Result<Packed>>),
    Large(Receiver<Result<Part>>),
    /// Something the walk itself met.
    Problem(Problem),
    Note(String),
    /// What rules left out; comes last.
    LeftOut(LeftOut),
}

/// Parts of a large file that may wait for the writer.
const LARGE_PARTS_AHEAD: usize = 6;

/// What the next run may take for unchanged.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) lines: LocalLines,
    /// Timestamps from this moment on are not trusted, in Unix seconds (FORMAT.md §7).
    pub(super) trusted_before_seconds: i64,
    /// Read files even if they look unchanged.
    pub(super) rehash: bool,
}

/// Runs the join until the walk ends or nobody listens any more. Returns the backups that unchanged entries refer to.
pub(super) fn join(
    mut walk: Walk,
    base: Option<Base>,
    slots: &Sender<Slot>,
    work: &Sender<Work>,
) -> Result<BTreeSet<BackupId>> {
    let mut joiner = Joiner {
        base,
        peeked: false,
        line: Vec::new(),
        links: HashMap::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        batch_entries: 0,
        batch_line_bytes: 0,
        referenced: BTreeSet::new(),
        slots,
        work,
    };
    for step in &mut walk {
        let go_on = match step {
            Step::Entry(found) => joiner.entry(found)?,
            Step::Problem(problem) => slots.send(Slot::Problem(problem)).is_ok(),
            Step::Note { path, reason } => slots.send(Slot::Note(format!("{path}: {reason}"))).is_ok(),
        };
        if !go_on {
            return Ok(joiner.referenced);
        }
    }
    if joiner.flush() {
        // Whoever does not listen any more has an error of his own.
        drop(slots.send(Slot::LeftOut(walk.take_left_out())));
    }
    Ok(joiner.referenced)
}

struct Joiner<'a> {
    base: Option<Base>,
    /// The line that was read last stands for a path that is still to come.
    peeked: bool,
    /// The line that was read last.
    line: Vec<u8>,
    /// First names of files with several names, until all names were seen.
    links: HashMap<(u64, u64), (EntryPath, u64)>,
    batch: Vec<Item>,
    batch_bytes: u64,
    batch_entries: u64,
    batch_line_bytes: usize,
    referenced: BTreeSet<BackupId>,
    slots: &'a Sender<Slot>,
    work: &'a Sender<Work>,
}

impl Joiner<'_> {
    fn entry(&mut self, found: Found) -> Result<bool> {
        let link_to = self.link_of(&found);
        let previous = self.find_previous(&found.path)?;
        if previous && self.keep_if_unchanged(&found.stat, link_to.as_ref()) {
            // Lines of large files are long.
            let full = self.batch_entries >= MAX_BATCH_ENTRIES || self.batch_line_bytes >= TARGET_FRAME_BYTES;
            return Ok(!full || self.flush());
        }
        let previous = if previous { Some((self.line.clone(), Entry::parse_line(&self.line)?)) } else { None };
        let stat = &found.stat;
        let content = if stat.kind == FileKind::File && link_to.is_none() { stat.size } else { 0 };
        let job = Box::new(Job { found, previous, link_to });
        if content >= LARGE_FILE_BYTES {
            return Ok(self.flush() && self.large(job));
        }
        let bytes = content + MEMBER_OVERHEAD_BYTES;
        let full = self.batch_bytes + bytes > TARGET_FRAME_BYTES as u64 || self.batch_entries >= MAX_BATCH_ENTRIES;
        if full && !self.flush() {
            return Ok(false);
        }
        self.batch_bytes += bytes;
        self.batch_entries += 1;
        self.batch.push(Item::Read(job));
        Ok(true)
    }

    /// Further names of a file refer to its first name in path order.
    fn link_of(&mut self, found: &Found) -> Option<EntryPath> {
        let stat = &found.stat;
        if stat.nlink < 2 || matches!(stat.kind, FileKind::Dir | FileKind::Socket) {
            return None;
        }
        let key = (stat.device, stat.inode);
        if let Some((first, left)) = self.links.get_mut(&key) {
            *left -= 1;
            let first = first.clone();
            if self.links[&key].1 == 0 {
                self.links.remove(&key);
            }
            return Some(first);
        }
        self.links.insert(key, (found.path.clone(), stat.nlink - 1));
        None
    }

    /// Whether the last index has this path; its line is the one that was read last then. Passes over those that are
    /// gone.
    fn find_previous(&mut self, path: &EntryPath) -> Result<bool> {
        let Some(base) = &mut self.base else { return Ok(false) };
        loop {
            if !self.peeked && !base.lines.next_line(&mut self.line)? {
                return Ok(false);
            }
            let order = tree_order(&line_path(&self.line)?, path.as_bytes());
            self.peeked = order == Ordering::Greater;
            if order != Ordering::Less {
                return Ok(order == Ordering::Equal);
            }
        }
    }

    /// Takes the line that was read last over, if nothing says that its entry has changed.
    fn keep_if_unchanged(&mut self, stat: &Stat, link_to: Option<&EntryPath>) -> bool {
        // A line that is not in our form costs no more than reading its entry again.
        let (Some(base), Some(fields)) = (&self.base, Fields::as_written(&self.line)) else { return false };
        if !is_unchanged(&fields, stat, link_to, base) {
            return false;
        }
        let extents = fields.content.iter().chain(&fields.pieces).flatten().map(|e| &e.0);
        for backup in extents.chain([&fields.home.0]) {
            if !self.referenced.contains(backup) {
                self.referenced.insert(backup.clone());
            }
        }
        if !matches!(self.batch.last(), Some(Item::Kept(_))) {
            self.batch.push(Item::Kept(Kept::default()));
        }
        if let Some(Item::Kept(kept)) = self.batch.last_mut() {
            kept.lines.extend_from_slice(&self.line);
            kept.entries += 1;
            kept.content_bytes += fields.size.unwrap_or(0);
        }
        self.batch_entries += 1;
        self.batch_line_bytes += self.line.len();
        true
    }

    fn large(&mut self, job: Box<Job>) -> bool {
        let (sender, receiver) = bounded(LARGE_PARTS_AHEAD);
        self.slots.send(Slot::Large(receiver)).is_ok() && self.work.send(Work::Large(job, sender)).is_ok()
    }

    fn flush(&mut self) -> bool {
        let mut items = std::mem::take(&mut self.batch);
        (self.batch_bytes, self.batch_entries, self.batch_line_bytes) = (0, 0, 0);
        match items.pop() {
            None => true,
            Some(Item::Kept(kept)) if items.is_empty() => self.slots.send(Slot::Kept(kept)).is_ok(),
            Some(last) => {
                items.push(last);
                let (sender, receiver) = bounded(1);
                self.slots.send(Slot::Batch(receiver)).is_ok() && self.work.send(Work::Batch(items, sender)).is_ok()
            }
        }
    }
}

/// Same type, metadata, size, mtime, ctime and inode, and timestamps old enough to be believed.
fn is_unchanged(line: &Fields<'_>, stat: &Stat, link_to: Option<&EntryPath>, base: &Base) -> bool {
    let same_kind = match (&*line.kind, link_to, stat.kind) {
        ("hardlink", Some(first), _) => line.target.as_deref() == Some(&*first.escaped()),
        ("hardlink", None, _) | (_, Some(_), _) => false,
        ("file", None, FileKind::File) => line.size == Some(stat.size) && line.unsettled.is_none() && !base.rehash,
        ("dir", None, FileKind::Dir) | ("symlink", None, FileKind::Symlink) | ("fifo", None, FileKind::Fifo) => true,
        ("char", None, FileKind::Char) | ("block", None, FileKind::Block) => line.device == Some(stat.rdev),
        _ => false,
    };
    let is_time = |text: &str, time| Timestamp::parse(text).is_ok_and(|t| t == time);
    same_kind
        && (line.uid, line.gid, line.inode) == (stat.uid, stat.gid, stat.inode)
        && u32::from_str_radix(&line.mode, 8) == Ok(stat.mode)
        && is_time(&line.mtime, stat.mtime)
        && is_time(&line.ctime, stat.ctime)
        && stat.mtime.seconds.max(stat.ctime.seconds) < base.trusted_before_seconds
}

/// Counts what a run would do, without reading any content.
pub(super) fn preview(walk: Walk, base: Option<Base>) -> Result<super::Preview> {
    let (slots, received) = bounded(64);
    let (work, jobs) = bounded(64);
    std::thread::scope(|scope| {
        let joiner = scope.spawn(move || join(walk, base, &slots, &work));
        let counter = scope.spawn(move || {
            let mut preview = super::Preview::default();
            for work in jobs {
                match work {
                    Work::Batch(items, _) => items.iter().for_each(|item| preview.count(item)),
                    Work::Large(job, _) => preview.count(&Item::Read(job)),
                }
            }
            preview
        });
        let (mut problems, mut kept, mut left_out) = (Vec::new(), 0, 0);
        for slot in received {
            match slot {
                Slot::Problem(problem) => problems.push(problem),
                Slot::Kept(run) => kept += run.entries,
                Slot::LeftOut(found) => left_out = found.count,
                Slot::Batch(_) | Slot::Large(_) | Slot::Note(_) => {}
            }
        }
        let dead = |_| Error::failed("a worker ended unexpectedly");
        let mut preview = counter.join().map_err(dead)?;
        preview.problems = problems;
        preview.entries += kept;
        preview.left_out = left_out;
        joiner.join().map_err(dead)?.map(|_| preview)
    })
}
