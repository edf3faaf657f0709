//! Makes entries. Something new gets its own name at once; a replacement gets another name first and is then renamed
//! over what is there, so that a killed run leaves the old thing or the new one.

use std::cell::Cell;

use rustix::fs::{AtFlags, FileType, Mode, linkat, makedev, mkdirat, mknodat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::folders::OpenFolder;
use super::handle::{ACL_ACCESS, Handle, make_accessible};
use super::layout::Layout;
use super::metadata::is_of_kind;
use super::pending::{create, part_name};
use super::root::Destination;
use crate::error::{Error, Kind, Result};
use crate::model::{DEVICE_LIMITS, Entry, EntryKind, EntryPath};
use crate::source::files::stat::{FileKind, Stat};

impl Destination {
    /// Makes a folder with mode 0700, or keeps the one that is there. [`Self::finish_dir`] gives it its metadata.
    pub fn make_dir(&self, entry: &Entry) -> Result<()> {
        self.make_folder(&entry.path).map(drop)
    }

    /// Makes the folders above an entry that are missing, because the index has no lines of them any more; each is a
    /// problem. They keep mode 0700.
    pub fn make_folders_above(&self, path: &EntryPath) -> Result<()> {
        for (at, _) in path.as_bytes().iter().enumerate().filter(|(_, b)| **b == b'/') {
            let folder = EntryPath::new(&path.as_bytes()[..at])?;
            if self.make_folder(&folder)? {
                let what = "its line in the index is lost: it was made with mode 0700 and no other metadata";
                self.problem(&folder, what);
            }
        }
        Ok(())
    }

    /// Whether the folder had to be made.
    fn make_folder(&self, path: &EntryPath) -> Result<bool> {
        let folder = self.folder(path)?;
        let name = path.name();
        let failed = |what: &str, errno| self.failed(what, path, errno);
        match mkdirat(&folder.fd, name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            result => return result.map(|()| true).map_err(|e| failed("make the folder", e)),
        }
        let stat = Stat::at(&folder.fd, name).map_err(|e| failed("stat", e))?;
        if stat.kind == FileKind::Dir {
            make_accessible(&folder.fd, name, &stat);
            return Ok(false);
        }
        if !self.options().overwrite {
            return Err(self.would_overwrite(path));
        }
        unlinkat(&folder.fd, name, AtFlags::empty()).map_err(|e| failed("replace", e))?;
        mkdirat(&folder.fd, name, Mode::RWXU).map(|()| true).map_err(|e| failed("make the folder", e))
    }

    /// Makes a regular file from its stored bytes, which the caller has verified. Holes stay holes.
    pub fn write_file(&self, entry: &Entry, content: &[u8]) -> Result<()> {
        let layout = Layout::of(entry)?;
        if content.len() as u64 != layout.stored {
            let (path, has, says) = (&entry.path, content.len(), layout.stored);
            return Err(Error::damage(format!("the content of {path} has {has} bytes, its entry says {says}")));
        }
        let folder = self.folder(&entry.path)?;
        let name = entry.path.name();
        let handle = match create(&folder, name, self.first_mode(entry, &folder)) {
            Err(Errno::EXIST) if self.options().overwrite => {
                let pending = self.begin_file(entry)?;
                pending.write_at(0, content)?;
                return pending.commit();
            }
            Err(Errno::EXIST) => return Err(self.would_overwrite(&entry.path)),
            created => created.map_err(|e| self.failed("make the file", &entry.path, e))?,
        };
        let written = layout
            .write(&handle.fd, 0, content)
            .and_then(|()| layout.set_size(&handle.fd))
            .map_err(|e| self.failed("write", &entry.path, e))
            .and_then(|()| self.apply(&handle, entry, !folder.default_acl));
        let is_ours = |there: Stat| handle.stat().is_ok_and(|made| made.identity() == there.identity());
        if written.is_err() && Stat::at(&folder.fd, name).is_ok_and(is_ours) {
            // Half a file must not stay; when even that fails its time tells that it is not finished.
            unlinkat(&folder.fd, name, AtFlags::empty()).ok();
        }
        written
    }

    /// The mode a new file starts with: its own where nobody gains by it before it is finished, else private.
    pub(super) fn first_mode(&self, entry: &Entry, folder: &OpenFolder) -> Mode {
        let owned = !self.options().owners || (entry.uid, entry.gid) == self.shared.owner;
        let plain = owned && !folder.default_acl && entry.xattrs.iter().all(|x| x.name != ACL_ACCESS);
        if plain { Mode::from_raw_mode(entry.mode & 0o777) } else { Mode::RUSR | Mode::WUSR }
    }

    /// Makes a symbolic link; its text is kept as it is and never followed.
    pub fn make_symlink(&self, entry: &Entry) -> Result<()> {
        let EntryKind::Symlink { target } = &entry.kind else { return Err(wrong_kind(entry, "symbolic link")) };
        self.make(entry, |folder, name| symlinkat(&**target, &folder.fd, name))
    }

    /// Makes another name of an entry that was made before. A symbolic link gets another name, not what it points to.
    pub fn make_hardlink(&self, entry: &Entry) -> Result<()> {
        let EntryKind::Hardlink { target } = &entry.kind else { return Err(wrong_kind(entry, "hard link")) };
        let unfound = |errno| {
            let why = match errno {
                Errno::NOENT => "which is not there",
                Errno::NOTDIR | Errno::LOOP => {
                    "but a symbolic link or another thing stands where a folder of it should be"
                }
                _ => return self.failed(&format!("find {target}, whose other name should be"), &entry.path, errno),
            };
            Error::new(Kind::NotFound, format!("{} is a hard link to {target}, {why}", self.shown(&entry.path)))
                .hint(format!("restore {target} together with it"))
        };
        let source = self.try_folder(target).map_err(unfound)?;
        let first = Stat::at(&source.fd, target.name()).map_err(unfound)?;
        if first.kind == FileKind::Dir {
            return Err(Error::damage(format!("the entry {} is a hard link to the folder {target}", entry.path)));
        }
        let folder = self.folder(&entry.path)?;
        if Stat::at(&folder.fd, entry.path.name()).is_ok_and(|now| now.identity() == first.identity()) {
            return Ok(());
        }
        self.make(entry, |folder, name| linkat(&source.fd, target.name(), &folder.fd, name, AtFlags::empty()))
    }

    /// Makes a named pipe or, where the options and the system allow it, a device; otherwise notes a problem and says no.
    pub fn make_node(&self, entry: &Entry) -> Result<bool> {
        let (file_type, major, minor) = match entry.kind {
            EntryKind::Fifo => (FileType::Fifo, 0, 0),
            EntryKind::CharDevice { major, minor } => (FileType::CharacterDevice, major, minor),
            EntryKind::BlockDevice { major, minor } => (FileType::BlockDevice, major, minor),
            _ => return Err(wrong_kind(entry, "pipe or device")),
        };
        let needs_root = || {
            self.problem(&entry.path, format!("the {} device was not made: that needs root", entry.kind.name()));
            Ok(false)
        };
        if file_type != FileType::Fifo && !self.options().devices {
            return needs_root();
        }
        if major >= DEVICE_LIMITS.0 || minor >= DEVICE_LIMITS.1 {
            return Err(Error::damage(format!("the entry {} has impossible device numbers", entry.path)));
        }
        let private = Mode::RUSR | Mode::WUSR;
        let device = makedev(major, minor);
        // Root of a container may make files, but no devices.
        let refused = Cell::new(false);
        let made = self.make(entry, |folder, name| {
            let made = mknodat(&folder.fd, name, file_type, private, device);
            refused.set(made == Err(Errno::PERM) && file_type != FileType::Fifo);
            made
        });
        if refused.get() { needs_root() } else { made.map(|()| true) }
    }

    /// Makes something by `create` under its name, or aside and then in place of what has the name.
    fn make(&self, entry: &Entry, create: impl Fn(&OpenFolder, &[u8]) -> Result<(), Errno>) -> Result<()> {
        let folder = self.folder(&entry.path)?;
        let failed = |errno| match (&entry.kind, errno) {
            (EntryKind::Hardlink { target }, Errno::XDEV | Errno::MLINK | Errno::PERM) => {
                self.failed("make the hard link", &entry.path, errno).hint(format!(
                    "its first name is {target}; the file system allows no such link between the two places"
                ))
            }
            _ => self.failed(&format!("make the {}", entry.kind.name()), &entry.path, errno),
        };
        match create(&folder, entry.path.name()) {
            Ok(()) => return self.apply_metadata(&folder, entry.path.name(), entry),
            Err(Errno::EXIST) if self.options().overwrite => {}
            Err(Errno::EXIST) => return Err(self.would_overwrite(&entry.path)),
            Err(errno) => return Err(failed(errno)),
        }
        let temporary = part_name()?;
        create(&folder, &temporary).map_err(failed)?;
        let result =
            self.apply_metadata(&folder, &temporary, entry).and_then(|()| self.place(&folder, &temporary, entry));
        // After a rename between two names of one inode the first is still there.
        if result.is_err() || matches!(entry.kind, EntryKind::Hardlink { .. }) {
            unlinkat(&folder.fd, &temporary, AtFlags::empty()).ok();
        }
        result
    }

    /// Gives a new link, pipe or device its metadata, unless somebody put another thing there.
    fn apply_metadata(&self, folder: &OpenFolder, name: &[u8], entry: &Entry) -> Result<()> {
        if matches!(entry.kind, EntryKind::Hardlink { .. }) {
            return Ok(());
        }
        let failed = |errno| self.failed("stat", &entry.path, errno);
        let handle = Handle::pin(&folder.fd, name).map_err(failed)?;
        let stat = handle.stat().map_err(failed)?;
        if !is_of_kind(entry, &stat) || stat.nlink > 1 {
            return Err(self.replaced(entry));
        }
        self.apply(&handle, entry, !folder.default_acl)
    }
}

fn wrong_kind(entry: &Entry, expected: &str) -> Error {
    Error::damage(format!("the entry {} is a {}, not a {expected}", entry.path, entry.kind.name()))
}
