//! The folders that were used last, open.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use super::handle::ACL_DEFAULT;
use crate::source::files::xattrs::{Inode, proc_path};
use crate::threads::lock;

const SHARDS: usize = 16;
const FOLDERS_PER_SHARD: usize = 8;

/// A folder below the target, open for calls that take a folder and a name.
pub(super) struct OpenFolder {
    pub(super) fd: OwnedFd,
    /// New entries inherit an ACL here, which must be taken off those that have none.
    pub(super) default_acl: bool,
}

impl OpenFolder {
    pub(super) fn new(fd: OwnedFd) -> Self {
        // Unknown counts as yes: it only costs a look.
        let acl = Inode::Pinned(proc_path(&fd)).value(ACL_DEFAULT);
        Self { default_acl: acl.map_or(true, |acl| acl.is_some_and(|acl| !acl.is_empty())), fd }
    }
}

/// Paths and their folders, the last used first.
type Shard = Vec<(Box<[u8]>, Arc<OpenFolder>)>;

/// The last used folders, spread over several locks: thousands of small files lie in few folders.
#[derive(Default)]
pub(super) struct FolderCache {
    shards: [Mutex<Shard>; SHARDS],
}

impl FolderCache {
    fn shard(&self, path: &[u8]) -> MutexGuard<'_, Shard> {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[index])
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<Arc<OpenFolder>> {
        let mut shard = self.shard(path);
        let at = shard.iter().position(|(known, _)| **known == *path)?;
        shard[..=at].rotate_right(1);
        shard.first().map(|(_, folder)| Arc::clone(folder))
    }

    pub(super) fn put(&self, path: &[u8], folder: &Arc<OpenFolder>) {
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
        self.shards.iter().for_each(|shard| lock(shard).clear());
    }
}
