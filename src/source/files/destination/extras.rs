//! What lies below the target and in no inventory.
//!
//! Invariant: the walk goes from folder descriptor to folder descriptor, enters no symbolic link and no other file
//! system, and leaves everything as it was: folders that were opened for the look are closed again. It only lists; [`Destination::remove`] removes what was listed.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::handle::{Handle, make_accessible};
use super::root::Destination;
use crate::error::{Error, Result};
use crate::model::EntryPath;
use crate::source::files::descend::open_to_read;
use crate::source::files::listing::Listing;
use crate::source::files::stat::{FileKind, Stat};

/// Folders on the way down that stay open; those above are opened again on the way back.
const OPEN_LEVELS: usize = 64;

/// A folder on the way from the start to the place where the walk is.
struct Level {
    /// Its path is that many bytes of the current path.
    length: usize,
    /// None while too many below it are open.
    handle: Option<Handle>,
    listing: Listing,
    /// The next name of it.
    next: usize,
    /// The mode of a folder that was made accessible to be listed.
    closed: Option<u32>,
    /// Something in it stays, so it does too.
    holds_kept: bool,
}

/// A search under way. Its stack stands for recursion, which a deep tree would not survive.
struct Search<'a> {
    target: &'a Destination,
    keep: &'a dyn Fn(&[u8]) -> bool,
    open_closed: bool,
    /// The file system that is not left.
    device: u64,
    /// Path of where the search is, relative to the target.
    path: Vec<u8>,
    levels: Vec<Level>,
    extras: Vec<Box<[u8]>>,
}

impl Destination {
    /// Everything below the target that `keep` says no to, as raw paths relative to the target, folders after what they
    /// hold; a folder stays when something in it does. `keep` also decides about files that a cut-short restore left,
    /// see [`super::is_part_name`]. What cannot be listed, and other file systems, stay and are problems.
    ///
    /// With `open_closed` folders of ours that are closed to us are opened for that, and closed again; without,
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
            self.reach(start).and_then(|fd| Ok((Stat::at(&fd, c".")?.device, Level::enter(&fd, c".", start.len())?)));
        let (device, first) = first.map_err(|e| self.unlistable(start, e))?;
        let (path, levels, extras) = (start.to_vec(), vec![first], Vec::new());
        let mut search = Search { target: self, keep, open_closed, device, path, levels, extras };
        while let Some(level) = search.levels.last_mut() {
            search.path.truncate(level.length);
            if level.handle.is_none() {
                // It was closed in favour of those that were below it.
                let fd = self.reach(&search.path).map_err(|e| self.unlistable(&search.path, e))?;
                level.handle = Some(Handle::path_only(fd));
            }
            if level.next < level.listing.len() { search.visit() } else { search.leave() }
        }
        Ok(search.extras)
    }

    fn unlistable(&self, path: &[u8], errno: Errno) -> Error {
        let shown = EntryPath::new(path).map_or_else(|_| self.shared.dir.display().to_string(), |p| self.shown(&p));
        Error::failed(format!("cannot list the folder {shown}")).because(std::io::Error::from(errno))
    }
}

impl Search<'_> {
    /// Lists what has the next name in the deepest folder, or goes down into it.
    fn visit(&mut self) {
        let Some(level) = self.levels.last_mut() else { return };
        let Some(handle) = &level.handle else { return };
        let name = level.listing.name(level.next);
        level.next += 1;
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        let stat = match Stat::at(&handle.fd, name) {
            Err(Errno::NOENT) => return,
            Err(errno) => {
                level.holds_kept = true;
                return self.target.left(&self.path, "cannot stat", errno);
            }
            Ok(stat) => stat,
        };
        if stat.kind != FileKind::Dir {
            if (self.keep)(&self.path) {
                level.holds_kept = true;
            } else {
                self.extras.push(self.path.as_slice().into());
            }
        } else if stat.mounted || stat.device != self.device {
            level.holds_kept = true;
            let text = "another file system is mounted there; nothing in it was removed";
            self.target.problem_at(&self.path, text.to_owned());
        } else {
            // What may be listed and looked into is left as it is.
            let opens = self.open_closed && stat.mode & 0o500 != 0o500;
            let closed = (opens && make_accessible(&handle.fd, name.to_bytes(), &stat)).then_some(stat.mode);
            match Level::enter(&handle.fd, name, self.path.len()) {
                Ok(below) => self.levels.push(Level { closed, ..below }),
                Err(errno) => {
                    if let (Some(mode), Ok(below)) = (closed, Handle::pin(&handle.fd, name.to_bytes())) {
                        below.chmod(mode).ok();
                    }
                    level.holds_kept = true;
                    self.target.left(&self.path, "cannot be listed", errno);
                }
            }
            if let Some(far) = self.levels.len().checked_sub(OPEN_LEVELS + 1) {
                self.levels[far].handle = None;
            }
        }
    }

    /// Ends the deepest folder: it stays, or is an extra itself.
    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if let (Some(mode), Some(handle)) = (level.closed, &level.handle) {
            handle.chmod(mode).ok();
        }
        let Some(parent) = self.levels.last_mut() else { return };
        if level.holds_kept || (self.keep)(&self.path) {
            parent.holds_kept = true;
        } else {
            self.extras.push(self.path.as_slice().into());
        }
    }
}

impl Level {
    /// Lists the folder `name` in `parent`.
    fn enter(parent: impl AsFd, name: &CStr, length: usize) -> Result<Self, Errno> {
        let handle = Handle::opened(open_to_read(parent, name, OFlags::DIRECTORY)?);
        let (listing, complete) = Listing::read(&handle.fd, &mut Vec::new());
        complete?;
        Ok(Self { length, handle: Some(handle), listing, next: 0, closed: None, holds_kept: false })
    }
}
