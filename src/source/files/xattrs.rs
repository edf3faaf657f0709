//! Extended attributes of an inode, read by whichever way leads to it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{fgetxattr, flistxattr, getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

use crate::model::Xattr;

/// Longest list of names and longest value that Linux allows, in bytes.
const MAX_XATTR_BYTES: usize = 64 << 10;

/// A way to an inode.
pub(super) enum Inode<'a> {
    /// A descriptor that was opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// A path that leads there through `/proc/self/fd`.
    Pinned(String),
    /// A path whose last component is not followed.
    Named(&'a CStr),
}

/// The path that leads to exactly the inode that a descriptor holds, without following it where it is a link.
pub(super) fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

impl Inode<'_> {
    /// Names of all attributes; none where the file system has none.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let list = growing(|buffer| match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Pinned(path) => listxattr(path, buffer),
            Self::Named(path) => llistxattr(*path, buffer),
        });
        match list {
            Ok(list) => Ok(list.split(|&b| b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()),
            Err(Errno::NOTSUP) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }

    /// Value of an attribute; none when it is not there, or its name stands for something that has no value.
    pub(super) fn value(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let value = growing(|buffer| match self {
            Self::Open(fd) => fgetxattr(fd, name, buffer),
            Self::Pinned(path) => getxattr(path, name, buffer),
            Self::Named(path) => lgetxattr(*path, name, buffer),
        });
        match value {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            value => value.map(Some),
        }
    }

    /// All attributes, sorted by name.
    pub(super) fn all(&self) -> io::Result<Vec<Xattr>> {
        let mut xattrs = Vec::new();
        for name in self.names()? {
            let value = self.value(&name).map_err(|e| {
                let text = format!("the extended attribute {}: {e}", name.escape_ascii());
                io::Error::new(io::Error::from(e).kind(), text)
            })?;
            xattrs.extend(value.map(|value| Xattr { name, value }));
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }
}

/// Calls with a larger buffer when the answer does not fit.
fn growing(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
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
