//! The frames of one large content on their way to the collector: compressed by whoever is free, handed over in order.

use std::io;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::work::{ChunkedFrame, FrameTask, FrameTasks, LargePart};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::error::{Error, Result};
use crate::model::{BackupId, Extent};

/// A frame ends with the chunk that fills it; most chunks are shorter than twice their average. In bytes.
const FRAME_ROOM_BYTES: usize = TARGET_FRAME_BYTES + (2 << 20);

/// Why the capture of a large content ends before its end.
pub(super) enum Halt {
    /// Nobody listens any more: the run was given up.
    GivenUp,
    /// The run fails.
    Failed(Error),
    /// The content cannot be captured.
    Lost(io::Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// The frame that is being filled, and where full ones go.
pub(super) struct Frames<'p> {
    pub(super) compressor: &'p mut Compressor,
    pub(super) tasks: &'p FrameTasks,
    pub(super) parts: &'p Sender<Result<LargePart>>,
    /// What the frame holds so far.
    pub(super) raw: Vec<u8>,
    /// Ranges of it that are whole chunks whose digests are wanted.
    pub(super) chunk_ranges: Vec<(usize, usize)>,
    /// Bytes of earlier frames.
    before: u64,
}

impl<'p> Frames<'p> {
    pub(super) fn new(
        compressor: &'p mut Compressor,
        tasks: &'p FrameTasks,
        parts: &'p Sender<Result<LargePart>>,
    ) -> Self {
        Self { compressor, tasks, parts, raw: Vec::new(), chunk_ranges: Vec::new(), before: 0 }
    }

    /// Where the next byte will lie, from the beginning of the first frame.
    pub(super) fn offset(&self) -> u64 {
        self.before + self.raw.len() as u64
    }

    /// An extent of the backup that is being made.
    pub(super) fn extent(&self, backup: &BackupId, offset: u64, length: u64) -> Extent {
        Extent { backup: backup.clone(), volume: 0, offset, length }
    }

    pub(super) fn end_frame_if_full(&mut self) -> Result<(), Halt> {
        if self.raw.len() >= TARGET_FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    /// Hands the frame to whoever is free, or compresses it here; never waits for a task that nobody works on.
    pub(super) fn end_frame(&mut self) -> Result<(), Halt> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let receiver = self.give_away();
        self.send(Ok(LargePart::Frame(receiver)))
    }

    /// The frame as it will be when somebody has compressed it; a new one begins.
    pub(super) fn give_away(&mut self) -> Receiver<Result<ChunkedFrame>> {
        self.before += self.raw.len() as u64;
        let (reply, receiver) = bounded(1);
        let raw = std::mem::replace(&mut self.raw, Vec::with_capacity(FRAME_ROOM_BYTES));
        let task = FrameTask { raw, chunks: std::mem::take(&mut self.chunk_ranges), reply };
        match self.tasks.sender.try_send(task) {
            Ok(()) => {}
            Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => task.run(self.compressor),
        }
        receiver
    }

    /// Counts from the beginning again: what went before is kept elsewhere.
    pub(super) fn restart(&mut self) {
        self.before = 0;
    }

    /// Counts a frame that is handed over in another way.
    pub(super) fn pass(&mut self, length: u64) {
        self.before += length;
    }

    /// Hands a part to the collector. While that has no room for it, works on the frames that it may be waiting for.
    ///
    /// Simply waiting could last for ever: the collector takes parts in order and waits for the frame of the first one,
    /// that frame may still lie in the queue of tasks, and all other workers may have gone home or be waiting here, too.
    /// So nobody waits while the queue holds a task. When it is empty, each task is in the hands of a worker that is
    /// compressing, which ends; then the collector comes to take this part.
    pub(super) fn send(&mut self, mut part: Result<LargePart>) -> Result<(), Halt> {
        loop {
            match self.parts.try_send(part) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Halt::GivenUp),
                Err(TrySendError::Full(back)) => part = back,
            }
            match self.tasks.receiver.try_recv() {
                Ok(task) => task.run(self.compressor),
                Err(_) => return self.parts.send(part).map_err(|_| Halt::GivenUp),
            }
        }
    }
}

/// Appends an extent, or makes the last one longer where it goes on.
pub(super) fn append_extent(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last_mut() {
        Some(last)
            if last.backup == extent.backup
                && last.volume == extent.volume
                && last.offset + last.length == extent.offset =>
        {
            last.length += extent.length;
        }
        _ => extents.push(extent),
    }
}
