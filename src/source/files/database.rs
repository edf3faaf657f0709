//! Databases of SQLite among the files of a tree (docs/SOURCES.md).
//!
//! A database that a program has open is not in its file alone: what is committed may lie in a log beside it, and a file that is
//! read while it is written to is torn. The walk marks such a database and the files that belong to it, by their names and the
//! first bytes of the database; who captures takes one state of it and leaves the others out. What nobody has open is read as
//! any file.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::OFlags;

use super::folder::Folder;
use super::listing::Listing;
use super::part::{Part, may_belong};
use super::stat::{FileKind, Stat};
use crate::source::sqlite::{COMPANIONS, MAGIC, database_of};

/// The parts of the files of a folder, by their index.
pub(super) fn parts_of(folder: &Folder, fd: &OwnedFd, listing: &Listing) -> Vec<(usize, Part)> {
    let mut parts = Vec::new();
    for index in 0..listing.len() {
        let name = listing.name(index).to_bytes();
        if !may_belong(name) {
            continue;
        }
        let base = database_of(OsStr::from_bytes(name)).and_then(|base| CString::new(base).ok());
        let Some((at, base)) = base.and_then(|base| Some((listing.find(&base)?, base))) else { continue };
        if parts.iter().any(|(known, _)| *known == at) {
            continue;
        }
        let Some(part) = in_use(folder, fd, &base) else { continue };
        parts.push((at, part));
        let companions = COMPANIONS.iter().filter_map(|end| listing.find(&with_end(&base, end)?));
        parts.extend(companions.map(|at| (at, Part::Companion)));
    }
    parts.sort_by_key(|(at, _)| *at);
    parts
}

/// A database that is in use.
pub(super) fn in_use(folder: &Folder, fd: impl AsFd, name: &CStr) -> Option<Part> {
    let beside = |end| Stat::at(&fd, with_end(name, end)?.as_c_str()).ok().filter(|stat| stat.kind == FileKind::File);
    // Without an index nobody has the log open: then both are read as they are.
    let log = beside("-wal").filter(|stat| stat.size > 0).filter(|_| beside("-shm").is_some());
    let journal = beside("-journal");
    // SQLite gives the log to the owner of the database whenever root opens it, which changes the time of the inode.
    let changed = log.iter().chain(&journal).map(|stat| stat.mtime).max()?;
    is_database(folder, fd, name).then(|| Part::Database { changed, log_bytes: log.map_or(0, |stat| stat.size) })
}

/// Whether `name` is that of a journal of a database in the same folder: those come and go.
pub(super) fn is_journal(folder: &Folder, fd: impl AsFd, name: &CStr) -> bool {
    let base = name.to_bytes().strip_suffix(b"-journal").and_then(|base| CString::new(base).ok());
    base.is_some_and(|base| is_database(folder, fd, &base))
}

fn is_database(folder: &Folder, fd: impl AsFd, name: &CStr) -> bool {
    let Ok(file) = folder.open_inside(&fd, name, OFlags::empty()).map(File::from) else { return false };
    let mut start = [0; MAGIC.len()];
    Stat::of(&file).is_ok_and(|stat| stat.kind == FileKind::File)
        && (&file).read_exact(&mut start).is_ok()
        && &start == MAGIC
}

fn with_end(name: &CStr, end: &str) -> Option<CString> {
    CString::new([name.to_bytes(), end.as_bytes()].concat()).ok()
}
