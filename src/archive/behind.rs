//! Digests and writes an archive in a thread of its own.
//!
//! The two take about a nanosecond a byte. In the thread that also seals, they would bound what all workers together can
//! compress.

use std::io::{self, Write};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::durable::DurableFile;
use crate::error::{Context as _, Result};
use crate::model::{Digest, Hasher};

/// Blocks that may wait; each is as long as what is written at once, at most about 1 MiB.
const BLOCKS_AHEAD: usize = 4;

/// Takes bytes that another thread digests and writes.
#[derive(Debug)]
#[must_use = "without finish() nobody knows whether everything was written"]
pub(super) struct Behind {
    blocks: Sender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    /// None after its failure was told.
    thread: Option<JoinHandle<io::Result<Stored>>>,
}

/// What was written; not synced yet.
#[derive(Debug)]
struct Stored {
    file: DurableFile,
    hasher: Hasher,
    size: u64,
}

impl Behind {
    pub(super) fn new(file: DurableFile) -> Result<Self> {
        let (blocks, received) = bounded(BLOCKS_AHEAD);
        let (emptied, spare) = bounded(BLOCKS_AHEAD);
        let stored = Stored { file, hasher: Hasher::default(), size: 0 };
        let thread = thread::Builder::new().name("write".to_owned()).spawn(move || stored.take(&received, &emptied));
        let thread = thread.doing("cannot start the thread that writes an archive")?;
        Ok(Self { blocks, spare, thread: Some(thread) })
    }

    /// Waits until all is written, and syncs the file. Gives digest and size.
    pub(super) fn finish(self) -> Result<(Digest, u64)> {
        let Self { blocks, spare, thread } = self;
        drop((blocks, spare));
        let Stored { file, hasher, size } = end(thread).doing("cannot write an archive")?;
        file.finish()?;
        Ok((hasher.finish(), size))
    }
}

fn end(thread: Option<JoinHandle<io::Result<Stored>>>) -> io::Result<Stored> {
    let thread = thread.ok_or_else(|| io::Error::other("an earlier write failed"))?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes ended unexpectedly")))
}

impl Stored {
    fn take(mut self, blocks: &Receiver<Vec<u8>>, emptied: &Sender<Vec<u8>>) -> io::Result<Self> {
        for mut block in blocks {
            self.file.write_all(&block)?;
            self.hasher.update(&block);
            self.size += block.len() as u64;
            block.clear();
            // When all spare blocks are there already, one more is not needed.
            drop(emptied.try_send(block));
        }
        Ok(self)
    }
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut block = self.spare.try_recv().unwrap_or_default();
        block.extend_from_slice(bytes);
        if self.blocks.send(block).is_err() {
            // The thread ends early only by a failure.
            return end(self.thread.take()).and(Err(io::Error::other("the thread that writes ended early")));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::durable::{Change, Disk, Faults};

    #[derive(Debug)]
    struct FullDisk;

    impl Faults for FullDisk {
        fn before(&self, change: Change, _path: &Path) -> std::result::Result<(), (usize, io::Error)> {
            match change {
                Change::Write(_) => Err((0, io::ErrorKind::StorageFull.into())),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn the_cause_of_a_failed_write_is_told_by_the_next_write_or_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::with_faults(Arc::new(FullDisk));
        let mut behind = Behind::new(disk.create(&dir.path().join("a")).unwrap()).unwrap();
        let error = (0..10).find_map(|_| behind.write(b"x").err()).expect("the queue is shorter");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut behind = Behind::new(disk.create(&dir.path().join("b")).unwrap()).unwrap();
        behind.write_all(b"x").unwrap();
        assert!(behind.finish().unwrap_err().one_line().contains("no storage space"));
    }
}
