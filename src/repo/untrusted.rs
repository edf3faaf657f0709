//! Reads files that anybody could have put there: in a repository, or beside the state of this host.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::model::{Digest, Hasher};

/// Largest manifest, SHA256SUMS, signature or other small file that is read, in bytes.
pub const MAX_SMALL_FILE_BYTES: u64 = 16 << 20;

/// Opens a file of a repository for reading. What stands there is untrusted: a link is not followed, a pipe not waited
/// for, and anything but a regular file is damage.
pub(super) fn open_regular(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let other = || Error::damage(format!("{} is not a regular file", path.display()));
    if file.is_err() && path.symlink_metadata().is_ok_and(|m| !m.is_file()) {
        return Err(other());
    }
    let file = file.at("cannot open", path)?;
    if file.metadata().at("cannot stat", path)?.is_file() { Ok(file) } else { Err(other()) }
}

/// Reads a small untrusted file of a repository; refuses links, devices and anything larger than the bound.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    let file = open_regular(path)?;
    if file.metadata().at("cannot stat", path)?.len() > MAX_SMALL_FILE_BYTES {
        return Err(Error::damage(format!("{} is larger than 16 MiB", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SMALL_FILE_BYTES).read_to_end(&mut bytes).at("cannot read", path)?;
    Ok(bytes)
}

/// SHA-256 of a whole file.
pub(super) fn digest_file(path: &Path) -> Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.read(&mut open_regular(path)?).at("cannot read", path)?;
    Ok(hasher.finish())
}
