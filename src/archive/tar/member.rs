//! A member as its headers describe it, and how that differs from the index.

use std::fmt::Display;

use super::block::shown;
use crate::model::{Entry, EntryKind, Extent, Timestamp, Xattr};

/// A parsed member. Its values are within the limits of the format, but nobody vouches for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// A valid entry path, or `.` for the folder `./` at the top of tars of others.
    pub path: Vec<u8>,
    /// Type and what belongs to it.
    pub kind: MemberKind,
    /// The low 12 mode bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u64,
    /// Group's number.
    pub gid: u64,
    /// Owner's name, empty when there is none.
    pub user: Vec<u8>,
    /// Group's name, empty when there is none.
    pub group: Vec<u8>,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Bytes from the member's first block to its stored content, a sparse map included.
    pub header_bytes: u64,
    /// Bytes of stored content, without padding.
    pub content_bytes: u64,
    /// Data regions `(offset, length)` of a sparse file, in order and none of them empty.
    pub regions: Option<Vec<(u64, u64)>>,
    /// Size of the file with its holes.
    pub real_size: u64,
    /// The content is in pieces elsewhere; this member is a stub.
    pub in_pieces: bool,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link; its text.
    Symlink(Vec<u8>),
    /// Another name of an earlier member; that one's path, a valid entry path.
    Hardlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device; its major and minor number.
    CharDevice(u32, u32),
    /// A block device; its major and minor number.
    BlockDevice(u32, u32),
}

impl MemberKind {
    /// The word that the index uses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink(_) => "symlink",
            Self::Hardlink(_) => "hardlink",
            Self::Fifo => "fifo",
            Self::CharDevice(..) => "char",
            Self::BlockDevice(..) => "block",
        }
    }
}

impl Member {
    /// The first thing in which this member differs from its index entry, in words; none when it is the same.
    ///
    /// Size and regions of a file in pieces are not in its stub and are not compared.
    #[must_use]
    pub fn difference(&self, entry: &Entry) -> Option<String> {
        if self.path != entry.path.as_bytes() {
            return differs("path", &shown(&self.path), &shown(entry.path.as_bytes()));
        }
        if self.kind.name() != entry.kind.name() {
            return differs("type", &self.kind.name(), &entry.kind.name());
        }
        if self.mode != entry.mode {
            return differs("mode", &format!("{:04o}", self.mode), &format!("{:04o}", entry.mode));
        }
        if self.uid != u64::from(entry.uid) || self.gid != u64::from(entry.gid) {
            let owner = |uid: u64, gid: u64| format!("{uid}:{gid}");
            return differs("owner", &owner(self.uid, self.gid), &owner(entry.uid.into(), entry.gid.into()));
        }
        if self.user != entry.user.as_bytes() {
            return differs("owner's name", &shown(&self.user), &shown(entry.user.as_bytes()));
        }
        if self.group != entry.group.as_bytes() {
            return differs("group's name", &shown(&self.group), &shown(entry.group.as_bytes()));
        }
        if self.mtime != entry.mtime {
            return differs("modification time", &self.mtime, &entry.mtime);
        }
        self.difference_of_kind(entry).or_else(|| self.difference_of_xattrs(entry))
    }

    /// What is wrong with the place that the index gives for the content: it must be where this member has it, so that
    /// whoever unpacks the archive gets what a restore gives. None when nothing is, or the content lies in pieces.
    #[must_use]
    pub fn misplaced_content(&self, entry: &Entry) -> Option<String> {
        let EntryKind::File { extents, in_pieces: false, .. } = &entry.kind else { return None };
        let home = &entry.home;
        let offset = home.offset.checked_add(self.header_bytes);
        let fits = |e: &Extent| {
            (&e.backup, e.volume, Some(e.offset), e.length) == (&home.backup, home.volume, offset, self.content_bytes)
        };
        if matches!(extents.as_slice(), [only] if fits(only)) {
            return None;
        }
        Some("the content is elsewhere in the index than in its member".into())
    }

    fn difference_of_kind(&self, entry: &Entry) -> Option<String> {
        match (&self.kind, &entry.kind) {
            (MemberKind::Symlink(target), EntryKind::Symlink { target: other }) if target != other => {
                differs("link target", &shown(target), &shown(other))
            }
            (MemberKind::Hardlink(target), EntryKind::Hardlink { target: other }) if target != other.as_bytes() => {
                differs("link target", &shown(target), &shown(other.as_bytes()))
            }
            (
                MemberKind::CharDevice(major, minor) | MemberKind::BlockDevice(major, minor),
                EntryKind::CharDevice { major: a, minor: b } | EntryKind::BlockDevice { major: a, minor: b },
            ) if (major, minor) != (a, b) => differs("device number", &format!("{major}:{minor}"), &format!("{a}:{b}")),
            (MemberKind::File, EntryKind::File { size, regions, in_pieces, .. }) => {
                let place = |pieces: bool| if pieces { "in pieces" } else { "in the member" };
                if self.in_pieces != *in_pieces {
                    return differs("content", &place(self.in_pieces), &place(*in_pieces));
                }
                if *in_pieces {
                    return None;
                }
                if self.real_size != *size {
                    return differs("size", &self.real_size, size);
                }
                // Empty regions are not in the map, and a file of size 0 has none.
                let data = |regions: &Option<Vec<(u64, u64)>>| {
                    let regions = regions.as_ref().filter(|_| *size > 0)?;
                    Some(regions.iter().copied().filter(|&(_, length)| length > 0).collect::<Vec<_>>())
                };
                (data(&self.regions) != data(regions))
                    .then(|| "the data regions of the sparse file differ between the archive and the index".into())
            }
            _ => None,
        }
    }

    fn difference_of_xattrs(&self, entry: &Entry) -> Option<String> {
        if self.xattrs == entry.xattrs {
            return None;
        }
        if self.xattrs.len() != entry.xattrs.len() {
            return differs("number of attributes", &self.xattrs.len(), &entry.xattrs.len());
        }
        let other = self.xattrs.iter().find(|xattr| !entry.xattrs.contains(xattr))?;
        Some(format!("the attribute {} differs between the archive and the index", shown(&other.name)))
    }
}

fn differs(what: &str, member: &dyn Display, index: &dyn Display) -> Option<String> {
    Some(format!("the {what} is {member} in the archive and {index} in the index"))
}
