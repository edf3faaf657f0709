//! Large files: streamed, cut into content-defined chunks, compressed by whoever is free.
//!
//! A new file lies whole inside its member. A file that resembles one of the last backup is stored in pieces: chunks
//! that the chain holds are referenced, new ones lie in members of a reserved name, and a stub carries the metadata.

use std::fs::File;
use std::io;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::join::Job;
use super::links::Name;
use super::pack::{
    Captured, Frame, IndexLine, Packer, Shared, accepted, capture_other, changed, distrust, file_entry, may_be_stub,
    problem_of, says_the_same,
};
use super::stream::{ChunkSizes, Chunker, StoredStream};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::archive::tar;
use crate::error::Result;
use crate::model::{Chunk, Digest, Entry, EntryKind, EntryPath, Extent, Hasher, Problem};
use crate::monitor::Monitor;
use crate::source::files::{Found, Stat};

/// What a large file sends to the writer, in order.
#[derive(Debug)]
pub(super) enum Part {
    /// A frame that somebody is compressing.
    Frame(Receiver<Result<Compressed>>),
    /// The file changed and is stored once more: digests of chunks so far do not count.
    Again,
    /// The end.
    Done(Box<Done>),
}

/// A frame ends with the chunk that fills it; most chunks are shorter than twice their average. In bytes.
const FRAME_ROOM_BYTES: usize = TARGET_FRAME_BYTES + (2 << 20);

/// The end of a large file.
#[derive(Debug)]
pub(super) struct Done {
    /// None when nothing could be captured.
    pub(super) line: Option<IndexLine>,
    pub(super) problems: Vec<Problem>,
    pub(super) bytes_read: u64,
}

/// A compressed frame with the digests of the chunks in it.
#[derive(Debug)]
pub(super) struct Compressed {
    pub(super) frame: Frame,
    pub(super) chunks: Vec<Chunk>,
}

/// A frame to be compressed by any worker.
#[derive(Debug)]
pub(super) struct Task {
    raw: Vec<u8>,
    /// Ranges of whole chunks whose digests are wanted.
    chunks: Vec<(usize, usize)>,
    reply: Sender<Result<Compressed>>,
}

impl Task {
    pub(super) fn run(self, compressor: &mut Compressor) {
        let chunks = self
            .chunks
            .iter()
            .map(|&(start, end)| Chunk { length: (end - start) as u64, sha256: Digest::of(&self.raw[start..end]) });
        let chunks = chunks.collect();
        let mut compressed = Vec::new();
        let result = compressor.compress(&self.raw, &mut compressed);
        let frame = Frame { compressed, length: self.raw.len() as u64 };
        // The writer may have given up; then nobody wants the answer.
        drop(self.reply.send(result.map(|()| Compressed { frame, chunks })));
    }
}

/// The queue of tasks that all workers serve.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    pub(super) sender: Sender<Task>,
    pub(super) receiver: Receiver<Task>,
}

/// Nobody listens any more: the run was given up.
struct GivenUp;

/// Captures one large file.
pub(super) struct LargeFile<'a, 'p> {
    shared: &'a Shared<'a>,
    packer: &'p mut Packer<'a>,
    tasks: &'p Tasks,
    parts: &'p Sender<Result<Part>>,
    monitor: &'p dyn Monitor,
    raw: Vec<u8>,
    chunk_ranges: Vec<(usize, usize)>,
    /// Bytes of earlier frames of this file.
    before: u64,
    pieces: u64,
}

impl<'a, 'p> LargeFile<'a, 'p> {
    pub(super) fn new(
        shared: &'a Shared<'a>,
        packer: &'p mut Packer<'a>,
        tasks: &'p Tasks,
        parts: &'p Sender<Result<Part>>,
        monitor: &'p dyn Monitor,
    ) -> Self {
        Self { shared, packer, tasks, parts, monitor, raw: Vec::new(), chunk_ranges: Vec::new(), before: 0, pieces: 0 }
    }

    /// Runs to the end or until nobody listens.
    pub(super) fn capture(mut self, job: Job) {
        let done = match self.capture_job(job) {
            Ok(Ok(done)) => Ok(Part::Done(Box::new(done))),
            Ok(Err(GivenUp)) => return,
            Err(error) => Err(error),
        };
        // Nobody listens any more when the run was given up.
        self.send(done).ok();
    }

    fn capture_job(&mut self, job: Job) -> Result<std::result::Result<Done, GivenUp>> {
        let Job { found, previous, name } = job;
        if let Some(first) = name.as_ref().and_then(Name::first) {
            return self.link(&found, first, previous, name);
        }
        let lost = |error: &io::Error| Done { line: None, problems: vec![problem_of(&found, error)], bytes_read: 0 };
        let (file, is_the_one_found) = match found.open() {
            Ok((file, stat)) => (file, stat.is_same_file(&found.stat)),
            Err(error) => return Ok(Ok(lost(&error))),
        };
        let mut bytes_read = 0;
        let mut attempt = 1;
        let mut problems = Vec::new();
        loop {
            let opened = found.stat_again(&file).and_then(|stat| {
                problems.clear();
                let (entry, regions) = file_entry(&found, &file, &stat, self.shared, &mut problems)?;
                Ok((stat, entry, regions))
            });
            let (stat, mut entry, regions) = match opened {
                Ok(opened) => opened,
                Err(error) => return Ok(Ok(lost(&error))),
            };
            let mut stream = StoredStream::new(&file, stat.size, regions.as_deref());
            bytes_read += stream.length();
            let pieces = may_be_stub(&entry)
                && ChunkSizes::for_length(stream.length()).is_some()
                && self.shared.known.resembles_a_large_file(stat.size, stat.inode)?;
            let stored = if pieces {
                self.store_in_pieces(&mut entry, &mut stream)?
            } else {
                self.store_inline(&mut entry, &mut stream)
            };
            if stored.is_err() {
                return Ok(Err(GivenUp));
            }
            // A member that was begun is ended, whatever becomes of its entry: tar needs every byte that its header promises.
            let trouble = match trouble_of(&mut stream, &stat, &found, &file) {
                Ok(trouble) => trouble,
                Err(error) => return Ok(self.end_frame().map(|()| lost(&error))),
            };
            if trouble.is_some() && attempt == 1 {
                attempt = 2;
                if self.end_frame().is_err() || self.send(Ok(Part::Again)).is_err() {
                    return Ok(Err(GivenUp));
                }
                continue;
            }
            if let EntryKind::File { unsettled, in_pieces, extents, .. } = &mut entry.kind {
                *unsettled = trouble.is_some();
                // The first member of that name holds the first attempt. By hand the pieces are laid over it.
                *in_pieces = pieces || attempt == 2;
                extents.retain(|e| e.length > 0 || !*in_pieces);
            }
            problems.extend(trouble);
            if !problems.is_empty() {
                distrust(&mut entry);
            }
            let entry = match accepted(Captured { entry, is_the_one_found, bytes_read }) {
                Ok(captured) => captured.entry,
                Err(error) => return Ok(self.end_frame().map(|()| lost(&error))),
            };
            if let Some(name) = name.filter(|_| is_the_one_found) {
                name.stands(&found.path);
            }
            let line = match previous {
                // Only its timestamps were not trusted: the stub that the last backup holds will do.
                Some((line, old)) if pieces && same_as_before(&entry, &old) => IndexLine::Same { line, entry: old },
                _ => IndexLine::New(self.stub(entry, pieces)),
            };
            if self.end_frame().is_err() {
                return Ok(Err(GivenUp));
            }
            self.monitor.advance(0, 1);
            return Ok(Ok(Done { line: Some(line), problems, bytes_read }));
        }
    }

    /// A further name of a file that was captured under another.
    fn link(
        &mut self,
        found: &Found,
        first: EntryPath,
        previous: Option<(Vec<u8>, Entry)>,
        name: Option<Name>,
    ) -> Result<std::result::Result<Done, GivenUp>> {
        let mut problems = Vec::new();
        let captured = capture_other(found, Some(first.clone()), self.shared, &mut problems)
            .and_then(|(entry, same)| accepted(Captured { entry, is_the_one_found: same, bytes_read: 0 }));
        let line = match (captured, previous) {
            (Err(error), _) => {
                problems.push(problem_of(found, &error));
                None
            }
            (Ok(captured), Some((line, old))) if says_the_same(&captured.entry, &old) => {
                Some(IndexLine::Same { line, entry: old })
            }
            (Ok(captured), _) => {
                tar::write_member_header(&captured.entry, &mut self.raw);
                Some(IndexLine::New(captured.entry))
            }
        };
        if let Some(name) = name.filter(|_| line.is_some()) {
            name.stands(&first);
        }
        if self.end_frame().is_err() {
            return Ok(Err(GivenUp));
        }
        self.monitor.advance(0, 1);
        Ok(Ok(Done { line, problems, bytes_read: 0 }))
    }

    /// Writes the stub of a file in pieces, whose home that is.
    fn stub(&mut self, mut entry: Entry, pieces: bool) -> Entry {
        if pieces {
            entry.home.offset = self.before + self.raw.len() as u64;
            tar::write_member_header(&entry, &mut self.raw);
        }
        entry
    }

    /// The whole content behind one header.
    fn store_inline(&mut self, entry: &mut Entry, stream: &mut StoredStream<'_>) -> std::result::Result<(), GivenUp> {
        entry.home.offset = self.before + self.raw.len() as u64;
        let length = tar::write_member_header(entry, &mut self.raw);
        let content_offset = self.before + self.raw.len() as u64;
        let mut hasher = Hasher::default();
        if let Some(sizes) = ChunkSizes::for_length(length) {
            let mut chunker = Chunker::new(stream, sizes);
            while let Some(chunk) = chunker.next_chunk() {
                hasher.update(chunk);
                let start = self.raw.len();
                self.raw.extend_from_slice(chunk);
                self.chunk_ranges.push((start, self.raw.len()));
                self.monitor.throttle(chunk.len() as u64);
                self.monitor.advance(chunk.len() as u64, 0);
                self.end_frame_if_full()?;
            }
        } else {
            let mut buffer = vec![0; 1 << 20];
            loop {
                let n = stream.fill(&mut buffer);
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
                self.raw.extend_from_slice(&buffer[..n]);
                self.monitor.throttle(n as u64);
                self.monitor.advance(n as u64, 0);
                self.end_frame_if_full()?;
            }
        }
        self.raw.resize(self.raw.len() + tar::padding(length), 0);
        if let EntryKind::File { sha256, extents, .. } = &mut entry.kind {
            *sha256 = hasher.finish();
            *extents = vec![self.own_extent(content_offset, length)];
        }
        Ok(())
    }

    /// Known chunks are referenced, new ones become members of their own.
    fn store_in_pieces(
        &mut self,
        entry: &mut Entry,
        stream: &mut StoredStream<'_>,
    ) -> Result<std::result::Result<(), GivenUp>> {
        let Some(sizes) = ChunkSizes::for_length(stream.length()) else { return Ok(Ok(())) };
        let mut hasher = Hasher::default();
        let (mut found_extents, mut found_chunks) = (Vec::<Extent>::new(), Vec::new());
        let mut chunker = Chunker::new(stream, sizes);
        while let Some(chunk) = chunker.next_chunk() {
            hasher.update(chunk);
            let length = chunk.len() as u64;
            let sha256 = Digest::of(chunk);
            found_chunks.push(Chunk { length, sha256 });
            self.monitor.throttle(length);
            self.monitor.advance(length, 0);
            let extent = match self.shared.known.find(sha256, length)? {
                Some(known) => known,
                None => {
                    tar::write_piece_header(self.pieces, length, &mut self.raw);
                    self.pieces += 1;
                    let offset = self.before + self.raw.len() as u64;
                    self.raw.extend_from_slice(chunk);
                    self.raw.resize(self.raw.len() + tar::padding(length), 0);
                    if self.end_frame_if_full().is_err() {
                        return Ok(Err(GivenUp));
                    }
                    self.own_extent(offset, length)
                }
            };
            match found_extents.last_mut() {
                Some(last)
                    if last.backup == extent.backup
                        && last.volume == extent.volume
                        && last.offset + last.length == extent.offset =>
                {
                    last.length += extent.length;
                }
                _ => found_extents.push(extent),
            }
        }
        if let EntryKind::File { sha256, extents, chunks, in_pieces, .. } = &mut entry.kind {
            *sha256 = hasher.finish();
            *extents = found_extents;
            *chunks = found_chunks;
            *in_pieces = true;
        }
        Ok(Ok(()))
    }

    fn own_extent(&self, offset: u64, length: u64) -> Extent {
        Extent { backup: self.shared.backup.clone(), volume: 0, offset, length }
    }

    fn end_frame_if_full(&mut self) -> std::result::Result<(), GivenUp> {
        if self.raw.len() >= TARGET_FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    /// Hands the frame to whoever is free, or compresses it here; never waits for a task that nobody works on.
    fn end_frame(&mut self) -> std::result::Result<(), GivenUp> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.before += self.raw.len() as u64;
        let (reply, receiver) = bounded(1);
        let raw = std::mem::replace(&mut self.raw, Vec::with_capacity(FRAME_ROOM_BYTES));
        let task = Task { raw, chunks: std::mem::take(&mut self.chunk_ranges), reply };
        match self.tasks.sender.try_send(task) {
            Ok(()) => {}
            Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => task.run(self.packer.compressor()),
        }
        self.send(Ok(Part::Frame(receiver)))
    }

    /// Hands a part to the writer. While that has no room, works on the tasks it may be waiting for: all other workers
    /// may have gone home.
    fn send(&mut self, mut part: Result<Part>) -> std::result::Result<(), GivenUp> {
        loop {
            match self.parts.try_send(part) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(GivenUp),
                Err(TrySendError::Full(back)) => part = back,
            }
            match self.tasks.receiver.try_recv() {
                Ok(task) => task.run(self.packer.compressor()),
                // Every task is being worked on, so the writer will come to take this part.
                Err(_) => return self.parts.send(part).map_err(|_| GivenUp),
            }
        }
    }
}

fn same_as_before(new: &Entry, old: &Entry) -> bool {
    let mut new = new.clone();
    new.home = old.home.clone();
    match (&mut new.kind, &old.kind) {
        (
            EntryKind::File { sha256, extents, in_pieces, .. },
            EntryKind::File { sha256: old_sha256, extents: old_extents, in_pieces: old_pieces, .. },
        ) if sha256 == old_sha256 => {
            extents.clone_from(old_extents);
            *in_pieces = *old_pieces;
        }
        _ => return false,
    }
    new == *old
}

/// An error when nothing of the file could be read.
fn trouble_of(stream: &mut StoredStream<'_>, before: &Stat, found: &Found, file: &File) -> io::Result<Option<Problem>> {
    if let Some(fault) = stream.fault(found)? {
        return Ok(Some(fault));
    }
    Ok(match found.stat_again(file) {
        Ok(after) if before.same_content(&after) => None,
        Ok(_) => Some(changed(found, "it was written to while it was read, twice")),
        Err(error) => Some(changed(found, &format!("it could not be looked at after it was read: {error}"))),
    })
}
