//! Finds the folder of an entry, beneath the target and without following any symbolic link.
//!
//! Invariant: every descriptor that leaves this module was reached from the target's root through plain folders only.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::Destination;
use super::handle::has_default_acl;
use crate::error::{Error, Result};
use crate::model::EntryPath;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Longest path that one system call takes, without its NUL.
const MAX_CALL_BYTES: usize = 4095;

const SHARDS: usize = 16;
const FOLDERS_PER_SHARD: usize = 8;

/// A folder below the target, open for calls that take a folder and a name.
pub(super) struct Folder {
    pub(super) fd: OwnedFd,
    /// New entries inherit an ACL here, which must be taken off those that have none.
    pub(super) default_acl: bool,
}

/// Paths and their folders, the last used first.
type Shard = Vec<(Box<[u8]>, Arc<Folder>)>;

/// The last used folders, spread over several locks: thousands of small files lie in few folders.
pub(super) struct FolderCache {
    shards: [Mutex<Shard>; SHARDS],
    /// Cleared when the kernel, or a filter before it, does not know `openat2`.
    pub(super) openat2: AtomicBool,
}

impl Default for FolderCache {
    fn default() -> Self {
        Self { shards: Default::default(), openat2: AtomicBool::new(true) }
    }
}

impl FolderCache {
    fn shard(&self, path: &[u8]) -> MutexGuard<'_, Shard> {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, path: &[u8]) -> Option<Arc<Folder>> {
        let mut shard = self.shard(path);
        let at = shard.iter().position(|(known, _)| **known == *path)?;
        shard[..=at].rotate_right(1);
        shard.first().map(|(_, folder)| Arc::clone(folder))
    }

    fn put(&self, path: &[u8], folder: &Arc<Folder>) {
        let mut shard = self.shard(path);
        if shard.iter().all(|(known, _)| **known != *path) {
            shard.insert(0, (path.into(), Arc::clone(folder)));
            shard.truncate(FOLDERS_PER_SHARD);
        }
    }

    /// Drops what is known about one folder.
    pub(super) fn forget(&self, path: &[u8]) {
        self.shard(path).retain(|(known, _)| **known != *path);
    }

    /// Drops everything; called when folders were removed.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

impl Destination {
    /// The folder that holds `path`, or an error that says what is wrong with it.
    pub(super) fn folder(&self, path: &EntryPath) -> Result<Arc<Folder>> {
        self.try_folder(path).map_err(|errno| {
            let shown = self.shown(path);
            let error = match errno {
                Errno::NOENT => Error::failed(format!("the folder that should hold {shown} is not there")),
                Errno::LOOP | Errno::NOTDIR => Error::failed(format!(
                    "cannot restore {shown}: a symbolic link or another thing stands where one of its folders should be"
                ))
                .hint("nothing is written through links in a target; remove the link, or choose another target"),
                _ => Error::failed(format!("cannot open the folder that should hold {shown}")),
            };
            error.because(std::io::Error::from(errno))
        })
    }

    /// The folder that holds `path`.
    pub(super) fn try_folder(&self, path: &EntryPath) -> Result<Arc<Folder>, Errno> {
        let parent = path.parent().unwrap_or_default();
        let cache = &self.shared.folders;
        if let Some(folder) = cache.get(parent) {
            return Ok(folder);
        }
        let fd = self.walk(parent)?;
        let folder = Arc::new(Folder { default_acl: has_default_acl(fd.as_fd()), fd });
        cache.put(parent, &folder);
        Ok(folder)
    }

    /// Opens the folder at `path` for path operations; the empty path is the target itself.
    pub(super) fn walk(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let root = self.shared.root.as_fd();
        if path.is_empty() {
            return openat(root, ".", FOLDER, Mode::empty());
        }
        let mut here: Option<OwnedFd> = None;
        let mut rest = path;
        loop {
            let (piece, tail) = split_at_limit(rest);
            let from = here.as_ref().map_or(root, AsFd::as_fd);
            let next = self.descend(from, piece)?;
            if tail.is_empty() {
                return Ok(next);
            }
            here = Some(next);
            rest = tail;
        }
    }

    fn descend(&self, from: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
        const ATTEMPTS_WHILE_RENAMED: u32 = 4;
        let supported = &self.shared.folders.openat2;
        if supported.load(Ordering::Relaxed) {
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            for _ in 0..ATTEMPTS_WHILE_RENAMED {
                match openat2(from, path, FOLDER, Mode::empty(), how) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM | Errno::TOOBIG | Errno::INVAL) => {
                        supported.store(false, Ordering::Relaxed);
                        break;
                    }
                    result => return result,
                }
            }
        }
        let mut here: Option<OwnedFd> = None;
        for name in path.split(|&b| b == b'/') {
            // A path that was checked has none of these; one that leads upwards must never get here.
            if matches!(name, b"" | b"." | b"..") {
                return Err(Errno::INVAL);
            }
            let parent = here.as_ref().map_or(from, AsFd::as_fd);
            here = Some(openat(parent, name, FOLDER, Mode::empty())?);
        }
        here.ok_or(Errno::INVAL)
    }
}

/// The longest start of `path` that one call takes and that ends before a slash, and what follows that slash.
fn split_at_limit(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= MAX_CALL_BYTES {
        return (path, &[]);
    }
    match path[..=MAX_CALL_BYTES].iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &[]),
    }
}
