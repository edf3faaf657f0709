//! Removes what a listing named, and folders that stand where something else belongs.
//!
//! Invariant: exactly the listed paths go, each reached without following a link. Folders that stay get back the mode
//! and time they had; where that fails, the end of the restore does it.

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::folders::OpenFolder;
use super::handle::{Handle, make_accessible};
use super::root::Destination;
use crate::error::{Error, Result};
use crate::model::Entry;
use crate::source::files::stat::Stat;

/// A folder in which something is removed, or that had to be opened on the way there.
struct Opened {
    handle: Handle,
    before: Stat,
    /// It was closed to us, and its mode was changed.
    was_closed: bool,
}

impl Destination {
    /// Removes what [`Self::extras`] listed, in that order: folders after what they hold. `removed` is told every path
    /// that is gone then, also one that was gone before. What cannot be removed is a problem, as is a folder that holds
    /// something that was not listed.
    pub fn remove(&self, extras: &[Box<[u8]>], removed: &mut dyn FnMut(&[u8])) {
        // Descriptors of folders that are going to vanish must not be used again.
        self.shared.folders.clear();
        for siblings in extras.chunk_by(|a, b| split(a).0 == split(b).0) {
            let Some((parent, _)) = siblings.first().map(|path| split(path)) else { continue };
            let mut opened = Vec::new();
            let reached = self.open_to_remove(parent, &mut opened);
            for path in siblings {
                let folder = reached.and_then(|()| opened.last().ok_or(Errno::NOENT));
                match folder.and_then(|folder| folder.remove(path)) {
                    // Gone already, perhaps because an entry of the backup took the place of its folder.
                    Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => removed(path),
                    Err(errno) => self.left(path, "could not be removed", errno),
                }
            }
            opened.iter().rev().for_each(Opened::restore_metadata);
        }
    }

    /// Opens the folder at `path` and, where they are closed to us, those above it; the folder comes last. What was
    /// opened is there also after a failure, to be closed again.
    fn open_to_remove(&self, path: &[u8], opened: &mut Vec<Opened>) -> Result<(), Errno> {
        match self.open_one(path) {
            Err(Errno::ACCESS) => {}
            result => return result.map(|folder| opened.push(folder)),
        }
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            opened.extend(Some(self.open_one(&path[..end])?).filter(|folder| folder.was_closed));
        }
        opened.push(self.open_one(path)?);
        Ok(())
    }

    fn open_one(&self, path: &[u8]) -> Result<Opened, Errno> {
        let handle = Handle::path_only(self.reach(path)?);
        let before = handle.stat()?;
        if (before.mounted && !path.is_empty()) || before.device != Stat::of(&self.shared.root)?.device {
            return Err(Errno::XDEV); // mounted since it was listed
        }
        Ok(Opened { was_closed: handle.make_accessible(&before), handle, before })
    }

    /// Removes the folder at the entry's place with all it holds.
    pub(super) fn remove_folder(&self, folder: &OpenFolder, entry: &Entry) -> Result<()> {
        let in_the_way = |error: Error| error.within(format!("cannot replace the folder {}", self.shown(&entry.path)));
        let stat = Stat::at(&folder.fd, entry.path.name()).map_err(|e| self.failed("stat", &entry.path, e))?;
        if stat.mounted {
            return Err(Error::failed(format!("cannot replace {}: a file system is mounted there", entry.path)));
        }
        make_accessible(&folder.fd, entry.path.name(), &stat);
        let extras = self.extras_below(entry.path.as_bytes(), &|_| false, true).map_err(in_the_way)?;
        self.remove(&extras, &mut |_| {});
        unlinkat(&folder.fd, entry.path.name(), AtFlags::REMOVEDIR)
            .map_err(|e| in_the_way(self.failed("remove the folder", &entry.path, e)))
    }
}

impl Opened {
    fn remove(&self, path: &[u8]) -> Result<(), Errno> {
        let (_, name) = split(path);
        match unlinkat(&self.handle.fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => unlinkat(&self.handle.fd, name, AtFlags::REMOVEDIR),
            result => result,
        }
    }

    fn restore_metadata(&self) {
        if self.was_closed {
            self.handle.chmod(self.before.mode).ok();
        }
        self.handle.set_mtime(self.before.mtime).ok();
    }
}

/// The folder of a path, empty for the target itself, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|&b| b == b'/').map_or((b"", path), |at| (&path[..at], &path[at + 1..]))
}
