//! What travels between the threads of `create`: walk → join → pack or large → collect.

use crossbeam_channel::{Receiver, Sender};

use super::links::Name;
use crate::archive::frame::Compressor;
use crate::error::Result;
use crate::model::{Chunk, Digest, Entry, Problem};
use crate::source::files::{Found, LeftOut};

/// Work for the pool.
#[derive(Debug)]
pub(super) enum Work {
    Batch(Vec<BatchItem>, Sender<Result<Packed>>),
    Large(Box<Job>, Sender<Result<LargePart>>),
}

/// Entries on their way into the index.
#[derive(Debug)]
pub(super) enum BatchItem {
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
    /// For a file with several names.
    pub(super) name: Option<Name>,
    /// For a database that is in use and what belongs to it.
    pub(super) part: Option<DatabasePart>,
}

/// What an entry has to do with a database that is in use.
#[derive(Debug)]
pub(super) enum DatabasePart {
    /// It is one: says so when it was captured as one state.
    Database(Name),
    /// It belongs to one: is left out when that was captured as one state.
    Companion(Name),
}

impl Job {
    /// It is another name of a file, or belongs to a database that was captured as one state. Waits for the verdict.
    pub(super) fn has_no_content(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.first().is_some()) || self.is_left_out()
    }

    /// It belongs to a database that was captured as one state. Waits for the verdict.
    pub(super) fn is_left_out(&self) -> bool {
        matches!(&self.part, Some(DatabasePart::Companion(name)) if name.first().is_some())
    }
}

/// A place in the order of the archive, filled by a worker.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nothing for a worker.
    Kept(Kept),
    Batch(Receiver<Result<Packed>>),
    Large(Receiver<Result<LargePart>>),
    /// Something the walk itself met.
    Problem(Problem),
    Note(String),
    /// What rules left out.
    LeftOut(LeftOut),
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) frames: Vec<PackedFrame>,
    pub(super) lines: Vec<IndexLine>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
    pub(super) bytes_read: u64,
}

/// A compressed frame and the length of what is in it.
#[derive(Debug)]
pub(super) struct PackedFrame {
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

/// What a large file sends to the collector, in order.
#[derive(Debug)]
pub(super) enum LargePart {
    /// A frame that somebody is compressing.
    Frame(Receiver<Result<ChunkedFrame>>),
    /// The file changed and is stored once more: digests of chunks so far do not count.
    Again,
    /// The end.
    Done(Box<LargeDone>),
    /// It is a hard link to a file that was captured under another name.
    Link(Packed),
}

/// The end of a large file.
#[derive(Debug)]
pub(super) struct LargeDone {
    /// None when nothing could be captured.
    pub(super) line: Option<IndexLine>,
    pub(super) problems: Vec<Problem>,
    pub(super) bytes_read: u64,
}

/// A compressed frame with the digests of the chunks in it.
#[derive(Debug)]
pub(super) struct ChunkedFrame {
    pub(super) frame: PackedFrame,
    pub(super) chunks: Vec<Chunk>,
}

/// A frame of a large file, to be compressed by any worker.
#[derive(Debug)]
pub(super) struct FrameTask {
    pub(super) raw: Vec<u8>,
    /// Ranges of whole chunks whose digests are wanted.
    pub(super) chunks: Vec<(usize, usize)>,
    pub(super) reply: Sender<Result<ChunkedFrame>>,
}

impl FrameTask {
    pub(super) fn run(self, compressor: &mut Compressor) {
        let chunk = |&(start, end)| Chunk { length: (end - start) as u64, sha256: Digest::of(&self.raw[start..end]) };
        let chunks = self.chunks.iter().map(chunk).collect();
        let mut compressed = Vec::new();
        let result = compressor.compress(&self.raw, &mut compressed);
        let frame = PackedFrame { compressed, length: self.raw.len() as u64 };
        // The collector may have given up; then nobody wants the answer.
        drop(self.reply.send(result.map(|()| ChunkedFrame { frame, chunks })));
    }
}

/// The queue of frames that all workers serve.
#[derive(Clone, Debug)]
pub(super) struct FrameTasks {
    pub(super) sender: Sender<FrameTask>,
    pub(super) receiver: Receiver<FrameTask>,
}
