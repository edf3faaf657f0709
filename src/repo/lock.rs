//! Keeps other writers away from a repository.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::layout::LOCK_FILE;
use crate::error::{Context, Error, Kind, Result};

/// Holds the repository's lock.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
}

impl Drop for LockGuard {
    /// Closing would not do: a child process that another thread is just starting holds a copy of the descriptor until
    /// it runs its program, and with it the lock.
    fn drop(&mut self) {
        rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock).ok();
    }
}

/// Locks the repository at `root`.
pub(super) fn lock(root: &Path) -> Result<LockGuard> {
    lock_file(&root.join(LOCK_FILE), &format!("another run is writing to {}", root.display()))
}

/// Locks the file at `path`, which is made; `busy` says what it means when another run has it.
pub(super) fn lock_file(path: &Path, busy: &str) -> Result<LockGuard> {
    let file = open_lock(path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(LockGuard { file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(Kind::Locked, busy)
            .hint("wait until it has ended; a lock dies with its process and never has to be removed")),
        Err(e) => Err(Error::failed(format!("cannot lock {}", path.display())).because(io::Error::from(e))),
    }
}

/// Whoever writes to the repository could have put anything in the lock's place: a link would make a file elsewhere, a
/// pipe would wait for ever.
fn open_lock(path: &Path) -> Result<File> {
    let other = || {
        Error::damage(format!("the lock {} is not a regular file", path.display()))
            .hint("find out who put it there, then remove it; the next run makes the lock anew")
    };
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(other());
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .at("cannot open the lock", path)?;
    if file.metadata().at("cannot stat", path)?.is_file() { Ok(file) } else { Err(other()) }
}
