//! Digests an archive in one thread and writes it in another.
//!
//! Each takes about half a nanosecond a byte. In the thread that also seals, they would bound what all workers together
//! can compress.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::durable::DurableFile;
use crate::error::{Context as _, Result};
use crate::model::{Digest, Hasher};
use crate::threads;

/// Blocks that may wait; each is as long as what is written at once, at most about 1 MiB.
const BLOCKS_AHEAD: usize = 4;

type Block = Arc<Vec<u8>>;

/// Takes bytes that other threads digest and write.
#[derive(Debug)]
#[must_use = "without finish() nobody knows whether everything was written"]
pub(super) struct WriteBehind {
    to_digest: Sender<Block>,
    to_write: Sender<Block>,
    digesting: JoinHandle<Digest>,
    /// None after its failure was told.
    writing: Option<JoinHandle<io::Result<DurableFile>>>,
    size: u64,
}

impl WriteBehind {
    pub(super) fn new(file: DurableFile) -> Result<Self> {
        let (to_digest, digested) = bounded(BLOCKS_AHEAD);
        let (to_write, written) = bounded(BLOCKS_AHEAD);
        // When the second cannot start, the first ends because nobody sends.
        let digesting = threads::start_detached("digest", move || digest(&digested))?;
        let writing = threads::start_detached("write", move || write(file, &written))?;
        Ok(Self { to_digest, to_write, digesting, writing: Some(writing), size: 0 })
    }

    /// Waits until all is written, and syncs the file. Gives digest and size.
    pub(super) fn finish(self) -> Result<(Digest, u64)> {
        let Self { to_digest, to_write, digesting, writing, size } = self;
        drop((to_digest, to_write));
        end(writing).doing("cannot write an archive")?.finish()?;
        let digest =
            digesting.join().map_err(|_| io::Error::other(threads::died(()))).doing("cannot digest an archive")?;
        Ok((digest, size))
    }
}

fn digest(blocks: &Receiver<Block>) -> Digest {
    let mut hasher = Hasher::default();
    blocks.iter().for_each(|block| hasher.update(&block));
    hasher.finish()
}

fn write(mut file: DurableFile, blocks: &Receiver<Block>) -> io::Result<DurableFile> {
    blocks.iter().try_for_each(|block| file.write_all(&block)).map(|()| file)
}

fn end(writing: Option<JoinHandle<io::Result<DurableFile>>>) -> io::Result<DurableFile> {
    let writing = writing.ok_or_else(|| io::Error::other("an earlier write failed"))?;
    writing.join().unwrap_or_else(|_| Err(io::Error::other(threads::died(()))))
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let block = Arc::new(bytes.to_vec());
        if self.to_write.send(Arc::clone(&block)).is_err() {
            // The thread ends early only by a failure.
            return end(self.writing.take()).and_then(|_| Err(io::Error::other(threads::died(()))));
        }
        self.to_digest.send(block).map_err(|_| io::Error::other(threads::died(())))?;
        self.size += bytes.len() as u64;
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
    use crate::durable::{Disk, DiskChange, Faults};

    #[derive(Debug)]
    struct FullDisk;

    impl Faults for FullDisk {
        fn before(&self, change: DiskChange, _path: &Path) -> std::result::Result<(), (usize, io::Error)> {
            match change {
                DiskChange::Write(_) => Err((0, io::ErrorKind::StorageFull.into())),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn the_cause_of_a_failed_write_is_told_by_the_next_write_or_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::with_faults(Arc::new(FullDisk));
        let mut behind = WriteBehind::new(disk.create(&dir.path().join("a")).unwrap()).unwrap();
        let error = (0..10).find_map(|_| behind.write(b"x").err()).expect("the queue is shorter");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut behind = WriteBehind::new(disk.create(&dir.path().join("b")).unwrap()).unwrap();
        behind.write_all(b"x").unwrap();
        assert!(behind.finish().unwrap_err().one_line().contains("no storage space"));
    }
}
