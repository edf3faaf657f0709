//! What is read of an entry that the walk found: content, link text, extended attributes.
//!
//! Everything goes through the folder that listed it (see `folder`). An entry that is something else by now is an error
//! of its own, never read as if it were the one that was found.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use super::folder::replaced;
use super::stat::{FileKind, Stat};
use super::walk::Found;
use super::xattrs::{Inode, proc_path};
use crate::model::Xattr;

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
        Ok(Stat::of(file)?)
    }

    /// Metadata of what has the entry's name now; for entries that are not opened.
    pub fn stat_by_name(&self) -> io::Result<Stat> {
        Ok(Stat::at(self.folder.handle()?, self.name.as_c_str())?)
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
            return Inode::Open(file.as_fd()).all();
        }
        let folder = self.folder.handle()?;
        let through = proc_path(&*folder);
        let path = CString::new([through.as_bytes(), b"/", self.name.to_bytes()].concat())?;
        let result = Inode::Named(&path).all();
        let missing = result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if !missing || rustix::fs::access(through, Access::EXISTS).is_ok() {
            return result;
        }
        self.read_xattrs_without_proc()
    }

    pub(super) fn read_xattrs_without_proc(&self) -> io::Result<Vec<Xattr>> {
        match self.stat.kind {
            FileKind::File => Inode::Open(self.open()?.0.as_fd()).all(),
            FileKind::Dir => {
                let dir = File::from(self.open_any(OFlags::DIRECTORY)?);
                if self.stat_again(&dir)?.identity() != self.stat.identity() {
                    return Err(replaced());
                }
                Inode::Open(dir.as_fd()).all()
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
