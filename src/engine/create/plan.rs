//! Joins the walk with the last index in path order and deals out the work: what is unchanged is passed on as its old
//! line, the rest is packed into batches that become frames, and large files go their own way.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::large::Part;
use super::pack::Packed;
use super::stream::LARGE_FILE_BYTES;
use crate::archive::frame::TARGET_FRAME_BYTES;
use crate::error::{Error, Result};
use crate::index::LocalLines;
use crate::model::{Entry, EntryKind, EntryPath};
use crate::source::Problem;
use crate::source::files::{FileKind, Found, Stat, Step, Walk};

/// Most items in one batch: bounds memory where little is read.
const MAX_BATCH_ITEMS: usize = 4096;
/// Headers of a member in the tar stream, roughly, for the size of batches; in bytes.
const MEMBER_OVERHEAD_BYTES: u64 = 1536;

/// One entry on its way into the index.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "of most trees nearly all items are of the large kind")]
pub(super) enum Item {
    /// Unchanged: its line in the last index and what it says.
    Kept { line: Vec<u8>, entry: Entry },
    /// To be captured.
    Read(Box<Job>),
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
    Batch(Receiver<Result<Packed>>),
    Large(Receiver<Result<Part>>),
    /// Something the walk itself met.
    Problem(Problem),
    Note(String),
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

/// Runs the join until the walk ends or nobody listens any more.
pub(super) fn join(walk: Walk, base: Option<Base>, slots: &Sender<Slot>, work: &Sender<Work>) -> Result<()> {
    let mut joiner =
        Joiner { base, peeked: None, links: HashMap::new(), batch: Vec::new(), batch_bytes: 0, slots, work };
    for step in walk {
        let go_on = match step {
            Step::Entry(found) => joiner.entry(found)?,
            Step::Problem(problem) => slots.send(Slot::Problem(problem)).is_ok(),
            Step::Note { path, reason } => slots.send(Slot::Note(format!("{path}: {reason}"))).is_ok(),
        };
        if !go_on {
            return Ok(());
        }
    }
    joiner.flush();
    Ok(())
}

struct Joiner<'a> {
    base: Option<Base>,
    peeked: Option<(Vec<u8>, Entry)>,
    /// First names of files with several names, until all names were seen.
    links: HashMap<(u64, u64), (EntryPath, u64)>,
    batch: Vec<Item>,
    batch_bytes: u64,
    slots: &'a Sender<Slot>,
    work: &'a Sender<Work>,
}

impl Joiner<'_> {
    fn entry(&mut self, found: Found) -> Result<bool> {
        let link_to = self.link_of(&found);
        let previous = self.previous(&found.path)?;
        let item = match (previous, &self.base) {
            (Some((line, entry)), Some(base)) if is_unchanged(&entry, &found.stat, link_to.as_ref(), base) => {
                Item::Kept { line, entry }
            }
            (previous, _) => Item::Read(Box::new(Job { found, previous, link_to })),
        };
        let bytes = match &item {
            Item::Kept { .. } => 0,
            Item::Read(job) => {
                let stat = &job.found.stat;
                let content = if stat.kind == FileKind::File && job.link_to.is_none() { stat.size } else { 0 };
                if content >= LARGE_FILE_BYTES {
                    return Ok(self.flush() && self.large(item));
                }
                content + MEMBER_OVERHEAD_BYTES
            }
        };
        let full = self.batch_bytes + bytes > TARGET_FRAME_BYTES as u64 || self.batch.len() >= MAX_BATCH_ITEMS;
        if full && !self.flush() {
            return Ok(false);
        }
        self.batch_bytes += bytes;
        self.batch.push(item);
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

    /// The entry of this path in the last index; passes over those that are gone.
    fn previous(&mut self, path: &EntryPath) -> Result<Option<(Vec<u8>, Entry)>> {
        let Some(base) = &mut self.base else { return Ok(None) };
        loop {
            if self.peeked.is_none() {
                let mut line = Vec::new();
                if !base.lines.next_line(&mut line)? {
                    return Ok(None);
                }
                let entry = Entry::parse_line(&line)?;
                self.peeked = Some((line, entry));
            }
            match self.peeked.as_ref().map(|(_, entry)| entry.path.cmp(path)) {
                Some(std::cmp::Ordering::Less) => self.peeked = None,
                Some(std::cmp::Ordering::Equal) => return Ok(self.peeked.take()),
                _ => return Ok(None),
            }
        }
    }

    fn large(&mut self, item: Item) -> bool {
        let Item::Read(job) = item else { return true };
        let (sender, receiver) = bounded(LARGE_PARTS_AHEAD);
        self.slots.send(Slot::Large(receiver)).is_ok() && self.work.send(Work::Large(job, sender)).is_ok()
    }

    fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let items = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let (sender, receiver) = bounded(1);
        self.slots.send(Slot::Batch(receiver)).is_ok() && self.work.send(Work::Batch(items, sender)).is_ok()
    }
}

/// Same type, metadata, size, mtime, ctime and inode, and timestamps old enough to be believed.
fn is_unchanged(entry: &Entry, stat: &Stat, link_to: Option<&EntryPath>, base: &Base) -> bool {
    let same_kind = match (&entry.kind, link_to, stat.kind) {
        (EntryKind::Hardlink { target }, Some(first), _) => target == first,
        (EntryKind::Hardlink { .. }, None, _) | (_, Some(_), _) => false,
        (EntryKind::File { size, unsettled, .. }, None, FileKind::File) => {
            *size == stat.size && !unsettled && !base.rehash
        }
        (EntryKind::Dir, None, FileKind::Dir)
        | (EntryKind::Symlink { .. }, None, FileKind::Symlink)
        | (EntryKind::Fifo, None, FileKind::Fifo) => true,
        (EntryKind::CharDevice { major, minor }, None, FileKind::Char)
        | (EntryKind::BlockDevice { major, minor }, None, FileKind::Block) => stat.rdev == (*major, *minor),
        _ => false,
    };
    same_kind
        && (entry.mode, entry.uid, entry.gid, entry.inode) == (stat.mode, stat.uid, stat.gid, stat.inode)
        && (entry.mtime, entry.ctime) == (stat.mtime, stat.ctime)
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
        let mut problems = Vec::new();
        for slot in received {
            if let Slot::Problem(problem) = slot {
                problems.push(problem);
            }
        }
        let dead = |_| Error::failed("a worker ended unexpectedly");
        let mut preview = counter.join().map_err(dead)?;
        preview.problems = problems;
        joiner.join().map_err(dead)?.map(|()| preview)
    })
}
