//! Removes what is below the target and in no inventory, and folders that stand where something else belongs.
//!
//! Invariant: the walk goes from folder descriptor to folder descriptor, enters no symbolic link and no other file
//! system, and gives kept folders their time back.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::Destination;
use super::create::let_us_in;
use super::handle::{Facts, Handle};
use super::resolve::Folder;
use crate::error::{Error, Result};
use crate::model::{Entry, EntryPath};

/// Folders on the way down that stay open; those above are opened again on the way back.
const OPEN_LEVELS: usize = 64;

/// A folder on the way from the start to the place where the walk is.
struct Level {
    /// Its path is that many bytes of the current path.
    length: usize,
    handle: Option<Handle>,
    names: std::vec::IntoIter<Vec<u8>>,
    before: Facts,
    /// Something in it stays, so it does too.
    holds_kept: bool,
    /// Entries were removed from it, or its mode was changed for that.
    touched: bool,
}

impl Destination {
    /// Removes everything below the target that `keep` says no to, folders after what they hold; a folder stays when
    /// something in it does. `keep` gets raw paths relative to the target; it also decides about files that a
    /// cut-short restore left, see [`super::is_part_name`]. `removed` is told every path that is removed, or that
    /// would be with `dry_run`. What cannot be removed, and other file systems, are problems.
    pub fn sweep(&self, keep: &dyn Fn(&[u8]) -> bool, dry_run: bool, removed: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.clear(Vec::new(), keep, dry_run, removed).map(|_| ())
    }

    /// Removes the folder at the entry's place with all it holds.
    pub(super) fn remove_folder(&self, folder: &Folder, entry: &Entry) -> Result<()> {
        let in_the_way = |error: Error| error.within(format!("cannot replace the folder {}", self.shown(&entry.path)));
        let facts = Facts::at(&folder.fd, entry.path.name()).map_err(|e| self.failed("look at", &entry.path, e))?;
        if facts.mount_root {
            return Err(Error::failed(format!("cannot replace {}: a file system is mounted there", entry.path)));
        }
        let_us_in(&folder.fd, entry.path.name(), &facts);
        self.clear(entry.path.as_bytes().to_vec(), &|_| false, false, &mut |_| {}).map_err(in_the_way)?;
        unlinkat(&folder.fd, entry.path.name(), AtFlags::REMOVEDIR)
            .map_err(|e| in_the_way(self.failed("remove the folder", &entry.path, e)))
    }

    /// Removes what is below the folder at `path` and not kept; true when it is empty then.
    fn clear(
        &self,
        mut path: Vec<u8>,
        keep: &dyn Fn(&[u8]) -> bool,
        dry_run: bool,
        removed: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        // Descriptors of folders that are going to vanish must not be used again.
        self.shared.folders.clear();
        let failed = |path: &[u8], errno: Errno| {
            let shown = EntryPath::new(path).map_or_else(|_| self.shared.dir.display().to_string(), |p| self.shown(&p));
            Error::failed(format!("cannot list the folder {shown}")).because(std::io::Error::from(errno))
        };
        let start = self.walk(&path).and_then(|fd| Level::enter(fd, b".", path.len()));
        let mut levels = vec![start.map_err(|e| failed(&path, e))?];
        let file_system = levels[0].before.inode.0;
        while let Some(level) = levels.last_mut() {
            path.truncate(level.length);
            if level.handle.is_none() {
                level.handle = Some(Handle::path_only(self.walk(&path).map_err(|e| failed(&path, e))?));
            }
            let Some(handle) = &level.handle else { break };
            let Some(name) = level.names.next() else {
                if levels.len() == 1 {
                    break;
                }
                self.leave(&mut levels, &path, keep, dry_run, removed);
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let facts = match Facts::at(&handle.fd, &name) {
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    level.holds_kept = true;
                    self.left(&path, "cannot be looked at", errno);
                    continue;
                }
                Ok(facts) => facts,
            };
            if facts.file_type != FileType::Directory {
                if keep(&path) {
                    level.holds_kept = true;
                } else if dry_run {
                    removed(&path);
                } else {
                    match unlinkat(&handle.fd, &*name, AtFlags::empty()) {
                        Err(errno) if errno != Errno::NOENT => {
                            level.holds_kept = true;
                            self.left(&path, "could not be removed", errno);
                        }
                        _ => {
                            level.touched = true;
                            removed(&path);
                        }
                    }
                }
                continue;
            }
            if facts.mount_root || facts.inode.0 != file_system {
                level.holds_kept = true;
                self.note(&path, "another file system is mounted there; nothing in it was removed".to_owned());
                continue;
            }
            let opened = !dry_run && let_us_in(&handle.fd, &name, &facts);
            match Level::enter(&handle.fd, &name, path.len()) {
                Ok(mut next) => {
                    next.before = facts;
                    next.touched = opened;
                    levels.push(next);
                    if let Some(far) = levels.len().checked_sub(OPEN_LEVELS + 1) {
                        levels[far].handle = None;
                    }
                }
                Err(errno) => {
                    level.holds_kept = true;
                    self.left(&path, "cannot be listed", errno);
                }
            }
        }
        if let Some(start) = levels.pop() {
            start.restore_metadata();
            return Ok(!start.holds_kept);
        }
        Ok(false)
    }

    /// Ends the deepest level: removes its folder, or gives it its time back.
    fn leave(
        &self,
        levels: &mut Vec<Level>,
        path: &[u8],
        keep: &dyn Fn(&[u8]) -> bool,
        dry_run: bool,
        removed: &mut dyn FnMut(&[u8]),
    ) {
        let (Some(level), Some(parent)) = (levels.pop(), levels.last_mut()) else { return };
        if level.holds_kept || keep(path) {
            level.restore_metadata();
            parent.holds_kept = true;
            return;
        }
        if dry_run {
            removed(path);
            return;
        }
        let name = path.get(parent.length..).unwrap_or_default();
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if parent.handle.is_none() {
            parent.handle = self.walk(path.get(..parent.length).unwrap_or_default()).ok().map(Handle::path_only);
        }
        let result =
            parent.handle.as_ref().map_or(Err(Errno::NOENT), |handle| unlinkat(&handle.fd, name, AtFlags::REMOVEDIR));
        match result {
            Ok(()) => {
                parent.touched = true;
                removed(path);
            }
            Err(errno) => {
                level.restore_metadata();
                parent.holds_kept = true;
                self.left(path, "could not be removed", errno);
            }
        }
    }

    fn left(&self, path: &[u8], what: &str, errno: Errno) {
        self.note(path, format!("{what}: {}", std::io::Error::from(errno)));
    }

    /// Notes a problem about a place that need not be a possible path of an entry.
    fn note(&self, path: &[u8], text: String) {
        let mut known = path;
        loop {
            if let Ok(path) = EntryPath::new(known) {
                return self.problem(&path, text);
            }
            let Some(at) = known.iter().rposition(|&b| b == b'/') else { return };
            known = &known[..at];
        }
    }
}

impl Level {
    /// Lists the folder `name` in `parent`.
    fn enter(parent: impl AsFd, name: &[u8], length: usize) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = Handle::opened(openat(parent, name, flags, Mode::empty())?);
        let before = handle.facts()?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&handle.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(Self { length, handle: Some(handle), names: names.into_iter(), before, holds_kept: false, touched: false })
    }

    /// Gives a folder that stays the mode and time it had. When that fails, the end of the restore does it.
    fn restore_metadata(&self) {
        if let (true, Some(handle)) = (self.touched, &self.handle) {
            handle.chmod(self.before.mode).ok();
            handle.set_mtime(self.before.mtime).ok();
        }
    }
}
