//! One look at one file, by the open folder above all: no link is followed on the way.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{Context as _, Result};
use crate::model::{EntryPath, Timestamp};

/// A folder that is open. Its files are reached through it.
#[derive(Debug)]
pub(in crate::source) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    /// Opens the folder; a link to it is followed.
    pub(in crate::source) fn open(path: &Path) -> Result<Self> {
        let fd = openat(CWD, path, FOLDER, Mode::empty()).at("cannot open the folder", path)?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Its path.
    pub(in crate::source) fn path(&self) -> &Path {
        &self.path
    }

    /// Where an entry lies.
    pub(in crate::source) fn join(&self, path: &EntryPath) -> PathBuf {
        self.path.join(path.as_os_str())
    }

    /// Opens a file to be read. A link, here or on the way, is an error.
    pub(in crate::source) fn open_file(&self, path: &EntryPath) -> io::Result<File> {
        let mut folder: Option<OwnedFd> = None;
        let mut parts = path.as_bytes().split(|b| *b == b'/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let flags = if last { OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC } else { FOLDER };
            let name = std::ffi::OsStr::from_bytes(part);
            let fd = openat(folder.as_ref().unwrap_or(&self.fd), name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            if last {
                return Ok(fd.into());
            }
            folder = Some(fd);
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Reads a file whole, if it holds still meanwhile and has at most `most` bytes.
    pub(super) fn look(&self, path: &EntryPath, most: u64) -> Look {
        match self.try_look(path, most) {
            Ok(look) => look,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Look::Gone,
            Err(e) => Look::Failed(e),
        }
    }

    fn try_look(&self, path: &EntryPath, most: u64) -> io::Result<Look> {
        let mut file = self.open_file(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Ok(Look::Gone); // it was a file when it was listed
        }
        let stamp = Stamp::of(&before);
        if stamp.size > most {
            return Ok(Look::TooLarge(stamp));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0) + 1);
        (&mut file).take(stamp.size + 1).read_to_end(&mut bytes)?;
        let held = Stamp::of(&file.metadata()?) == stamp && bytes.len() as u64 == stamp.size;
        Ok(if held { Look::Whole(bytes, stamp) } else { Look::Moved })
    }
}

/// What one look at a file gave.
#[derive(Debug)]
pub(super) enum Look {
    /// All its bytes; it did not change while they were read.
    Whole(Vec<u8>, Stamp),
    /// It has more bytes than anybody wants in memory.
    TooLarge(Stamp),
    /// It changed while it was read.
    Moved,
    /// It is not there any more.
    Gone,
    /// The system did not let it be read.
    Failed(io::Error),
}

/// A file that is read piece by piece: its end comes only if it held still until then.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: File,
    stamp: Stamp,
    left: u64,
}

impl HeldFile {
    pub(super) fn open(root: &Root, path: &EntryPath) -> io::Result<Self> {
        let file = root.open_file(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        Ok(Self { file, stamp, left: stamp.size })
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }
}

impl io::Read for HeldFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.file.read(buffer)?;
        let moved = || io::Error::other("the file was written to while it was read");
        self.left = self.left.checked_sub(read as u64).ok_or_else(moved)?;
        if read == 0 && (self.left > 0 || Stamp::of(&self.file.metadata()?) != self.stamp) {
            return Err(moved());
        }
        Ok(read)
    }
}

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Stamp {
    device: u64,
    inode: u64,
    /// Bytes.
    pub(in crate::source) size: u64,
    /// Last change of the content.
    pub(in crate::source) mtime: Timestamp,
    ctime: Timestamp,
    /// Permission bits.
    pub(in crate::source) mode: u32,
    /// Numbers of user and group.
    pub(in crate::source) owner: (u32, u32),
}

impl Stamp {
    pub(in crate::source) fn of(data: &Metadata) -> Self {
        let time = |seconds, nanoseconds: i64| Timestamp {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or_default(),
        };
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.len(),
            mtime: time(data.mtime(), data.mtime_nsec()),
            ctime: time(data.ctime(), data.ctime_nsec()),
            mode: data.mode() & 0o7777,
            owner: (data.uid(), data.gid()),
        }
    }

    /// Time since its last change; none where that lies in the future, as clocks of others may say.
    pub(super) fn age(&self) -> Option<Duration> {
        let since = Duration::new(u64::try_from(self.ctime.seconds).ok()?, self.ctime.nanoseconds);
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + since).ok()
    }
}
