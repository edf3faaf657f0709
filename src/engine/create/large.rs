//! Large files: streamed, cut into content-defined chunks, compressed by whoever is free.
//!
//! A new file lies whole inside its member. A file that resembles one of the last backup is stored in pieces: chunks
//! that the chain holds are referenced, new ones lie in members of a reserved name, and a stub carries the metadata.

use std::fs::File;
use std::io;

use crossbeam_channel::Sender;

use super::capture::{
    CaptureContext, Captured, accepted, changed, distrust, file_entry, may_be_stub, problem_of, says_the_same,
};
use super::database;
use super::frames::{Frames, Halt, append_extent};
use super::links::Name;
use super::stream::{ChunkSizes, Chunker, ReadAt, StoredStream};
use super::work::{DatabasePart, FrameTasks, IndexLine, Job, LargeDone, LargePart};
use crate::archive::frame::Compressor;
use crate::archive::tar;
use crate::error::Result;
use crate::model::{Chunk, Digest, Entry, EntryKind, Extent, Hasher, Problem};
use crate::monitor::Monitor;
use crate::source::files::{Found, Stat};

/// Captures one large file.
pub(super) struct LargeFile<'a, 'p> {
    context: &'a CaptureContext<'a>,
    frames: Frames<'p>,
    monitor: &'p dyn Monitor,
    pieces: u64,
}

impl<'a, 'p> LargeFile<'a, 'p> {
    pub(super) fn new(
        context: &'a CaptureContext<'a>,
        compressor: &'p mut Compressor,
        tasks: &'p FrameTasks,
        parts: &'p Sender<Result<LargePart>>,
        monitor: &'p dyn Monitor,
    ) -> Self {
        Self { context, frames: Frames::new(compressor, tasks, parts), monitor, pieces: 0 }
    }

    /// Runs to the end or until nobody listens.
    pub(super) fn capture(mut self, job: Job) {
        let Job { found, previous, name, part } = job;
        let done = match self.capture_content(&found, previous, name, part) {
            Ok(done) => Ok(done),
            Err(Halt::Failed(error)) => Err(error),
            // A member that was begun is ended all the same: tar needs every byte that its header promises.
            Err(Halt::Lost(error)) if self.frames.end_frame().is_ok() => {
                Ok(LargeDone { line: None, problems: vec![problem_of(&found, &error)], bytes_read: 0 })
            }
            Err(Halt::Lost(_) | Halt::GivenUp) => return,
        };
        // Nobody listens any more when the run was given up.
        self.frames.send(done.map(|done| LargePart::Done(Box::new(done)))).ok();
    }

    fn capture_content(
        &mut self,
        found: &Found,
        previous: Option<(Vec<u8>, Entry)>,
        name: Option<Name>,
        part: Option<DatabasePart>,
    ) -> Result<LargeDone, Halt> {
        let (file, stat) = found.open()?;
        let is_the_one_found = stat.is_same_file(&found.stat);
        let mut bytes_read = 0;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut problems = Vec::new();
            let mut stat = found.stat_again(&file)?;
            let (mut state, mut only_read) = (None, None);
            if let Some(scratch) = self.context.databases.filter(|_| database::is_in_use(found, &file, attempt == 2)) {
                match database::snapshot(found, &file, scratch) {
                    Ok((snapshot, of_state)) => (state, stat) = (Some(snapshot), of_state),
                    Err(e) => only_read = Some(database::only_read(found, &e)),
                }
            }
            let (mut entry, regions) = file_entry(found, &file, &stat, self.context, &mut problems)?;
            let content: &dyn ReadAt = state.as_ref().map_or(&file, |snapshot| snapshot);
            let mut stream = StoredStream::new(content, stat.size, regions.as_deref());
            bytes_read += stream.length();
            let pieces = may_be_stub(&entry)
                && ChunkSizes::for_length(stream.length()).is_some()
                && self.context.known.resembles_a_large_file(stat.size, stat.inode)?;
            if pieces {
                self.store_in_pieces(&mut entry, &mut stream)?;
            } else {
                self.store_inline(&mut entry, &mut stream)?;
            }
            let trouble = match &state {
                Some(snapshot) => {
                    stream.fault(found)?.or(snapshot.finish().err().map(|e| changed(found, &e.one_line())))
                }
                None => trouble_of(&mut stream, &stat, found, &file)?,
            };
            let trouble = only_read.or(trouble);
            if trouble.is_some() && attempt == 1 {
                self.frames.end_frame()?;
                self.frames.send(Ok(LargePart::Again))?;
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
            let Captured { entry, .. } =
                accepted(Captured { entry, is_the_one_found, bytes_read, is_one_state: state.is_some() })?;
            if let Some(DatabasePart::Database(duty)) = part
                && state.is_some()
                && problems.is_empty()
            {
                duty.stands(&found.path);
            }
            if let Some(name) = name.filter(|_| is_the_one_found) {
                name.stands(&found.path);
            }
            let line = match previous {
                // Only its timestamps were not trusted: the stub that the last backup holds will do.
                Some((line, old)) if pieces && says_the_same(&entry, &old) => IndexLine::Same { line, entry: old },
                _ => IndexLine::New(self.stub(entry, pieces)),
            };
            self.frames.end_frame()?;
            self.monitor.advance(0, 1);
            return Ok(LargeDone { line: Some(line), problems, bytes_read });
        }
    }

    /// Writes the stub of a file in pieces, whose home that is.
    fn stub(&mut self, mut entry: Entry, pieces: bool) -> Entry {
        if pieces {
            entry.home.offset = self.frames.offset();
            tar::write_member_header(&entry, &mut self.frames.raw);
        }
        entry
    }

    /// The whole content after one header.
    fn store_inline(&mut self, entry: &mut Entry, stream: &mut StoredStream<'_>) -> Result<(), Halt> {
        entry.home.offset = self.frames.offset();
        let length = tar::write_member_header(entry, &mut self.frames.raw);
        let content_offset = self.frames.offset();
        let mut hasher = Hasher::default();
        if let Some(sizes) = ChunkSizes::for_length(length) {
            let mut chunker = Chunker::new(stream, sizes);
            while let Some(chunk) = chunker.next_chunk()? {
                hasher.update(chunk);
                let start = self.frames.raw.len();
                self.frames.raw.extend_from_slice(chunk);
                self.frames.chunk_ranges.push((start, self.frames.raw.len()));
                self.monitor.throttle(chunk.len() as u64);
                self.monitor.advance(chunk.len() as u64, 0);
                self.frames.end_frame_if_full()?;
            }
        } else {
            let mut buffer = vec![0; 1 << 20];
            loop {
                let n = stream.fill(&mut buffer);
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
                self.frames.raw.extend_from_slice(&buffer[..n]);
                self.monitor.throttle(n as u64);
                self.monitor.advance(n as u64, 0);
                self.frames.end_frame_if_full()?;
            }
        }
        self.frames.raw.resize(self.frames.raw.len() + tar::padding(length), 0);
        if let EntryKind::File { sha256, extents, .. } = &mut entry.kind {
            *sha256 = hasher.finish();
            *extents = vec![self.frames.extent(self.context.backup, content_offset, length)];
        }
        Ok(())
    }

    /// Known chunks are referenced, new ones become members of their own.
    fn store_in_pieces(&mut self, entry: &mut Entry, stream: &mut StoredStream<'_>) -> Result<(), Halt> {
        let Some(sizes) = ChunkSizes::for_length(stream.length()) else { return Ok(()) };
        let mut hasher = Hasher::default();
        let (mut found_extents, mut found_chunks) = (Vec::<Extent>::new(), Vec::new());
        let mut chunker = Chunker::new(stream, sizes);
        while let Some(chunk) = chunker.next_chunk()? {
            hasher.update(chunk);
            let length = chunk.len() as u64;
            let sha256 = Digest::of(chunk);
            found_chunks.push(Chunk { length, sha256 });
            self.monitor.throttle(length);
            self.monitor.advance(length, 0);
            let extent = match self.context.known.find(sha256, length)? {
                Some(known) => known,
                None => {
                    tar::write_piece_header(self.pieces, length, &mut self.frames.raw);
                    self.pieces += 1;
                    let offset = self.frames.offset();
                    self.frames.raw.extend_from_slice(chunk);
                    self.frames.raw.resize(self.frames.raw.len() + tar::padding(length), 0);
                    self.frames.end_frame_if_full()?;
                    self.frames.extent(self.context.backup, offset, length)
                }
            };
            append_extent(&mut found_extents, extent);
        }
        if let EntryKind::File { sha256, extents, chunks, in_pieces, .. } = &mut entry.kind {
            *sha256 = hasher.finish();
            *extents = found_extents;
            *chunks = found_chunks;
            *in_pieces = true;
        }
        Ok(())
    }
}

/// An error when nothing of the file could be read.
fn trouble_of(stream: &mut StoredStream<'_>, before: &Stat, found: &Found, file: &File) -> io::Result<Option<Problem>> {
    if let Some(fault) = stream.fault(found)? {
        return Ok(Some(fault));
    }
    Ok(match found.stat_again(file) {
        Ok(after) if before.same_content(&after) => None,
        Ok(_) => Some(changed(found, "it was written to while it was read, twice")),
        Err(error) => Some(changed(found, &format!("cannot stat it after it was read: {error}"))),
    })
}
