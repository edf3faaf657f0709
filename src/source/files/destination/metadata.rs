//! Owner, mode, extended attributes and time of entries, in the order in which they do not undo each other.
//!
//! A change of owner clears setuid and file capabilities, so it comes first; a change of mode changes the mask of an
//! ACL, so ACLs come after it; the time comes last. What the kernel forbids here is a problem, not a failure.

use std::fmt;

use rustix::io::Errno;

use super::handle::{ACL_ACCESS, ACL_DEFAULT, Handle};
use super::root::Destination;
use crate::error::{Error, Result};
use crate::model::{Entry, EntryKind, Xattr};
use crate::source::files::stat::{FileKind, Stat};

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;

/// Attributes that are removed where an entry lacks them. Labels of security modules and the like stay: the system
/// gives them to every file, and the backup of another system knows nothing of them.
fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability" || name == ACL_ACCESS || name == ACL_DEFAULT
}

/// The mode for a file that belongs to `uid` and `gid`: nobody's program may run as somebody else than in the backup.
fn wanted_mode(entry: &Entry, stat: &Stat, uid: u32, gid: u32) -> u32 {
    let mut mode = entry.mode & 0o7777;
    if stat.kind == FileKind::File {
        mode &= !if uid == entry.uid { 0 } else { SET_USER };
        mode &= !if gid == entry.gid { 0 } else { SET_GROUP };
    }
    mode
}

/// Whether an inode is what the entry says; sizes and link texts are not compared.
pub(super) fn is_of_kind(entry: &Entry, stat: &Stat) -> bool {
    match entry.kind {
        EntryKind::File { .. } => stat.kind == FileKind::File,
        EntryKind::Dir => stat.kind == FileKind::Dir,
        EntryKind::Symlink { .. } => stat.kind == FileKind::Symlink,
        EntryKind::Hardlink { .. } => stat.kind != FileKind::Dir,
        EntryKind::Fifo => stat.kind == FileKind::Fifo,
        EntryKind::CharDevice { major, minor } => stat.kind == FileKind::Char && stat.rdev == (major, minor),
        EntryKind::BlockDevice { major, minor } => stat.kind == FileKind::Block && stat.rdev == (major, minor),
    }
}

/// Whether a failure says that this user, file system or kernel cannot do it at all.
fn is_refusal(errno: Errno) -> bool {
    [Errno::PERM, Errno::ACCESS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS].contains(&errno)
}

/// Whether only one attribute is affected by a failure: not allowed, unknown, or too large for the file system.
fn is_refused_xattr(errno: Errno) -> bool {
    is_refusal(errno) || [Errno::NOSPC, Errno::TOOBIG, Errno::RANGE, Errno::NOENT].contains(&errno)
}

impl Destination {
    /// Gives the inode the entry's metadata, as far as it differs. `bare` says that it was made just now in a folder
    /// without default ACL, so that it has no attributes that would have to be removed.
    pub(super) fn apply(&self, handle: &Handle, entry: &Entry, bare: bool) -> Result<()> {
        let failed = |what: &str, errno| self.failed(what, &entry.path, errno);
        let stat = handle.stat().map_err(|e| failed("stat", e))?;
        let symlink = stat.kind == FileKind::Symlink;
        let (uid, gid) = self.set_owner(handle, entry, &stat)?;
        let options = self.options();
        if options.xattrs && !bare {
            self.remove_other_xattrs(handle, entry)?;
        }
        let mode = wanted_mode(entry, &stat, uid, gid);
        if !symlink && mode != entry.mode & 0o7777 {
            self.problem(&entry.path, "setuid and setgid are left out because the owner is not the one in the backup");
        }
        // The kernel clears these two bits when the owner changes.
        let cleared = (uid, gid) != (stat.uid, stat.gid) && mode & (SET_USER | SET_GROUP) != 0;
        let set_mode = !symlink && (stat.mode != mode || cleared);
        if set_mode {
            self.unless_refused(entry, handle.chmod(mode), is_refusal, "set the mode of", format_args!("mode"))?;
        }
        if options.xattrs {
            for xattr in &entry.xattrs {
                self.set_xattr(handle, entry, xattr, bare || set_mode)?;
            }
        }
        if bare || stat.mtime != entry.mtime {
            let set = handle.set_mtime(entry.mtime);
            self.unless_refused(entry, set, is_refusal, "set the time of", format_args!("time"))?;
        }
        Ok(())
    }

    /// Whether it was done. What the system refuses is a problem, any other failure an error.
    fn unless_refused(
        &self,
        entry: &Entry,
        done: Result<(), Errno>,
        is_refusal: fn(Errno) -> bool,
        action: &str,
        what: fmt::Arguments<'_>,
    ) -> Result<bool> {
        match done {
            Err(errno) if is_refusal(errno) => {
                let why = std::io::Error::from(errno);
                self.problem(&entry.path, format!("the {what} could not be set: {why}"));
                Ok(false)
            }
            done => done.map(|()| true).map_err(|e| self.failed(action, &entry.path, e)),
        }
    }

    /// Returns owner and group as they are afterwards.
    fn set_owner(&self, handle: &Handle, entry: &Entry, stat: &Stat) -> Result<(u32, u32)> {
        let (before, wanted) = ((stat.uid, stat.gid), (entry.uid, entry.gid));
        if !self.options().owners || before == wanted {
            return Ok(before);
        }
        let (set, what) = (handle.chown(entry.uid, entry.gid), format_args!("owner {}:{}", entry.uid, entry.gid));
        let done = self.unless_refused(entry, set, is_refusal, "set the owner of", what)?;
        Ok(if done { wanted } else { before })
    }

    fn remove_other_xattrs(&self, handle: &Handle, entry: &Entry) -> Result<()> {
        let names = handle.xattrs().names().map_err(|e| self.failed("list the attributes of", &entry.path, e))?;
        for name in names.iter().filter(|name| is_ours(name) && entry.xattrs.iter().all(|x| x.name != **name)) {
            let what = format_args!("absence of {:?}", String::from_utf8_lossy(name));
            let removed = handle.remove_xattr(name);
            self.unless_refused(entry, removed, is_refused_xattr, "remove an attribute of", what)?;
        }
        Ok(())
    }

    fn set_xattr(&self, handle: &Handle, entry: &Entry, xattr: &Xattr, always: bool) -> Result<()> {
        if !always && has_xattr(handle, xattr) {
            return Ok(());
        }
        let what = format_args!("attribute {:?}", String::from_utf8_lossy(&xattr.name));
        let set = handle.set_xattr(&xattr.name, &xattr.value);
        self.unless_refused(entry, set, is_refused_xattr, "set an attribute of", what).map(drop)
    }

    /// Whether [`Self::apply`] would change nothing.
    pub(super) fn has_metadata(&self, handle: &Handle, entry: &Entry, stat: &Stat) -> bool {
        let options = self.options();
        let owner = !options.owners || (stat.uid, stat.gid) == (entry.uid, entry.gid);
        let mode = stat.kind == FileKind::Symlink || stat.mode == wanted_mode(entry, stat, stat.uid, stat.gid);
        owner && mode && stat.mtime == entry.mtime && (!options.xattrs || has_xattrs(handle, entry))
    }

    /// Gives a folder its final metadata. Called after everything in it was made, deepest folders first.
    pub fn finish_dir(&self, entry: &Entry) -> Result<()> {
        let (handle, _) = self.hold(entry)?;
        // It may get a default ACL now.
        self.shared.folders.forget(entry.path.as_bytes());
        self.apply(&handle, entry, false)
    }

    /// Opens what is at the entry's place, which must be what the entry says.
    pub(super) fn hold(&self, entry: &Entry) -> Result<(Handle, Stat)> {
        let folder = self.folder(&entry.path)?;
        let (handle, stat) =
            Handle::open(&folder.fd, entry.path.name()).map_err(|e| self.failed("open", &entry.path, e))?;
        if is_of_kind(entry, &stat) { Ok((handle, stat)) } else { Err(self.replaced(entry)) }
    }

    /// The error for an entry that somebody exchanged meanwhile.
    pub(super) fn replaced(&self, entry: &Entry) -> Error {
        let (shown, kind) = (self.shown(&entry.path), entry.kind.name());
        Error::failed(format!("{shown} was a {kind} and is now something else: somebody else writes into the target"))
    }
}

fn has_xattrs(handle: &Handle, entry: &Entry) -> bool {
    let no_others = handle.xattrs().names().is_ok_and(|names| {
        names.iter().filter(|name| is_ours(name)).all(|name| entry.xattrs.iter().any(|x| x.name == **name))
    });
    no_others && entry.xattrs.iter().all(|xattr| has_xattr(handle, xattr))
}

fn has_xattr(handle: &Handle, xattr: &Xattr) -> bool {
    handle.xattrs().value(&xattr.name).is_ok_and(|value| value.as_deref() == Some(&*xattr.value))
}
