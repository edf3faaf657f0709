//! One inode that is held open while its metadata is read or changed, so that nothing can be put in its place.
//!
//! Files and folders are held by a real descriptor. Links, pipes, devices and what may not be read are held by an
//! `O_PATH` descriptor and reached through `/proc/self/fd`, which leads to exactly that inode without following it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, openat};
use rustix::io::Errno;

use crate::model::Timestamp;
use crate::source::files::descend::open_to_read;
use crate::source::files::stat::{FileKind, Stat};
use crate::source::files::xattrs::{Inode, proc_path};

pub(super) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
pub(super) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Opens a folder of ours that we may not write into, until it gets its final mode; true when its mode was changed.
/// Where that is forbidden, writing into it fails with a message of its own, or we are root and it does not matter.
pub(super) fn make_accessible(parent: impl AsFd, name: &[u8], stat: &Stat) -> bool {
    is_closed(stat)
        && Handle::pin(parent, name).is_ok_and(|handle| {
            handle.stat().is_ok_and(|now| now.identity() == stat.identity()) && handle.make_accessible(stat)
        })
}

fn is_closed(stat: &Stat) -> bool {
    stat.mode & 0o700 != 0o700 && stat.uid == rustix::process::geteuid().as_raw()
}

pub(super) struct Handle {
    pub(super) fd: OwnedFd,
    path_only: bool,
}

impl Handle {
    /// Takes a descriptor that was opened for reading or writing.
    pub(super) fn opened(fd: OwnedFd) -> Self {
        Self { fd, path_only: false }
    }

    /// Takes an `O_PATH` descriptor.
    pub(super) fn path_only(fd: OwnedFd) -> Self {
        Self { fd, path_only: true }
    }

    /// Pins `name` without opening it for anything.
    pub(super) fn pin(folder: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(Self::path_only)
    }

    /// Opens a file or folder for reading where that is possible and pins everything else. Nothing but files and
    /// folders is opened, because that could wait or have effects.
    pub(super) fn open(folder: impl AsFd, name: &[u8]) -> Result<(Self, Stat), Errno> {
        let pinned = Self::pin(&folder, name)?;
        let stat = pinned.stat()?;
        let flags = match stat.kind {
            FileKind::Dir => OFlags::DIRECTORY,
            FileKind::File => OFlags::empty(),
            _ => return Ok((pinned, stat)),
        };
        let Ok(fd) = open_to_read(folder, name, flags) else { return Ok((pinned, stat)) };
        let opened = Self::opened(fd);
        let now = opened.stat()?;
        // What was put there in between is left alone.
        if now.identity() == stat.identity() { Ok((opened, now)) } else { Ok((pinned, stat)) }
    }

    /// Whether content can be read from it.
    pub(super) fn is_readable(&self) -> bool {
        !self.path_only
    }

    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        Stat::of(&self.fd)
    }

    /// Its extended attributes.
    pub(super) fn xattrs(&self) -> Inode<'_> {
        if self.path_only { Inode::Pinned(proc_path(&self.fd)) } else { Inode::Open(self.fd.as_fd()) }
    }

    pub(super) fn chown(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        // The largest number means "leave it" to the kernel.
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        chownat(&self.fd, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    pub(super) fn chmod(&self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        if self.path_only { rustix::fs::chmod(proc_path(&self.fd), mode) } else { rustix::fs::fchmod(&self.fd, mode) }
    }

    /// As [`make_accessible`], for what is held already.
    pub(super) fn make_accessible(&self, stat: &Stat) -> bool {
        is_closed(stat) && self.chmod(stat.mode | 0o700).is_ok()
    }

    /// Sets the time of the last change and leaves that of the last access.
    pub(super) fn set_mtime(&self, mtime: Timestamp) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: mtime.seconds,
                // Larger values have meanings of their own.
                tv_nsec: mtime.nanoseconds.min(999_999_999).into(),
            },
        };
        if self.path_only {
            rustix::fs::utimensat(CWD, proc_path(&self.fd), &times, AtFlags::empty())
        } else {
            rustix::fs::futimens(&self.fd, &times)
        }
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        if self.path_only {
            rustix::fs::setxattr(proc_path(&self.fd), name, value, XattrFlags::empty())
        } else {
            rustix::fs::fsetxattr(&self.fd, name, value, XattrFlags::empty())
        }
    }

    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        let result = if self.path_only {
            rustix::fs::removexattr(proc_path(&self.fd), name)
        } else {
            rustix::fs::fremovexattr(&self.fd, name)
        };
        match result {
            Err(Errno::NODATA) => Ok(()),
            result => result,
        }
    }
}
