//! One inode that is held open while its metadata is read or changed, so that nothing can be put in its place.
//!
//! Files and folders are held by a real descriptor. Links, pipes, devices and what may not be read are held by an
//! `O_PATH` descriptor and reached through `/proc/self/fd`, which leads to exactly that inode without following it.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Statx, StatxAttributes, StatxFlags, Timespec, Timestamps, UTIME_OMIT,
    Uid, XattrFlags, chownat, openat, statx,
};
use rustix::io::Errno;

use crate::model::Timestamp;

const MAX_XATTR_BYTES: usize = 64 << 10;
pub(super) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
pub(super) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// What `statx` says about an inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) file_type: FileType,
    /// The low 12 bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u32,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) device: (u32, u32),
    /// Device and inode number.
    pub(super) inode: ((u32, u32), u64),
    pub(super) mount_root: bool,
}

impl Facts {
    fn of(stat: &Statx) -> Self {
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        Self {
            file_type: FileType::from_raw_mode(stat.stx_mode.into()),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            links: stat.stx_nlink,
            size: stat.stx_size,
            mtime: Timestamp { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec },
            device: (stat.stx_rdev_major, stat.stx_rdev_minor),
            inode: (device, stat.stx_ino),
            mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }

    fn is_closed(&self) -> bool {
        self.mode & 0o700 != 0o700 && self.uid == rustix::process::geteuid().as_raw()
    }

    /// The facts about `name` in `folder`; a symbolic link is not followed.
    pub(super) fn at(folder: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).map(|stat| Self::of(&stat))
    }
}

/// Whether entries that are made in `folder` inherit an ACL. Unknown counts as yes: it only costs a look.
pub(super) fn has_default_acl(folder: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    !matches!(rustix::fs::getxattr_query(path, ACL_DEFAULT), Err(Errno::NODATA | Errno::NOTSUP) | Ok(0))
}

/// Opens a folder of ours that we may not write into, until it gets its final mode; true when its mode was changed.
/// Where that is forbidden, writing into it fails with a message of its own, or we are root and it does not matter.
pub(super) fn make_accessible(parent: impl AsFd, name: &[u8], facts: &Facts) -> bool {
    facts.is_closed()
        && Handle::pin(parent, name).is_ok_and(|handle| {
            handle.facts().is_ok_and(|now| now.inode == facts.inode) && handle.make_accessible(facts)
        })
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
    pub(super) fn open(folder: impl AsFd, name: &[u8]) -> Result<(Self, Facts), Errno> {
        let pinned = Self::pin(&folder, name)?;
        let facts = pinned.facts()?;
        let flags = match facts.file_type {
            FileType::Directory => OFlags::DIRECTORY,
            FileType::RegularFile => OFlags::NONBLOCK | OFlags::NOCTTY,
            _ => return Ok((pinned, facts)),
        };
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(fd) = openat(folder, name, flags, Mode::empty()) else { return Ok((pinned, facts)) };
        let opened = Self::opened(fd);
        let now = opened.facts()?;
        // What was put there in between is not looked at.
        if now.inode == facts.inode { Ok((opened, now)) } else { Ok((pinned, facts)) }
    }

    /// Whether content can be read from it.
    pub(super) fn is_readable(&self) -> bool {
        !self.path_only
    }

    pub(super) fn facts(&self) -> Result<Facts, Errno> {
        statx(&self.fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|stat| Facts::of(&stat))
    }

    fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
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
        if self.path_only { rustix::fs::chmod(self.link(), mode) } else { rustix::fs::fchmod(&self.fd, mode) }
    }

    /// As [`make_accessible`], for what is held already.
    pub(super) fn make_accessible(&self, facts: &Facts) -> bool {
        facts.is_closed() && self.chmod(facts.mode | 0o700).is_ok()
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
            rustix::fs::utimensat(CWD, self.link(), &times, AtFlags::empty())
        } else {
            rustix::fs::futimens(&self.fd, &times)
        }
    }

    /// Names of all attributes; none where the file system has none.
    pub(super) fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let list = with_room(|buffer| {
            if self.path_only {
                rustix::fs::listxattr(self.link(), spare_capacity(buffer))
            } else {
                rustix::fs::flistxattr(&self.fd, spare_capacity(buffer))
            }
        });
        match list {
            Ok(list) => Ok(list.split(|&b| b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()),
            Err(Errno::NOTSUP) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }

    /// Value of an attribute; none when it is not there.
    pub(super) fn xattr(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let value = with_room(|buffer| {
            if self.path_only {
                rustix::fs::getxattr(self.link(), name, spare_capacity(buffer))
            } else {
                rustix::fs::fgetxattr(&self.fd, name, spare_capacity(buffer))
            }
        });
        match value {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        if self.path_only {
            rustix::fs::setxattr(self.link(), name, value, XattrFlags::empty())
        } else {
            rustix::fs::fsetxattr(&self.fd, name, value, XattrFlags::empty())
        }
    }

    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        let result = if self.path_only {
            rustix::fs::removexattr(self.link(), name)
        } else {
            rustix::fs::fremovexattr(&self.fd, name)
        };
        match result {
            Err(Errno::NODATA) => Ok(()),
            result => result,
        }
    }
}

/// Calls `read` with more and more room until its answer fits.
fn with_room(read: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = Vec::with_capacity(256);
    match read(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.reserve(MAX_XATTR_BYTES);
            read(&mut buffer)?;
        }
        result => {
            result?;
        }
    }
    Ok(buffer)
}
