//! One entry of a component: what the index says of a file, folder, link, pipe or device (FORMAT.md §7).

use super::digest::Digest;
use super::id::BackupId;
use super::path::EntryPath;
use super::time::Timestamp;

/// An extended attribute: name and value, both raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name with its namespace, `user.comment`.
    pub name: Vec<u8>,
    /// Value, any bytes.
    pub value: Vec<u8>,
}

/// The archive and place that hold an entry's tar member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Backup that holds the archive.
    pub backup: BackupId,
    /// Volume number of the component's archive, from 0.
    pub volume: u32,
    /// Where the member's first header block starts in the tar stream, in bytes.
    pub offset: u64,
}

/// A run of bytes in the tar stream of an archive of the same component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Backup that holds the archive.
    pub backup: BackupId,
    /// Volume number of the component's archive, from 0.
    pub volume: u32,
    /// Offset in the tar stream, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// A content-defined chunk of a large file: its length in bytes and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the chunk.
    pub sha256: Digest,
}

/// What an entry is, with what only that type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Logical size in bytes, holes included.
        size: u64,
        /// SHA-256 of the stored bytes: the whole content, or for a sparse file its data regions one after the other.
        sha256: Digest,
        /// Where the stored bytes are, in order. One extent inside the home member, unless `in_pieces`.
        extents: Vec<Extent>,
        /// The home member holds no (current) content; `extents` may lie anywhere in the chain.
        in_pieces: bool,
        /// Data regions `(offset, length)` of a sparse file in order; none when the file has no holes.
        regions: Option<Vec<(u64, u64)>>,
        /// Content-defined chunks of a large file, in order; they cover the stored bytes. Empty for small files.
        chunks: Vec<Chunk>,
        /// The content was not read cleanly: the next backup reads it again whatever its timestamps say.
        unsettled: bool,
    },
    /// A folder.
    Dir,
    /// A symbolic link; the target is kept as raw bytes and never followed.
    Symlink {
        /// The link's text.
        target: Vec<u8>,
    },
    /// Another name of the regular file, symlink or device at `target`, which comes earlier in the inventory.
    Hardlink {
        /// Path of the first name.
        target: EntryPath,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl EntryKind {
    /// The word in the index line's `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Dir => "dir",
            Self::Symlink { .. } => "symlink",
            Self::Hardlink { .. } => "hardlink",
            Self::Fifo => "fifo",
            Self::CharDevice { .. } => "char",
            Self::BlockDevice { .. } => "block",
        }
    }
}

/// One entry of a component's inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path inside the component.
    pub path: EntryPath,
    /// Type and what belongs to it.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: the low 12 bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name, empty when unknown.
    pub user: String,
    /// Group's name, empty when unknown.
    pub group: String,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Time of the last change of the inode; only for change detection, not restored.
    pub ctime: Timestamp,
    /// Inode number; only for change detection.
    pub inode: u64,
    /// Extended attributes, POSIX ACLs among them, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Where its tar member is.
    pub home: Position,
}

impl Entry {
    /// Logical size of a file, 0 for everything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let EntryKind::File { size, .. } = self.kind { size } else { 0 }
    }
}
