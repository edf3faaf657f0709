//! The content of one entry as a stream. Its frames are decoded ahead by workers that have nothing else to do, and taken
//! in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::frame::{Frame, check_digest, read_frame};
use crate::archive::{FramedReader, Scratch};
use crate::engine::chain::Archives;
use crate::error::{Error, Result};
use crate::model::{Entry, EntryKind, Extent, Hasher};
use crate::monitor::Monitor;
use crate::threads;

/// Reads content extent by extent; one a worker.
#[derive(Debug)]
pub(in crate::engine) struct Streams<'a> {
    archives: &'a Archives,
    tasks: Sender<Task>,
    /// Frames that may be decoded ahead.
    ahead: usize,
    scratch: Scratch,
    buffer: Vec<u8>,
    /// Buffers that came back from other workers.
    spare: Vec<Vec<u8>>,
    monitor: &'a dyn Monitor,
}

/// A frame that another worker decodes.
#[derive(Debug)]
pub(super) struct Task {
    archive: Arc<FramedReader>,
    frame: usize,
    buffer: Vec<u8>,
    reply: Sender<Result<Vec<u8>>>,
}

impl Task {
    pub(super) fn run(self, scratch: &mut Scratch, monitor: &dyn Monitor) {
        let Self { archive, frame, mut buffer, reply } = self;
        let outcome = read_frame(&archive, frame, scratch, &mut buffer, monitor);
        // Whoever gave it away may have met damage before this frame.
        drop(reply.send(outcome.map(|()| buffer)));
    }
}

/// The bytes of a part, or where they come from.
enum Bytes {
    /// In the frame that the caller has.
    AtHand,
    /// From another worker.
    Coming(Receiver<Result<Vec<u8>>>),
    /// Nobody was free.
    Unread,
}

impl<'a> Streams<'a> {
    pub(super) fn new(
        archives: &'a Archives,
        tasks: Sender<Task>,
        ahead: usize,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        Ok(Self { archives, tasks, ahead, scratch: Scratch::new()?, buffer: Vec::new(), spare: Vec::new(), monitor })
    }

    /// Feeds the stored bytes of a file to `take` with their offsets, and compares the digest at the end. `at_hand` is
    /// read already.
    pub(in crate::engine) fn content(
        &mut self,
        entry: &Entry,
        at_hand: &Frame<'_>,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let EntryKind::File { sha256, extents, .. } = &entry.kind else { return Ok(()) };
        let mut hasher = Hasher::default();
        let mut position = 0;
        let mut parts = Parts::new(self.archives, extents.iter().cloned());
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < self.ahead.max(1) {
                let Some(part) = parts.next()? else { break };
                let bytes = self.begin(&part, at_hand);
                pending.push_back((part, bytes));
            }
            let Some((part, bytes)) = pending.pop_front() else { break };
            let mut received = Vec::new();
            let frame = match bytes {
                Bytes::AtHand => at_hand.bytes,
                Bytes::Coming(reply) => {
                    received = reply.recv().map_err(threads::died)??;
                    &received
                }
                Bytes::Unread => {
                    read_frame(&part.archive, part.frame, &mut self.scratch, &mut self.buffer, self.monitor)?;
                    &self.buffer
                }
            };
            for range in part.ranges {
                self.monitor.check()?;
                let name = part.archive.name();
                let piece = frame.get(range).ok_or_else(|| Error::damage(format!("a frame of {name} is too short")))?;
                hasher.update(piece);
                take(position, piece)?;
                position += piece.len() as u64;
                self.monitor.advance(piece.len() as u64, 0);
            }
            if received.capacity() > 0 {
                self.spare.push(received);
            }
        }
        check_digest(entry, hasher.finish(), *sha256)
    }

    /// Gives the part's frame away if somebody is free.
    fn begin(&mut self, part: &Part, at_hand: &Frame<'_>) -> Bytes {
        if std::ptr::eq(&raw const *part.archive, at_hand.archive) && part.frame == at_hand.number {
            return Bytes::AtHand;
        }
        let (reply, receiver) = bounded(1);
        let buffer = self.spare.pop().unwrap_or_default();
        let task = Task { archive: Arc::clone(&part.archive), frame: part.frame, buffer, reply };
        match self.tasks.try_send(task) {
            Ok(()) => Bytes::Coming(receiver),
            Err(refused) => {
                self.spare.push(refused.into_inner().buffer);
                Bytes::Unread
            }
        }
    }
}

/// What a file needs of one frame.
pub(super) struct Part {
    pub(super) archive: Arc<FramedReader>,
    pub(super) frame: usize,
    pub(super) ranges: Vec<Range<usize>>,
}

/// Cuts extents at frames, and joins what lies in the same frame.
pub(super) struct Parts<'a, I> {
    archives: &'a Archives,
    extents: I,
    /// What is left of an extent: its archive, offset and length.
    rest: Option<(Arc<FramedReader>, u64, u64)>,
    next: Option<Part>,
}

impl<'a, I: Iterator<Item = Extent>> Parts<'a, I> {
    pub(super) fn new(archives: &'a Archives, extents: I) -> Self {
        Self { archives, extents, rest: None, next: None }
    }

    pub(super) fn next(&mut self) -> Result<Option<Part>> {
        loop {
            let Some(piece) = self.piece()? else { return Ok(self.next.take()) };
            match &mut self.next {
                Some(part) if Arc::ptr_eq(&part.archive, &piece.archive) && part.frame == piece.frame => {
                    part.ranges.extend(piece.ranges);
                }
                next => {
                    if let Some(part) = next.replace(piece) {
                        return Ok(Some(part));
                    }
                }
            }
        }
    }

    /// The next run of bytes that lies in one frame.
    fn piece(&mut self) -> Result<Option<Part>> {
        while self.rest.is_none() {
            let Some(extent) = self.extents.next() else { return Ok(None) };
            if extent.length > 0 {
                let archive = self.archives.open(&extent.backup, extent.volume)?;
                self.rest = Some((archive, extent.offset, extent.length));
            }
        }
        let Some((archive, offset, length)) = self.rest.take() else { return Ok(None) };
        let frame = archive.find(offset)?;
        let span = archive.span(frame);
        let start = offset - span.offset;
        let taken = (span.length - start).min(length);
        // A frame is no longer than MAX_FRAME_BYTES.
        let range = usize::try_from(start).unwrap_or(0)..usize::try_from(start + taken).unwrap_or(0);
        if length > taken {
            self.rest = Some((Arc::clone(&archive), offset + taken, length - taken));
        }
        Ok(Some(Part { archive, frame, ranges: vec![range] }))
    }
}
