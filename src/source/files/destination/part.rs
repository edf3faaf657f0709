//! The names of what is not finished, and the making of new files.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::folders::OpenFolder;
use crate::error::{Error, Result};

const PREFIX: &[u8] = b".ccbackup-";
const SUFFIX: &[u8] = b".part";

/// Whether a file name (without folders) is one that a cut-short restore leaves.
#[must_use]
pub fn is_part_name(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
}

/// A new name that nobody can foresee.
pub(super) fn part_name() -> Result<Vec<u8>> {
    let random = getrandom::u64().map_err(|e| Error::failed("cannot get random bytes from the system").because(e))?;
    Ok([PREFIX, format!("{random:016x}").as_bytes(), SUFFIX].concat())
}

/// Creates a file that did not exist, open for writing.
pub(super) fn create(folder: &OpenFolder, name: &[u8], mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&folder.fd, name, flags, mode)
}
