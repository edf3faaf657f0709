//! Locks on a database, our own and those of others.
//!
//! SQLite locks by POSIX record locks, which have a trap: when any part of a process closes a file, all locks that the
//! process has on it are gone. So nothing here opens a file of a database whose snapshot is being read, and a snapshot counts
//! only if the locks under which it began are there at its end.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use super::header::companion;

/// First byte of SQLite's locks in a database file: PENDING, RESERVED and the SHARED range of 510 bytes follow.
const LOCK_BYTE: u64 = 0x4000_0000;
/// Bytes of all of them.
const LOCK_BYTES: u64 = 512;
/// The lock that every connection holds on the `-shm` file while it is open.
const SHM_OPEN_BYTE: u64 = 128;

/// The process that has the file locked as SQLite does; 0 when that cannot be known. None when nobody has.
///
/// A connection in WAL mode keeps a lock as long as it is open; one in another mode only during a transaction.
/// The file must not belong to a snapshot that is being read: closing it would end its locks.
pub(crate) fn holder(file: &File) -> Option<i32> {
    held_by(file, LOCK_BYTE, LOCK_BYTES)
}

/// The process that has the `-shm` file of the database at `path` open as SQLite does.
pub(crate) fn holder_of_shm(path: &Path) -> Option<i32> {
    let file = File::open(companion(path, "-shm")).ok()?;
    held_by(&file, SHM_OPEN_BYTE, 1)
}

fn held_by(file: &File, start: u64, length: u64) -> Option<i32> {
    let wanted = Flock { start, length, pid: None, typ: FlockType::WriteLock, offset_type: FlockOffsetType::Set };
    let found = fcntl_getlk(file, &wanted).ok()??;
    Some(found.pid.map_or(0, |pid| pid.as_raw_nonzero().get()))
}

/// The locks of this process under which a snapshot is read.
#[derive(Debug)]
pub(crate) struct OwnLocks {
    inodes: Vec<u64>,
}

impl OwnLocks {
    /// Those that this process has on the database at `path` and its `-shm` file. None when the system does not tell, and
    /// when it tells that there is none on the database itself: then another file than this one was opened.
    pub(crate) fn on(path: &Path, inode: u64) -> Result<Option<Self>, NotLocked> {
        let Some(all) = own_locks_with(&[inode]) else { return Ok(None) };
        if !all.contains(&inode) {
            return Err(NotLocked);
        }
        let shm = std::fs::symlink_metadata(companion(path, "-shm")).map(|m| m.ino()).ok();
        Ok(Some(Self { inodes: [Some(inode), shm.filter(|shm| all.contains(shm))].into_iter().flatten().collect() }))
    }

    /// Whether they all are there still.
    pub(crate) fn still_held(&self) -> bool {
        own_locks_with(&self.inodes).is_none_or(|all| self.inodes.iter().all(|inode| all.contains(inode)))
    }
}

/// This process has no lock on the file.
#[derive(Debug)]
pub(crate) struct NotLocked;

/// How often the list of locks is read before one that is not in it is believed to be gone.
const READINGS: u32 = 8;

/// Inodes on which this process has POSIX locks, read until `wanted` are all among them, or for the last time. The system gives
/// the list in pieces, and where many programs lock at the same time an entry can be missed between two of them; a lock
/// that is gone never comes back.
fn own_locks_with(wanted: &[u64]) -> Option<Vec<u64>> {
    let mut all = own_locks()?;
    for _ in 1..READINGS {
        if wanted.iter().all(|inode| all.contains(inode)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        all = own_locks()?;
    }
    Some(all)
}

/// Inodes on which this process has POSIX locks; none when the system does not tell. The device is not compared: some file
/// systems show another one there.
fn own_locks() -> Option<Vec<u64>> {
    let text = std::fs::read_to_string("/proc/locks").ok()?;
    Some(inodes_of(&text, &std::process::id().to_string()))
}

fn inodes_of(text: &str, pid: &str) -> Vec<u64> {
    // 1: POSIX  ADVISORY  READ  4711 fe:00:1835012 1073741826 1073742335
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let posix = words.next()? == "POSIX";
        let owner = words.nth(2)?;
        let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
        (posix && owner == pid).then_some(inode)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_locks_are_read_from_the_list_of_the_system() {
        let text = "1: POSIX  ADVISORY  READ  4711 fe:00:18 1073741826 1073742335\n\
                    2: FLOCK  ADVISORY  WRITE 4711 fe:00:19 0 EOF\n\
                    2: -> POSIX  ADVISORY  WRITE 4711 fe:00:21 0 EOF\n\
                    3: POSIX  ADVISORY  WRITE 4712 fe:00:20 0 EOF\nnonsense\n";
        assert_eq!(inodes_of(text, "4711"), [18]);
        assert_eq!(inodes_of(text, "1"), [0_u64; 0]);
    }
}
