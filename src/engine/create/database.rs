//! Databases of SQLite that are in use, captured as one state instead of being read (docs/SOURCES.md).
//!
//! Invariant: an entry is either one state of its database, and then the files that belong to it are left out, or all of them
//! are read as they are, and that is a problem.

use std::fs::File;
use std::io;
use std::path::Path;

use super::capture::changed;
use super::stream::ReadAt;
use crate::error::{Context as _, Error, Result};
use crate::model::Problem;
use crate::source::files::{Found, Stat};
use crate::source::sqlite::{Snapshot, Wanted, holder, is_database, start_of};

/// The words for a file that belongs to a database.
pub(super) fn left_out(found: &Found) -> String {
    let path = found.path.escaped();
    format!(
        "{path}: it belongs to a SQLite database in use, which was captured as one state, with what this file holds"
    )
}

/// Whether the open file is a database that somebody uses, or that changed while it was read.
pub(super) fn is_in_use(found: &Found, file: &File, has_changed: bool) -> bool {
    let looks = || start_of(file).is_ok_and(|start| is_database(&start)) && (has_changed || holder(file).is_some());
    found.is_database_in_use() || looks()
}

/// One state of the database that `file` is, and its metadata, in which size and change are those of the state.
///
/// `file` must not be closed before the snapshot is dropped.
pub(super) fn snapshot(found: &Found, file: &File, scratch: &Path) -> Result<(Snapshot, Stat)> {
    let path = found.absolute_path().doing("cannot find its path")?;
    let snapshot = Snapshot::open(&path, Wanted { scratch, facts: false, recover: false })?;
    let stat = found.stat_again(file).at("cannot stat", &path)?;
    if found.stat_again(snapshot.file()).at("cannot stat", &path)?.identity() != stat.identity() {
        return Err(Error::failed("another file has its name now"));
    }
    let stat = Stat {
        size: snapshot.bytes(),
        // Seen before the snapshot began: what came later makes the next backup look again.
        ctime: found.stat_of_content().ctime,
        blocks_512: u64::MAX, // no holes
        ..stat
    };
    Ok((snapshot, stat))
}

/// What is said of a database that was read like other files.
pub(super) fn only_read(found: &Found, why: &Error) -> Problem {
    let why = why.one_line();
    let detail = format!(
        "a SQLite database in use, not captured as one state ({why}); it and what belongs to it were read one by one"
    );
    changed(found, &detail)
}

impl ReadAt for Snapshot {
    fn read_at(&self, part: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(part, offset)
    }

    fn append_at(&self, out: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
        let start = out.len();
        out.resize(out.capacity(), 0);
        let read = self.read_at(&mut out[start..], offset);
        out.truncate(start + read.as_ref().copied().unwrap_or(0));
        read
    }
}
