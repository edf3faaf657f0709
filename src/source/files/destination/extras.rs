//! What lies below the target and in no inventory.
//!
//! Invariant: the walk goes from folder descriptor to folder descriptor, enters no symbolic link and no other file
//! system, and leaves everything as it was. It only lists; [`Destination::remove`] removes what was listed.

use std::os::fd::AsFd;

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Destination;
use super::handle::{Facts, Handle, make_accessible};
use crate::error::{Error, Result};
use crate::model::EntryPath;

/// Folders on the way down that stay open; those above are opened again on the way back.
const OPEN_LEVELS: usize = 64;

/// A folder on the way from the start to the place where the walk is.
struct Level {
    /// Its path is that many bytes of the current path.
    length: usize,
    /// None while too many below it are open.
    handle: Option<Handle>,
    names: std::vec::IntoIter<Vec<u8>>,
    /// The mode of a folder that was made accessible for the look.
    closed: Option<u32>,
    /// Something in it stays, so it does too.
    holds_kept: bool,
}

/// A listing under way. Its stack stands for recursion, which a deep tree would not survive.
struct Listing<'a> {
    target: &'a Destination,
    keep: &'a dyn Fn(&[u8]) -> bool,
    open_closed: bool,
    /// The file system that is not left.
    device: (u32, u32),
    /// Path of what is looked at, relative to the target.
    path: Vec<u8>,
    levels: Vec<Level>,
    extras: Vec<Box<[u8]>>,
}

impl Destination {
    /// Everything below the target that `keep` says no to, as raw paths relative to the target, folders after what they
    /// hold; a folder stays when something in it does. `keep` also decides about files that a cut-short restore left,
    /// see [`super::is_part_name`]. What cannot be listed, and other file systems, stay and are problems.
    ///
    /// With `open_closed` folders of ours that are closed to us are opened for the look, and closed again; without,
    /// nothing is changed at all.
    pub fn extras(&self, keep: &dyn Fn(&[u8]) -> bool, open_closed: bool) -> Result<Vec<Box<[u8]>>> {
        self.extras_below(b"", keep, open_closed)
    }

    /// The same below the folder at `start`, which is not listed itself.
    pub(super) fn extras_below(
        &self,
        start: &[u8],
        keep: &dyn Fn(&[u8]) -> bool,
        open_closed: bool,
    ) -> Result<Vec<Box<[u8]>>> {
        let first =
            self.walk(start).and_then(|fd| Ok((Facts::at(&fd, b".")?.inode.0, Level::enter(&fd, b".", start.len())?)));
        let (device, first) = first.map_err(|e| self.unlistable(start, e))?;
        let (path, levels, extras) = (start.to_vec(), vec![first], Vec::new());
        let mut listing = Listing { target: self, keep, open_closed, device, path, levels, extras };
        while let Some(level) = listing.levels.last_mut() {
            listing.path.truncate(level.length);
            match level.names.next() {
                Some(name) => listing.visit(&name)?,
                None => listing.leave()?,
            }
        }
        Ok(listing.extras)
    }

    fn unlistable(&self, path: &[u8], errno: Errno) -> Error {
        let shown = EntryPath::new(path).map_or_else(|_| self.shared.dir.display().to_string(), |p| self.shown(&p));
        Error::failed(format!("cannot list the folder {shown}")).because(std::io::Error::from(errno))
    }
}

impl Listing<'_> {
    /// Lists what has this name in the deepest folder, or goes down into it.
    fn visit(&mut self, name: &[u8]) -> Result<()> {
        self.reopen()?;
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let Some(handle) = &level.handle else { return Ok(()) };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let facts = match Facts::at(&handle.fd, name) {
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => {
                level.holds_kept = true;
                self.target.left(&self.path, "cannot be looked at", errno);
                return Ok(());
            }
            Ok(facts) => facts,
        };
        if facts.file_type != FileType::Directory {
            if (self.keep)(&self.path) {
                level.holds_kept = true;
            } else {
                self.extras.push(self.path.as_slice().into());
            }
        } else if facts.mount_root || facts.inode.0 != self.device {
            level.holds_kept = true;
            let text = "another file system is mounted there; nothing in it was removed";
            self.target.problem_at(&self.path, text.to_owned());
        } else {
            let closed = (self.open_closed && make_accessible(&handle.fd, name, &facts)).then_some(facts.mode);
            match Level::enter(&handle.fd, name, self.path.len()) {
                Ok(below) => self.levels.push(Level { closed, ..below }),
                Err(errno) => {
                    level.holds_kept = true;
                    self.target.left(&self.path, "cannot be listed", errno);
                }
            }
            if let Some(far) = self.levels.len().checked_sub(OPEN_LEVELS + 1) {
                self.levels[far].handle = None;
            }
        }
        Ok(())
    }

    /// Ends the deepest folder: it stays, or is an extra itself.
    fn leave(&mut self) -> Result<()> {
        self.reopen()?;
        let Some(level) = self.levels.pop() else { return Ok(()) };
        if let (Some(mode), Some(handle)) = (level.closed, &level.handle) {
            handle.chmod(mode).ok();
        }
        let Some(parent) = self.levels.last_mut() else { return Ok(()) };
        if level.holds_kept || (self.keep)(&self.path) {
            parent.holds_kept = true;
        } else {
            self.extras.push(self.path.as_slice().into());
        }
        Ok(())
    }

    /// Opens the deepest folder again where it was closed in favour of those that were below it.
    fn reopen(&mut self) -> Result<()> {
        if let Some(level) = self.levels.last_mut().filter(|level| level.handle.is_none()) {
            let fd = self.target.walk(&self.path).map_err(|e| self.target.unlistable(&self.path, e))?;
            level.handle = Some(Handle::path_only(fd));
        }
        Ok(())
    }
}

impl Level {
    /// Lists the folder `name` in `parent`.
    fn enter(parent: impl AsFd, name: &[u8], length: usize) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = Handle::opened(openat(parent, name, flags, Mode::empty())?);
        let mut names = Vec::new();
        for entry in Dir::read_from(&handle.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(Self { length, handle: Some(handle), names: names.into_iter(), closed: None, holds_kept: false })
    }
}
