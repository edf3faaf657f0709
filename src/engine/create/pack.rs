//! A worker's half of `create`: captures a batch of entries into tar members and compresses them as one frame.
//!
//! Offsets are relative to where the batch will begin in the archive; the writer, which alone knows that place, moves
//! them. An extent or home of the backup being made is such a relative one.

use std::fs::File;
use std::io;

use super::join::{BatchItem, Job, Kept};
use super::known::{KnownContent, MIN_REFERENCED_BYTES};
use super::links::Name;
use super::stream::{LARGE_FILE_BYTES, StoredStream};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::archive::tar;
use crate::error::Result;
use crate::model::{
    BackupId, Digest, Entry, EntryKind, EntryPath, Extent, MAX_OFFSET, Position, Problem, ProblemKind, Xattr,
    escape_path,
};
use crate::monitor::Monitor;
use crate::source::files::{FileKind, Found, Names, Stat, data_regions, problem_kind};

/// What all workers of a component share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) backup: &'a BackupId,
    pub(super) names: Names,
    pub(super) known: KnownContent,
}

/// A compressed frame and the length of what is in it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) compressed: Vec<u8>,
    pub(super) length: u64,
}

/// An entry for the index.
#[derive(Debug)]
pub(super) enum IndexLine {
    /// Unchanged ones, unread.
    Kept(Kept),
    /// Read again and found as it stands in the last index.
    Same { line: Vec<u8>, entry: Entry },
    /// With relative offsets.
    New(Entry),
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) frames: Vec<Frame>,
    pub(super) lines: Vec<IndexLine>,
    pub(super) problems: Vec<Problem>,
    pub(super) bytes_read: u64,
}

/// An entry as it was captured.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) entry: Entry,
    /// Not something else that has its name now.
    pub(super) is_the_one_found: bool,
    pub(super) bytes_read: u64,
}

/// What was not captured whole is looked at again by the next backup, whatever its timestamps say: there is no inode 0
/// (FORMAT.md §7). What is wrong with it is said as long as it is so.
pub(super) fn distrust(entry: &mut Entry) {
    entry.inode = 0;
}

/// What readers refuse is not written: it costs the entry, not the backup.
pub(super) fn accepted(captured: Captured) -> io::Result<Captured> {
    match captured.entry.check() {
        Ok(()) => Ok(captured),
        Err(refused) => Err(io::Error::new(io::ErrorKind::Unsupported, refused.one_line())),
    }
}

/// Packs batches; reuses its buffers and compression context.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    shared: &'a Shared<'a>,
    compressor: Compressor,
    raw: Vec<u8>,
    /// Room for the worst case. What leaves here is copied: most of it is a fraction of that.
    compressed: Vec<u8>,
    /// Bytes of earlier frames of the batch.
    before: u64,
}

impl<'a> Packer<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, level: i32) -> Result<Self> {
        Ok(Self { shared, compressor: Compressor::new(level)?, raw: Vec::new(), compressed: Vec::new(), before: 0 })
    }

    pub(super) fn compressor(&mut self) -> &mut Compressor {
        &mut self.compressor
    }

    pub(super) fn pack(&mut self, items: Vec<BatchItem>, monitor: &dyn Monitor) -> Result<Packed> {
        let mut packed = Packed::default();
        self.before = 0;
        self.raw.clear();
        for item in items {
            match item {
                BatchItem::Kept(kept) => packed.lines.push(IndexLine::Kept(kept)),
                BatchItem::Read(job) => {
                    let read = self.capture(*job, &mut packed)?;
                    monitor.throttle(read);
                    monitor.advance(read, 1);
                    packed.bytes_read += read;
                }
            }
            if self.raw.len() >= TARGET_FRAME_BYTES {
                self.end_frame(&mut packed)?;
            }
        }
        self.end_frame(&mut packed)?;
        Ok(packed)
    }

    fn end_frame(&mut self, packed: &mut Packed) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.compressor.compress(&self.raw, &mut self.compressed)?;
        packed.frames.push(Frame { compressed: self.compressed.clone(), length: self.raw.len() as u64 });
        self.before += self.raw.len() as u64;
        self.raw.clear();
        Ok(())
    }

    /// Captures one entry; returns the bytes read. Whatever goes wrong with it becomes a problem, not an error.
    fn capture(&mut self, job: Job, packed: &mut Packed) -> Result<u64> {
        let Job { found, previous, name } = job;
        let first = name.as_ref().and_then(Name::first);
        let start = self.raw.len();
        let problems = packed.problems.len();
        let outcome = if found.stat.kind == FileKind::File && first.is_none() {
            self.capture_file(&found, previous.as_ref().map(|p| &p.1), packed)?
        } else {
            capture_other(&found, first.clone(), self.shared, &mut packed.problems).map(|(entry, same)| {
                tar::write_member_header(&entry, &mut self.raw);
                Captured { entry, is_the_one_found: same, bytes_read: 0 }
            })
        };
        let Captured { mut entry, is_the_one_found, bytes_read } = match outcome.and_then(accepted) {
            Ok(captured) => captured,
            Err(error) => {
                self.raw.truncate(start);
                packed.problems.truncate(problems);
                packed.problems.push(problem_of(&found, &error));
                return Ok(0);
            }
        };
        if packed.problems.len() > problems {
            distrust(&mut entry);
        }
        // Another file under this name does not stand for the names of the one that was found.
        if let Some(name) = name.filter(|_| is_the_one_found) {
            name.stands(first.as_ref().unwrap_or(&found.path));
        }
        match previous {
            Some((line, old)) if says_the_same(&entry, &old) => {
                self.raw.truncate(start);
                packed.lines.push(IndexLine::Same { line, entry: old });
            }
            _ => {
                entry.home.offset = self.before + start as u64;
                packed.lines.push(IndexLine::New(entry));
            }
        }
        Ok(bytes_read)
    }

    /// Reads a file that fits a frame. One that changes under the reading is read once more.
    fn capture_file(
        &mut self,
        found: &Found,
        previous: Option<&Entry>,
        packed: &mut Packed,
    ) -> Result<io::Result<Captured>> {
        let start = self.raw.len();
        let problems = packed.problems.len();
        let mut bytes_read = 0;
        let mut attempt = 1;
        loop {
            self.raw.truncate(start);
            packed.problems.truncate(problems);
            match self.read_file(found, &mut packed.problems) {
                Ok((mut captured, trouble)) => {
                    bytes_read += captured.bytes_read;
                    if trouble.is_some() && attempt == 1 {
                        attempt = 2;
                        continue;
                    }
                    packed.problems.extend(trouble);
                    captured.entry = self.refer_if_known(captured.entry, previous, start)?;
                    return Ok(Ok(Captured { bytes_read, ..captured }));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// One reading: the entry with its member in the buffer, and what was wrong with it.
    fn read_file(&mut self, found: &Found, problems: &mut Vec<Problem>) -> io::Result<(Captured, Option<Problem>)> {
        let (file, mut stat) = found.open()?;
        let is_the_one_found = stat.is_same_file(&found.stat);
        let mut trouble = None;
        if stat.size > LARGE_FILE_BYTES {
            let detail = format!("it grew to {} bytes while the backup ran; its beginning was stored", stat.size);
            trouble = Some(changed(found, &detail));
            stat.size = LARGE_FILE_BYTES;
        }
        let (mut entry, regions) = file_entry(found, &file, &stat, self.shared, problems)?;
        let content_bytes = tar::write_member_header(&entry, &mut self.raw);
        let content_start = self.raw.len();
        let length = usize::try_from(content_bytes).map_err(io::Error::other)?;
        let mut stream = StoredStream::new(&file, stat.size, regions.as_deref());
        stream.append_to(&mut self.raw);
        debug_assert_eq!(self.raw.len(), content_start + length);
        let fault = stream.fault(found)?;
        if trouble.is_none() && fault.is_none() && !stat.same_content(&found.stat_again(&file)?) {
            trouble = Some(changed(found, "it was written to while it was read, twice"));
        }
        let trouble = trouble.or(fault);
        let digest = Digest::of(&self.raw[content_start..]);
        self.raw.resize(content_start + length + tar::padding(content_bytes), 0);
        if let EntryKind::File { sha256, extents, unsettled, .. } = &mut entry.kind {
            *sha256 = digest;
            *unsettled = trouble.is_some();
            extents.push(Extent {
                backup: self.shared.backup.clone(),
                volume: 0,
                offset: self.before + content_start as u64,
                length: content_bytes,
            });
        }
        Ok((Captured { entry, is_the_one_found, bytes_read: content_bytes }, trouble))
    }

    /// Replaces the member by a stub when the chain holds the content already.
    fn refer_if_known(&mut self, mut entry: Entry, previous: Option<&Entry>, start: usize) -> Result<Entry> {
        if self.shared.known.is_empty() || !may_be_stub(&entry) {
            return Ok(entry);
        }
        let EntryKind::File { sha256: digest, extents, unsettled: false, .. } = &entry.kind else { return Ok(entry) };
        let length: u64 = extents.iter().map(|e| e.length).sum();
        if length <= MIN_REFERENCED_BYTES {
            return Ok(entry);
        }
        let old = match previous.map(|p| &p.kind) {
            Some(EntryKind::File { sha256, extents, .. })
                if sha256 == digest && extents.iter().map(|e| e.length).sum::<u64>() == length =>
            {
                Some(extents.clone())
            }
            _ => self.shared.known.find(*digest, length)?.map(|extent| vec![extent]),
        };
        if let (Some(old), EntryKind::File { extents, in_pieces, .. }) = (old, &mut entry.kind) {
            *extents = old;
            *in_pieces = true;
            self.raw.truncate(start);
            tar::write_member_header(&entry, &mut self.raw);
        }
        Ok(entry)
    }
}

/// Filling a stub by hand would lose these: writing to a file clears its set-id bits and capabilities.
pub(super) fn may_be_stub(entry: &Entry) -> bool {
    entry.mode & 0o6000 == 0 && entry.xattrs.iter().all(|x| x.name != b"security.capability")
}

/// An entry that was read again and found as it was keeps its line, home and all.
pub(super) fn says_the_same(new: &Entry, old: &Entry) -> bool {
    let mut new = new.clone();
    new.home = old.home.clone();
    if let (
        EntryKind::File { sha256, extents, in_pieces, chunks, .. },
        EntryKind::File { sha256: old_sha256, extents: old_extents, in_pieces: old_pieces, chunks: old_chunks, .. },
    ) = (&mut new.kind, &old.kind)
    {
        if sha256 == old_sha256 {
            extents.clone_from(old_extents);
            chunks.clone_from(old_chunks);
            *in_pieces = *old_pieces;
        }
    }
    new == *old
}

/// The entry of a regular file without digest and extents, and its data regions.
#[expect(clippy::type_complexity, reason = "a pair of an entry and an optional list, used twice")]
pub(super) fn file_entry(
    found: &Found,
    file: &File,
    stat: &Stat,
    shared: &Shared<'_>,
    problems: &mut Vec<Problem>,
) -> io::Result<(Entry, Option<Vec<(u64, u64)>>)> {
    if stat.size > MAX_OFFSET {
        let text = format!("its size of {} bytes is beyond the {MAX_OFFSET} that the format allows", stat.size);
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let mut regions = if stat.may_have_holes() { data_regions(file, stat.size)? } else { None };
    if let Some(regions) = &mut regions {
        tar::align_regions(regions, stat.size);
    }
    let kind = EntryKind::File {
        size: stat.size,
        sha256: Digest::of(b""),
        extents: Vec::new(),
        in_pieces: false,
        regions: regions.clone(),
        chunks: Vec::new(),
        unsettled: false,
    };
    Ok((entry_of(found, stat, kind, xattrs_of(found, Some(file), problems)?, shared), regions))
}

/// An entry without content, and whether it is the one that was found: for one with several names that matters.
pub(super) fn capture_other(
    found: &Found,
    link_to: Option<EntryPath>,
    shared: &Shared<'_>,
    problems: &mut Vec<Problem>,
) -> io::Result<(Entry, bool)> {
    match (link_to, found.stat.kind) {
        // The attributes of a further name are those of the first.
        (Some(target), _) => {
            let kind = EntryKind::Hardlink { target };
            Ok((entry_of(found, &found.stat, kind, Vec::new(), shared), true))
        }
        (None, FileKind::Dir) => Ok((capture_folder(found, shared, problems), true)),
        (None, _) => capture_special(found, shared, problems),
    }
}

/// What the walk saw of a folder holds its children together, whatever became of it.
fn capture_folder(found: &Found, shared: &Shared<'_>, problems: &mut Vec<Problem>) -> Entry {
    let known = problems.len();
    let read = xattrs_of(found, None, problems).and_then(|xattrs| {
        // Another folder may have its name by now.
        if found.stat_by_name()?.is_same_file(&found.stat) { Ok(xattrs) } else { Err(io::ErrorKind::NotFound.into()) }
    });
    let xattrs = read.unwrap_or_else(|error| {
        problems.truncate(known);
        problems.push(folder_without_attributes(found, &error));
        Vec::new()
    });
    entry_of(found, &found.stat, EntryKind::Dir, xattrs, shared)
}

/// Symbolic links, pipes and devices are not opened, so what is read of one may belong to another that has its name now:
/// everything is of the same one, or that is said.
fn capture_special(found: &Found, shared: &Shared<'_>, problems: &mut Vec<Problem>) -> io::Result<(Entry, bool)> {
    let known = problems.len();
    for attempt in 1..=2 {
        problems.truncate(known);
        let stat = found.stat_by_name()?;
        let (major, minor) = stat.rdev;
        let kind = match stat.kind {
            kind if kind != found.stat.kind => return Err(io::ErrorKind::NotFound.into()),
            FileKind::Symlink => EntryKind::Symlink { target: found.read_link()? },
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Char => EntryKind::CharDevice { major, minor },
            FileKind::Block => EntryKind::BlockDevice { major, minor },
            FileKind::File | FileKind::Dir | FileKind::Socket => break,
        };
        let xattrs = xattrs_of(found, None, problems)?;
        let settled = found.stat_by_name()? == stat;
        if settled || attempt == 2 {
            if !settled {
                problems.push(changed(found, "it was replaced or changed while it was looked at, twice"));
            }
            return Ok((entry_of(found, &stat, kind, xattrs, shared), stat.is_same_file(&found.stat)));
        }
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, "this type cannot be stored"))
}

fn folder_without_attributes(found: &Found, error: &io::Error) -> Problem {
    let (kind, why) = match problem_kind(error) {
        ProblemKind::Vanished => {
            (ProblemKind::Changed, "it was moved or replaced before its extended attributes were read".to_owned())
        }
        kind => (kind, format!("its extended attributes cannot be read: {error}")),
    };
    Problem { kind, path: found.path.escaped().into_owned(), detail: why }
}

fn entry_of(found: &Found, stat: &Stat, kind: EntryKind, xattrs: Vec<Xattr>, shared: &Shared<'_>) -> Entry {
    Entry {
        path: found.path.clone(),
        kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        user: shared.names.user(stat.uid).to_owned(),
        group: shared.names.group(stat.gid).to_owned(),
        mtime: stat.mtime,
        ctime: stat.ctime,
        inode: stat.inode,
        xattrs,
        home: Position { backup: shared.backup.clone(), volume: 0, offset: 0 },
    }
}

/// Most bytes that all attributes of an entry may take in its pax records; the rest of the limit is for names.
const MAX_XATTR_BYTES: usize = tar::MAX_PAX_BYTES - (1 << 20);

/// Attributes that tar cannot hold stay behind, and that is said.
fn xattrs_of(found: &Found, file: Option<&File>, problems: &mut Vec<Problem>) -> io::Result<Vec<Xattr>> {
    let mut xattrs = found.read_xattrs(file)?;
    let mut total = 0;
    xattrs.retain(|x| {
        // Escapes and the words around them included.
        let bytes = 3 * x.name.len() + x.value.len() + 64;
        let why = if !tar::can_hold_xattr(&x.name) {
            "has a name that tar cannot hold"
        } else if total + bytes > MAX_XATTR_BYTES {
            "does not fit into the tar header with all the others"
        } else {
            total += bytes;
            return true;
        };
        let detail = format!("the attribute {} {why}; it was left out", escape_path(&x.name));
        problems.push(Problem { kind: ProblemKind::Unsupported, path: found.path.escaped().into_owned(), detail });
        false
    });
    Ok(xattrs)
}

pub(super) fn problem_of(found: &Found, error: &io::Error) -> Problem {
    let kind = problem_kind(error);
    let detail = match kind {
        ProblemKind::Vanished => "it was gone, or something else stood in its place, when its turn came".to_owned(),
        _ => error.to_string(),
    };
    Problem { kind, path: found.path.escaped().into_owned(), detail }
}

pub(super) fn changed(found: &Found, detail: &str) -> Problem {
    Problem { kind: ProblemKind::Changed, path: found.path.escaped().into_owned(), detail: detail.into() }
}
