//! Captures what a source gives as objects: documents as tar members of a batch, streams of unknown length on their own.
//!
//! ```text
//! source ─► feeder (this thread) ── frames ──► workers ──► collector
//!             │ content ⋈ last index: an object whose content is as it was keeps its line
//!             └ a stream in a full backup: frames wait in a spool until the length is known that its header needs
//! ```
//!
//! Memory: one batch of about 4 MiB, and for a stream the frames that are being compressed. Whatever goes wrong with the source
//! fails the component: half an object is none.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::base::LastIndex;
use super::capture::says_the_same;
use super::failure::Failure;
use super::frames::{Frames, Halt, append_extent};
use super::known::{KnownContent, MIN_REFERENCED_BYTES};
use super::previous::LastLines;
use super::stream::{ChunkSizes, Chunker, Fill, MAX_STREAM_CHUNKS};
use super::work::{ChunkedFrame, FrameTasks, IndexLine, LargeDone, LargePart, Packed, PackedFrame, Slot};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::archive::{Spool, tar};
use crate::error::{Error, Result};
use crate::model::{
    BackupId, Chunk, Digest, Entry, EntryKind, EntryPath, Extent, Hasher, MAX_OFFSET, Moment, Position, Timestamp,
};
use crate::monitor::Monitor;
use crate::source::files::Names;
use crate::source::{Body, Facts, Object, Objects};
use crate::threads;

/// Parts of a stream that may wait for the collector.
const PARTS_AHEAD: usize = 6;
/// A stream that ends before this many bytes is a document.
const DOCUMENT_BYTES: usize = TARGET_FRAME_BYTES;
/// Frames of a spooled stream that may be in work at the same time.
const FRAMES_IN_WORK: usize = 8;
/// Most entries in one batch.
const MAX_BATCH_ENTRIES: usize = 4096;

/// What a feeder works with.
pub(super) struct FeedContext<'a> {
    pub(super) backup: &'a BackupId,
    pub(super) known: &'a KnownContent<'a>,
    pub(super) names: &'a Names,
    pub(super) now: Moment,
    pub(super) level: i32,
    /// Where spools lie.
    pub(super) folder: &'a Path,
    pub(super) monitor: &'a dyn Monitor,
}

/// Takes all objects of a source. Returns what the source knows of the whole.
pub(super) fn feed(
    mut objects: Box<dyn Objects + '_>,
    last: Option<&LastIndex>,
    context: &FeedContext<'_>,
    slots: &Sender<Slot>,
    tasks: &FrameTasks,
) -> Result<Facts, Failure> {
    let mut feeder = Feeder {
        context,
        last: LastLines::new(last)?,
        slots,
        tasks,
        compressor: Compressor::new(context.level)?,
        owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        above: Vec::new(),
        latest: None,
        batch: Packed::default(),
        raw: Vec::new(),
        before: 0,
        objects: 0,
    };
    loop {
        context.monitor.check()?;
        let Some(object) = objects.next().map_err(Failure::of_source)? else { break };
        feeder.object(object)?;
    }
    feeder.flush()?;
    if feeder.objects == 0 {
        return Err(Failure::Component(Error::failed("there was nothing to capture")));
    }
    let facts = objects.finish().map_err(Failure::of_source)?;
    Ok(facts)
}

struct Feeder<'a> {
    context: &'a FeedContext<'a>,
    last: LastLines<'a>,
    slots: &'a Sender<Slot>,
    tasks: &'a FrameTasks,
    compressor: Compressor,
    owner: (u32, u32),
    /// Folders that lead to the object that came last.
    above: Vec<EntryPath>,
    latest: Option<EntryPath>,
    batch: Packed,
    /// Members of the frame that is being filled.
    raw: Vec<u8>,
    /// Bytes of earlier frames of the batch.
    before: u64,
    objects: u64,
}

/// A stream, read to its end at most once.
struct Input<'r> {
    stream: Box<dyn Read + Send + 'r>,
    /// What was read to see whether it is a document.
    head: Vec<u8>,
    at: usize,
    ended: bool,
    monitor: &'r dyn Monitor,
}

impl Input<'_> {
    /// Reads what may be a document. True when that was all.
    fn look(&mut self) -> io::Result<bool> {
        let mut head = vec![0; DOCUMENT_BYTES];
        let read = self.fill(&mut head)?;
        head.truncate(read);
        self.head = head;
        Ok(self.ended)
    }
}

impl Fill for Input<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kept = (self.head.len() - self.at).min(buffer.len());
        buffer[..kept].copy_from_slice(&self.head[self.at..self.at + kept]);
        self.at += kept;
        let mut done = kept;
        while done < buffer.len() && !self.ended {
            match self.stream.read(&mut buffer[done..]) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    done += n;
                    self.monitor.throttle(n as u64);
                    self.monitor.advance(n as u64, 0);
                    self.monitor.check().map_err(io::Error::other)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

impl Feeder<'_> {
    fn object(&mut self, object: Object<'_>) -> Result<(), Failure> {
        let Object { path, modified, mode, owner, body } = object;
        self.folders_above(&path)?;
        self.comes_after(&path)?;
        self.objects += 1;
        let previous = if self.last.find(&path)? { self.last.entry() } else { None };
        let entry = self.entry(path, EntryKind::Dir, mode, owner, modified);
        let about = entry.path.to_string();
        let within = |failure: Failure| failure.within(&format!("cannot capture {about}"));
        match body {
            Body::Bytes(bytes) => {
                self.context.monitor.advance(bytes.len() as u64, 0);
                self.document(entry, &bytes, modified, previous)?;
            }
            Body::Stream(stream) => {
                let monitor = self.context.monitor;
                let mut input = Input { stream, head: Vec::new(), at: 0, ended: false, monitor };
                if input.look().map_err(|e| within(Failure::of_stream(e)))? {
                    self.document(entry, &input.head, modified, previous)?;
                } else {
                    self.stream(entry, &mut input, modified, previous).map_err(within)?;
                }
            }
        }
        self.context.monitor.advance(0, 1);
        Ok(())
    }

    /// Refuses what is not in the order of a tree.
    fn comes_after(&mut self, path: &EntryPath) -> Result<(), Failure> {
        if let Some(latest) = self.latest.as_ref().filter(|latest| *latest >= path) {
            let text = format!("the source gave the object {path} after {latest}, which is not the order of a tree");
            return Err(Failure::Component(Error::failed(text)));
        }
        self.latest = Some(path.clone());
        Ok(())
    }

    /// An entry without content.
    fn entry(
        &self,
        path: EntryPath,
        kind: EntryKind,
        mode: u32,
        owner: Option<(u32, u32)>,
        modified: Option<Timestamp>,
    ) -> Entry {
        let (uid, gid) = owner.unwrap_or(self.owner);
        let time = modified.unwrap_or(Timestamp { seconds: self.context.now.unix_seconds(), nanoseconds: 0 });
        Entry {
            path,
            kind,
            mode: mode & 0o7777,
            uid,
            gid,
            user: self.context.names.user(uid).to_owned(),
            group: self.context.names.group(gid).to_owned(),
            mtime: time,
            ctime: time,
            inode: 0,
            xattrs: Vec::new(),
            home: Position { backup: self.context.backup.clone(), volume: 0, offset: 0 },
        }
    }

    /// The folders that lead to `path` and were not there yet. One that was there in the last backup stays as it was.
    fn folders_above(&mut self, path: &EntryPath) -> Result<(), Failure> {
        while self.above.last().is_some_and(|folder| !path.is_below(folder)) {
            self.above.pop();
        }
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| at);
        for end in ends.skip(self.above.len()) {
            let folder = EntryPath::new(bytes[..end].to_vec()).map_err(Failure::of_source)?;
            self.comes_after(&folder)?;
            let previous = if self.last.find(&folder)? { self.last.entry() } else { None };
            let entry = self.entry(folder.clone(), EntryKind::Dir, 0o700, None, None);
            match previous.filter(|(_, old)| same_but_for_time(&entry, old)) {
                Some((line, entry)) => self.batch.lines.push(IndexLine::Same { line, entry }),
                None => self.member(entry, |_, _| {})?,
            }
            self.above.push(folder);
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Appends a member to the batch; `fill` appends its content and completes the entry.
    fn member(&mut self, mut entry: Entry, fill: impl FnOnce(&mut Entry, &mut Vec<u8>)) -> Result<(), Failure> {
        entry.check().map_err(Failure::of_source)?;
        entry.home.offset = self.before + self.raw.len() as u64;
        tar::write_member_header(&entry, &mut self.raw);
        fill(&mut entry, &mut self.raw);
        self.batch.lines.push(IndexLine::New(entry));
        Ok(())
    }

    /// An object that fits into memory.
    fn document(
        &mut self,
        mut entry: Entry,
        bytes: &[u8],
        modified: Option<Timestamp>,
        previous: Option<(Vec<u8>, Entry)>,
    ) -> Result<(), Failure> {
        let (length, sha256) = (bytes.len() as u64, Digest::of(bytes));
        self.batch.bytes_read += length;
        entry.kind = file_of(length, sha256);
        if let Some((line, old)) = previous.filter(|(_, old)| is_equal(&entry, old, modified)) {
            self.batch.lines.push(IndexLine::Same { line, entry: old });
            return self.flush_if_full();
        }
        let known = if length > MIN_REFERENCED_BYTES { self.context.known.find(sha256, length)? } else { None };
        if let EntryKind::File { extents, in_pieces, .. } = &mut entry.kind {
            // The extent is completed when its place is known; only its length is checked before.
            *extents = vec![known.clone().unwrap_or(self.own_extent(0, length))];
            *in_pieces = known.is_some();
        }
        let (before, backup) = (self.before, self.context.backup);
        self.member(entry, |entry, raw| {
            if known.is_none() {
                let offset = before + raw.len() as u64;
                raw.extend_from_slice(bytes);
                raw.resize(raw.len() + tar::padding(length), 0);
                if let EntryKind::File { extents, .. } = &mut entry.kind {
                    *extents = vec![Extent { backup: backup.clone(), volume: 0, offset, length }];
                }
            }
        })?;
        self.flush_if_full()
    }

    fn own_extent(&self, offset: u64, length: u64) -> Extent {
        Extent { backup: self.context.backup.clone(), volume: 0, offset, length }
    }

    fn flush_if_full(&mut self) -> Result<(), Failure> {
        let full = self.raw.len() >= TARGET_FRAME_BYTES || self.batch.lines.len() >= MAX_BATCH_ENTRIES;
        if full { self.flush() } else { Ok(()) }
    }

    /// Hands the batch to the collector.
    fn flush(&mut self) -> Result<(), Failure> {
        if !self.raw.is_empty() {
            let mut compressed = Vec::new();
            self.compressor.compress(&self.raw, &mut compressed)?;
            self.batch.frames.push(PackedFrame { compressed, length: self.raw.len() as u64 });
            self.raw.clear();
        }
        self.before = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.frames.is_empty() && batch.lines.is_empty() {
            return Ok(());
        }
        let (reply, receiver) = bounded(1);
        // The receiver is in this function's hands, so there is somebody to take it.
        drop(reply.send(Ok(batch)));
        self.slots.send(Slot::Batch(receiver)).map_err(|_| Failure::given_up())
    }

    /// An object of unknown length.
    fn stream(
        &mut self,
        entry: Entry,
        input: &mut Input<'_>,
        modified: Option<Timestamp>,
        previous: Option<(Vec<u8>, Entry)>,
    ) -> Result<(), Failure> {
        self.flush()?;
        let (parts, receiver) = bounded(PARTS_AHEAD);
        self.slots.send(Slot::Large(receiver)).map_err(|_| Failure::given_up())?;
        let is_chunked = |old: &Entry| matches!(&old.kind, EntryKind::File { chunks, .. } if !chunks.is_empty());
        let frames = Frames::new(&mut self.compressor, self.tasks, &parts);
        let mut stream = StreamCapture { context: self.context, frames, entry, bytes: 0 };
        let line = match previous {
            Some((line, old)) if is_chunked(&old) => {
                stream.in_pieces(input)?;
                match is_equal(&stream.entry, &old, modified) {
                    true => IndexLine::Same { line, entry: old },
                    false => IndexLine::New(stream.stub()?),
                }
            }
            _ => IndexLine::New(stream.inline(input)?),
        };
        let StreamCapture { mut frames, bytes, .. } = stream;
        frames.end_frame()?;
        let done = LargeDone { line: Some(line), problems: Vec::new(), bytes_read: bytes };
        frames.send(Ok(LargePart::Done(Box::new(done))))?;
        Ok(())
    }
}

/// A stream of unknown length on its way.
struct StreamCapture<'a, 'p> {
    context: &'a FeedContext<'a>,
    frames: Frames<'p>,
    entry: Entry,
    bytes: u64,
}

impl StreamCapture<'_, '_> {
    /// Known chunks are referenced, new ones become members of their own.
    fn in_pieces(&mut self, input: &mut Input<'_>) -> Result<(), Failure> {
        let mut hasher = Hasher::default();
        let (mut extents, mut chunks, mut pieces) = (Vec::new(), Vec::new(), 0);
        let mut chunker = Chunker::new(input, ChunkSizes::at(0));
        while let Some(chunk) = chunker.next_chunk().map_err(Failure::of_stream)? {
            let (length, sha256) = (chunk.len() as u64, Digest::of(chunk));
            hasher.update(chunk);
            let extent = match self.context.known.find(sha256, length)? {
                Some(known) => known,
                None => {
                    tar::write_piece_header(pieces, length, &mut self.frames.raw);
                    pieces += 1;
                    let extent = self.frames.extent(self.context.backup, self.frames.offset(), length);
                    self.frames.raw.extend_from_slice(chunk);
                    let padded = self.frames.raw.len() + tar::padding(length);
                    self.frames.raw.resize(padded, 0);
                    self.frames.end_frame_if_full()?;
                    extent
                }
            };
            append_extent(&mut extents, extent);
            chunks.push(Chunk { length, sha256 });
            self.bytes = grown(self.bytes, length)?;
            chunker.grow(ChunkSizes::at(self.bytes));
        }
        if chunks.len() > MAX_STREAM_CHUNKS {
            chunks = Vec::new();
        }
        let (size, sha256) = (self.bytes, hasher.finish());
        self.entry.kind =
            EntryKind::File { size, sha256, extents, in_pieces: true, regions: None, chunks, unsettled: false };
        self.entry.check().map_err(Failure::of_source)
    }

    /// The entry, with its stub written.
    fn stub(&mut self) -> Result<Entry, Failure> {
        let mut entry = self.entry.clone();
        entry.home.offset = self.frames.offset();
        tar::write_member_header(&entry, &mut self.frames.raw);
        Ok(entry)
    }

    /// The whole content after one header, which is written when the length is known.
    fn inline(&mut self, input: &mut Input<'_>) -> Result<Entry, Failure> {
        let mut hasher = Hasher::default();
        let mut spool = Spool::create_in(self.context.folder)?;
        let mut in_work: VecDeque<Receiver<Result<ChunkedFrame>>> = VecDeque::new();
        let mut spooled: Vec<(u64, Vec<Chunk>)> = Vec::new();
        let tasks = self.frames.tasks;
        let mut own = Compressor::new(self.context.level)?;
        let mut put = |receiver: Receiver<Result<ChunkedFrame>>| -> Result<(), Failure> {
            // All workers may have gone home; then nobody else compresses what it waits for.
            while let Ok(task) = tasks.receiver.try_recv() {
                task.run(&mut own);
            }
            let ChunkedFrame { frame, chunks } = receiver.recv().map_err(threads::died)??;
            spool.push(&frame.compressed)?;
            spooled.push((frame.length, chunks));
            Ok(())
        };
        let mut chunker = Chunker::new(input, ChunkSizes::at(0));
        while let Some(chunk) = chunker.next_chunk().map_err(Failure::of_stream)? {
            hasher.update(chunk);
            let start = self.frames.raw.len();
            self.frames.raw.extend_from_slice(chunk);
            self.frames.chunk_ranges.push((start, self.frames.raw.len()));
            self.bytes = grown(self.bytes, chunk.len() as u64)?;
            if self.frames.raw.len() >= TARGET_FRAME_BYTES {
                in_work.push_back(self.frames.give_away());
            }
            if in_work.len() > FRAMES_IN_WORK
                && let Some(first) = in_work.pop_front()
            {
                put(first)?;
            }
            chunker.grow(ChunkSizes::at(self.bytes));
        }
        if !self.frames.raw.is_empty() {
            in_work.push_back(self.frames.give_away());
        }
        in_work.into_iter().try_for_each(put)?;
        self.unspool(spool, spooled, hasher.finish())
    }

    /// Appends what was spooled after its header.
    fn unspool(&mut self, spool: Spool, spooled: Vec<(u64, Vec<Chunk>)>, sha256: Digest) -> Result<Entry, Failure> {
        // Offsets are counted anew: nothing of it was handed over yet.
        self.frames.restart();
        let mut entry = Entry { kind: file_of(self.bytes, sha256), ..self.entry.clone() };
        tar::write_member_header(&entry, &mut self.frames.raw);
        if let EntryKind::File { extents, .. } = &mut entry.kind {
            *extents = vec![self.frames.extent(self.context.backup, self.frames.offset(), self.bytes)];
        }
        entry.check().map_err(Failure::of_source)?;
        self.frames.end_frame()?;
        let mut spool = spool.read()?;
        let mut compressed = Vec::new();
        let are_listed = spooled.iter().map(|(_, chunks)| chunks.len()).sum::<usize>() <= MAX_STREAM_CHUNKS;
        for (length, mut chunks) in spooled {
            if !are_listed {
                chunks.clear();
            }
            if !spool.next_block(&mut compressed)? {
                return Err(Error::failed("a temporary file ended too early").into());
            }
            let frame = PackedFrame { compressed: std::mem::take(&mut compressed), length };
            let (reply, receiver) = bounded(1);
            drop(reply.send(Ok(ChunkedFrame { frame, chunks })));
            self.frames.pass(length);
            self.frames.send(Ok(LargePart::Frame(receiver)))?;
        }
        let padding = tar::padding(self.bytes);
        self.frames.raw.resize(padding, 0);
        Ok(entry)
    }
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::GivenUp => Self::given_up(),
            Halt::Failed(error) => Self::Run(error),
            Halt::Lost(error) => Self::of_stream(error),
        }
    }
}

fn file_of(size: u64, sha256: Digest) -> EntryKind {
    let (extents, chunks) = (Vec::new(), Vec::new());
    EntryKind::File { size, sha256, extents, in_pieces: false, regions: None, chunks, unsettled: false }
}

fn grown(bytes: u64, more: u64) -> Result<u64, Failure> {
    let text = || Error::failed(format!("it is larger than the {MAX_OFFSET} bytes that the format allows"));
    bytes.checked_add(more).filter(|&sum| sum <= MAX_OFFSET).ok_or_else(|| Failure::Component(text()))
}

/// Whether an object is as it was: its content, and its time where the service has one.
fn is_equal(new: &Entry, old: &Entry, modified: Option<Timestamp>) -> bool {
    let old_time = Entry { mtime: old.mtime, ctime: old.ctime, ..new.clone() };
    modified.is_none_or(|time| time == old.mtime) && says_the_same(&old_time, old)
}

fn same_but_for_time(new: &Entry, old: &Entry) -> bool {
    is_equal(new, old, None)
}
