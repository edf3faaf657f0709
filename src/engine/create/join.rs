//! Joins the walk with the last index in path order and deals out the work: what is unchanged is passed on as its old
//! line, the rest is packed into batches that become frames, and large files go their own way.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::base::LastIndex;
use super::database::left_out;
use super::links::{Name, Verdict};
use super::previous::LastLines;
use super::stream::LARGE_FILE_BYTES;
use super::work::{BatchItem, DatabasePart, Job, Kept, Slot, Work};
use crate::archive::frame::TARGET_FRAME_BYTES;
use crate::error::Result;
use crate::model::{BackupId, Entry, EntryPath, Fields, Timestamp};
use crate::source::files::{FileKind, Found, Stat, Step};

/// Most entries in one batch: bounds memory where little is read.
const MAX_BATCH_ENTRIES: u64 = 4096;
/// Headers of a member in the tar stream, roughly, for the size of batches; in bytes.
const MEMBER_OVERHEAD_BYTES: u64 = 1536;

/// Parts of a large file that may wait for the writer.
const LARGE_PARTS_AHEAD: usize = 6;

/// Runs the join until the walk ends or nobody listens any more. Returns the backups that unchanged entries refer to.
pub(super) fn join(
    walk: impl Iterator<Item = Step>,
    last: Option<&LastIndex>,
    slots: &Sender<Slot>,
    work: &Sender<Work>,
) -> Result<BTreeSet<BackupId>> {
    let mut joiner = Joiner {
        lines: LastLines::new(last)?,
        links: HashMap::new(),
        databases: HashMap::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        batch_entries: 0,
        batch_line_bytes: 0,
        referenced: BTreeSet::new(),
        slots,
        work,
    };
    for step in walk {
        let go_on = match step {
            Step::Entry(found) => joiner.entry(found)?,
            Step::Problem(problem) => slots.send(Slot::Problem(problem)).is_ok(),
            Step::LeftOut(left_out) => slots.send(Slot::LeftOut(left_out)).is_ok(),
            Step::Note { path, reason } => slots.send(Slot::Note(format!("{path}: {reason}"))).is_ok(),
        };
        if !go_on {
            return Ok(joiner.referenced);
        }
    }
    joiner.flush();
    Ok(joiner.referenced)
}

/// A file with several names.
struct Linked {
    stat: Stat,
    /// About the last name that was seen.
    last: Verdict,
    left: u64,
}

struct Joiner<'a> {
    lines: LastLines<'a>,
    /// Files with several names, by device and inode, until all names were seen.
    links: HashMap<(u64, u64), Linked>,
    /// Databases that are in use; none for those that are as they were.
    databases: HashMap<EntryPath, Option<Verdict>>,
    batch: Vec<BatchItem>,
    batch_bytes: u64,
    batch_entries: u64,
    batch_line_bytes: usize,
    referenced: BTreeSet<BackupId>,
    slots: &'a Sender<Slot>,
    work: &'a Sender<Work>,
}

impl Joiner<'_> {
    fn entry(&mut self, found: Found) -> Result<bool> {
        let mut part = None;
        if let Some(known) = found.database().and_then(|path| self.databases.get(&path)) {
            let Some(verdict) = known else { return Ok(self.slots.send(Slot::Note(left_out(&found))).is_ok()) };
            part = Some(DatabasePart::Companion(Name::after(Some(verdict.clone())).0));
        }
        let name = self.name_of(&found);
        let previous = self.lines.find(&found.path)?;
        // A hard link to something that is being captured just now cannot be kept as it is.
        let first = name.as_ref().map_or(Some(None), Name::known_first);
        if let Some(first) = first.as_ref().filter(|_| previous && part.is_none())
            && self.keep_if_unchanged(&found, first.as_ref())
        {
            if found.is_database_in_use() {
                self.databases.insert(found.path.clone(), None);
            }
            if let Some(name) = name {
                name.stands(first.as_ref().unwrap_or(&found.path));
            }
            // Lines of large files are long.
            let full = self.batch_entries >= MAX_BATCH_ENTRIES || self.batch_line_bytes >= TARGET_FRAME_BYTES;
            return Ok(!full || self.flush());
        }
        let previous = if previous { self.lines.entry() } else { None };
        let stat = &found.stat;
        let is_link = matches!(first, Some(Some(_)));
        let content = if stat.kind == FileKind::File && !is_link { found.content_bytes() } else { 0 };
        if found.is_database_in_use() {
            let (duty, verdict) = Name::after(None);
            self.databases.insert(found.path.clone(), Some(verdict));
            part = Some(DatabasePart::Database(duty));
        }
        let job = Box::new(Job { found, previous, name, part });
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
        self.batch.push(BatchItem::Read(job));
        Ok(true)
    }

    /// The role of an entry among the names of its file; none when it has just this one.
    fn name_of(&mut self, found: &Found) -> Option<Name> {
        let stat = &found.stat;
        if stat.nlink < 2 || matches!(stat.kind, FileKind::Dir | FileKind::Socket) {
            return None;
        }
        let key = stat.identity();
        // Another file may have been given the inode meanwhile.
        let seen = self.links.remove(&key).filter(|seen| seen.stat.is_same_file(stat));
        let left = seen.as_ref().map_or(stat.nlink, |seen| seen.left) - 1;
        let (name, last) = Name::after(seen.map(|seen| seen.last));
        if left > 0 {
            self.links.insert(key, Linked { stat: stat.clone(), last, left });
        }
        Some(name)
    }

    /// Takes the line that was read last over, if nothing says that its entry has changed.
    fn keep_if_unchanged(&mut self, found: &Found, link_to: Option<&EntryPath>) -> bool {
        // A line that is not in our form costs no more than reading its entry again.
        let Some((last, line)) = self.lines.line() else { return false };
        let Some(fields) = Fields::as_written(line) else { return false };
        if !is_unchanged(&fields, found, link_to, last) || !last.volumes.hold(&fields) {
            return false;
        }
        if !last.accepted && Entry::parse_line(line).is_err() {
            return false;
        }
        let extents = fields.content.iter().chain(&fields.pieces).flatten().map(|e| &e.backup);
        for backup in extents.chain([&fields.home.backup]) {
            if !self.referenced.contains(backup) {
                self.referenced.insert(backup.clone());
            }
        }
        if !matches!(self.batch.last(), Some(BatchItem::Kept(_))) {
            self.batch.push(BatchItem::Kept(Kept::default()));
        }
        if let Some(BatchItem::Kept(kept)) = self.batch.last_mut() {
            kept.lines.extend_from_slice(line);
            kept.entries += 1;
            kept.content_bytes = kept.content_bytes.saturating_add(fields.size.unwrap_or(0));
        }
        self.batch_entries += 1;
        self.batch_line_bytes += line.len();
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
            Some(BatchItem::Kept(kept)) if items.is_empty() => self.slots.send(Slot::Kept(kept)).is_ok(),
            Some(last) => {
                items.push(last);
                let (sender, receiver) = bounded(1);
                self.slots.send(Slot::Batch(receiver)).is_ok() && self.work.send(Work::Batch(items, sender)).is_ok()
            }
        }
    }
}

/// How long before the last capture a file must have changed for its timestamps to be believed. A page that is written
/// through a memory map becomes dirty once, and later writes to it leave no trace until the kernel has written it back,
/// which it does after 30 seconds or a little more. Being wrong costs one reading.
const FILE_SLACK: Duration = Duration::from_secs(60);
/// The same for all else. Timestamps of the kernel and of network file systems may be this much earlier than the clock; FAT
/// counts in steps of 2 seconds.
const SLACK: Duration = Duration::from_secs(2);

/// Same type, metadata, size, mtime, ctime and inode, and timestamps old enough to be believed.
fn is_unchanged(line: &Fields<'_>, found: &Found, link_to: Option<&EntryPath>, last: &LastIndex) -> bool {
    let stat = &*found.stat_of_content();
    // The size of a database includes what still lies in its log.
    let same_size = |size| size == Some(stat.size) || found.is_database_in_use();
    let same_kind = match (line.kind, link_to, stat.kind) {
        ("hardlink", Some(first), _) => line.target.as_deref() == Some(&*first.escaped()),
        ("hardlink", None, _) | (_, Some(_), _) => false,
        ("file", None, FileKind::File) => same_size(line.size) && line.unsettled.is_none() && !last.rehash,
        ("dir", None, FileKind::Dir) | ("symlink", None, FileKind::Symlink) | ("fifo", None, FileKind::Fifo) => true,
        ("char", None, FileKind::Char) | ("block", None, FileKind::Block) => line.device == Some(stat.rdev),
        _ => false,
    };
    let slack = if line.size.is_some() { FILE_SLACK } else { SLACK };
    let is_time = |text: &str, time| Timestamp::parse(text).is_ok_and(|t| t == time);
    same_kind
        && (line.uid, line.gid, line.inode) == (stat.uid, stat.gid, stat.inode)
        && u32::from_str_radix(line.mode, 8) == Ok(stat.mode)
        && is_time(line.mtime, stat.mtime)
        && is_time(line.ctime, stat.ctime)
        && stat.mtime.seconds.max(stat.ctime.seconds) < last.captured_from.before(slack).unix_seconds()
}
