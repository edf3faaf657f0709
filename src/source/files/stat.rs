//! What `statx` says about a file, in the types of the model: for a walk as for a destination.
//!
//! Network file systems are asked as `stat` asks them: attributes from a cache of any age (`AT_STATX_DONT_SYNC`) could
//! hide a change from change detection (FORMAT.md §7).

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, makedev, statx};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

use crate::model::Timestamp;

/// Type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Folder.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Socket; never an entry.
    Socket,
}

impl FileKind {
    /// None for a type that Linux does not have.
    pub(super) fn of(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::CharacterDevice => Self::Char,
            FileType::BlockDevice => Self::Block,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return None,
        })
    }
}

/// Metadata of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: the low 12 bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Logical size in bytes.
    pub size: u64,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Time of the last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// Number of the device that holds it, as `st_dev`.
    pub device: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Major and minor number of a device file; zeros for others.
    pub rdev: (u32, u32),
    /// Allocated space in units of 512 bytes.
    pub blocks_512: u64,
    /// When the inode was made; none where the file system does not tell.
    pub born: Option<Timestamp>,
    /// Something is mounted there, or would be by entering it.
    pub mounted: bool,
}

/// The error for a type of file that Linux does not have.
pub(super) const UNKNOWN_TYPE: Errno = Errno::NOTSUP;

impl Stat {
    /// Metadata of `name` in `folder`. No link is followed, and nothing is mounted by it.
    pub(super) fn at(folder: impl AsFd, name: impl Arg + Copy) -> Result<Self, Errno> {
        Self::ask(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// The same, of what an automatic mount point mounts.
    pub(super) fn at_mounting(folder: impl AsFd, name: impl Arg + Copy) -> Result<Self, Errno> {
        Self::ask(folder, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Metadata of what is open, also with `O_PATH`.
    pub(super) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        Self::ask(fd, c"", AtFlags::EMPTY_PATH)
    }

    fn ask(folder: impl AsFd, name: impl Arg + Copy, flags: AtFlags) -> Result<Self, Errno> {
        let folder = folder.as_fd();
        let raw = retry_on_intr(|| statx(folder, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME))?;
        Self::from_raw(&raw).ok_or(UNKNOWN_TYPE)
    }

    fn from_raw(raw: &Statx) -> Option<Self> {
        let time = |t: rustix::fs::StatxTimestamp| Timestamp {
            seconds: t.tv_sec,
            nanoseconds: t.tv_nsec.min(999_999_999), // a FUSE server may say anything
        };
        Some(Self {
            kind: FileKind::of(FileType::from_raw_mode(u32::from(raw.stx_mode)))?,
            mode: u32::from(raw.stx_mode & 0o7777),
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            size: raw.stx_size,
            mtime: time(raw.stx_mtime),
            ctime: time(raw.stx_ctime),
            inode: raw.stx_ino,
            device: makedev(raw.stx_dev_major, raw.stx_dev_minor),
            nlink: u64::from(raw.stx_nlink),
            rdev: (raw.stx_rdev_major, raw.stx_rdev_minor),
            blocks_512: raw.stx_blocks,
            born: (raw.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(raw.stx_btime)),
            mounted: raw.stx_attributes.intersects(StatxAttributes::MOUNT_ROOT | StatxAttributes::AUTOMOUNT),
        })
    }

    /// Device and inode: which file it is, whatever its name.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether this is surely the same file as `other`, seen at another time. An inode number alone is not enough: one
    /// that was freed is soon given out again.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        let same_life = match (self.born, other.born) {
            (Some(a), Some(b)) => a == b,
            // Whatever uses the number anew changes these.
            _ => (self.size, self.mtime, self.ctime) == (other.size, other.mtime, other.ctime),
        };
        same_life && (self.kind, self.identity()) == (other.kind, other.identity())
    }

    /// Less space is allocated than the size needs: holes, or a file system that compresses.
    #[must_use]
    pub fn may_have_holes(&self) -> bool {
        u128::from(self.blocks_512) * 512 < u128::from(self.size)
    }

    /// Nothing says that the content changed between the two: type, size, both times and inode are equal.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        (self.kind, self.size, self.mtime, self.ctime, self.inode)
            == (other.kind, other.size, other.mtime, other.ctime, other.inode)
    }
}

/// Device and inode of what is open, which costs a network file system less than all its metadata.
pub(super) fn identity(fd: impl AsFd) -> Result<(u64, u64), Errno> {
    let raw = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE | StatxFlags::INO)?;
    Ok((makedev(raw.stx_dev_major, raw.stx_dev_minor), raw.stx_ino))
}
