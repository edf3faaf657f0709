//! What is read of an entry that the walk found: content, link text, extended attributes.
//!
//! Everything goes through the folder that listed it (see `folder`). An entry that is something else by now is an error
//! of its own, never read as if it were the one that was found.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::folder::replaced;
use super::list::stat_inside;
use super::stat::{FileKind, Stat, WANTED};
use super::walk::Found;
use crate::model::Xattr;

/// Longest list of names and longest value that Linux allows, in bytes.
const MAX_XATTR_BYTES: usize = 64 << 10;

impl Found {
    /// Opens the regular file that has the name now, without following links and without blocking; with its metadata as
    /// it is now. [`Stat::is_same_file`] says whether it is the one that was found: programs that save a file by a rename
    /// put another one there.
    ///
    /// The error is one that `problem_kind` calls `vanished` when the file is gone, or something that is no regular file
    /// stands in its place.
    pub fn open(&self) -> io::Result<(File, Stat)> {
        if self.stat.kind != FileKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "only regular files are read"));
        }
        let file = File::from(self.open_any(OFlags::empty())?);
        let now = self.stat_again(&file)?;
        if now.kind != FileKind::File {
            return Err(replaced());
        }
        Ok((file, now))
    }

    /// Metadata of an open file as it is now.
    pub fn stat_again(&self, file: &File) -> io::Result<Stat> {
        let raw = statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?;
        Stat::of(&raw).ok_or_else(replaced)
    }

    /// Metadata of what has the entry's name now; for entries that are not opened.
    pub fn stat_by_name(&self) -> io::Result<Stat> {
        stat_inside(self.folder.handle()?, &self.name, true)?.0.ok_or_else(replaced)
    }

    /// The text of a symbolic link.
    pub fn read_link(&self) -> io::Result<Vec<u8>> {
        match rustix::fs::readlinkat(self.folder.handle()?, &self.name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL) => Err(replaced()),
            Err(e) => Err(e.into()),
        }
    }

    /// Extended attributes of the entry itself, also of a link, sorted by name; none where the file system has none.
    ///
    /// `file` is the entry if it is open. An entry that is not open is reached through `/proc`; without `/proc` it is
    /// opened, which only works for files and folders; for others the error is `Unsupported`.
    pub fn read_xattrs(&self, file: Option<&File>) -> io::Result<Vec<Xattr>> {
        if let Some(file) = file {
            return read_all(&Target::File(file));
        }
        let folder = self.folder.handle()?;
        let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        let through = path.len() - 1;
        path.extend_from_slice(self.name.to_bytes());
        let result = read_all(&Target::Link(&CString::new(path.as_slice())?));
        let missing = result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        path.truncate(through);
        if !missing || statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE).is_ok() {
            return result;
        }
        self.read_xattrs_without_proc()
    }

    pub(super) fn read_xattrs_without_proc(&self) -> io::Result<Vec<Xattr>> {
        match self.stat.kind {
            FileKind::File => read_all(&Target::File(&self.open()?.0)),
            FileKind::Dir => {
                let dir = File::from(self.open_any(OFlags::DIRECTORY)?);
                if self.stat_again(&dir)?.identity() != self.stat.identity() {
                    return Err(replaced());
                }
                read_all(&Target::File(&dir))
            }
            _ => {
                let text = "attributes of links, pipes and devices can only be read where /proc is mounted";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    fn open_any(&self, flags: OFlags) -> io::Result<OwnedFd> {
        self.folder.open_inside(self.folder.handle()?, &self.name, flags)
    }
}

enum Target<'a> {
    File(&'a File),
    /// A path whose last component is not followed.
    Link(&'a CStr),
}

impl Target<'_> {
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::File(file) => rustix::fs::flistxattr(file, buffer),
            Self::Link(path) => rustix::fs::llistxattr(*path, buffer),
        }
    }

    fn get(&self, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::File(file) => rustix::fs::fgetxattr(file, name, buffer),
            Self::Link(path) => rustix::fs::lgetxattr(*path, name, buffer),
        }
    }
}

/// Calls with a larger buffer while the answer does not fit.
fn growing(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => return Ok(small.get(..length).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    let mut large = vec![0; MAX_XATTR_BYTES];
    let length = call(&mut large)?;
    large.truncate(length);
    Ok(large)
}

fn read_all(target: &Target<'_>) -> io::Result<Vec<Xattr>> {
    let names = match growing(|buffer| target.list(buffer)) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut xattrs = Vec::new();
    for name in names.split_inclusive(|&b| b == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        match growing(|buffer| target.get(name, buffer)) {
            Ok(value) => xattrs.push(Xattr { name: name.to_bytes().to_vec(), value }),
            // Removed since it was listed, or a name that stands for something that has no value.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(e) => {
                let text = format!("the extended attribute {}: {e}", name.to_bytes().escape_ascii());
                return Err(io::Error::new(io::Error::from(e).kind(), text));
            }
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}
