//! The roots of a component: what they are called in the backup, and where they are.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, path_text};
use crate::model::{Entry, EntryKind, EntryPath};
use crate::source::files::root_name;

/// A root that the configuration names.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// As it was configured.
    pub(super) configured: PathBuf,
    /// Its name in the backup.
    pub(super) shown: EntryPath,
    /// Where it is: links on the way and in its own name are followed.
    pub(super) path: PathBuf,
    pub(super) is_there: bool,
}

impl Root {
    pub(super) fn of(configured: &Path) -> Result<Self> {
        let cannot =
            |e: io::Error| Error::failed(format!("cannot find the real path of {}", path_text(configured))).because(e);
        let (path, is_there) = match fs::canonicalize(configured) {
            Ok(real) => (real, true),
            // A link to nothing cannot be replaced by what it should lead to.
            Err(e) if e.kind() == io::ErrorKind::NotFound && configured.symlink_metadata().is_err() => {
                (real_of_missing(configured).map_err(cannot)?, false)
            }
            Err(e) => return Err(cannot(e)),
        };
        Ok(Self { configured: configured.to_owned(), shown: root_name(configured)?, path, is_there })
    }

    /// The folder that holds it, and its name there; none for `/`.
    pub(super) fn place(&self) -> Option<(&Path, OsString)> {
        Some((self.path.parent()?, self.path.file_name()?.to_owned()))
    }

    /// Whether an entry of the backup belongs to it.
    pub(super) fn holds(&self, path: &EntryPath) -> bool {
        *path == self.shown || path.is_below(&self.shown)
    }

    /// Where an entry of it is.
    pub(super) fn path_of(&self, path: &EntryPath) -> PathBuf {
        let rest = path.as_bytes().get(self.shown.as_bytes().len()..).unwrap_or_default();
        let mut whole = self.path.clone().into_os_string();
        whole.push(OsStr::from_bytes(rest));
        whole.into()
    }

    /// The entry as it is named below the folder that holds the root.
    pub(super) fn in_place(&self, entry: &Entry, name: &OsString) -> Result<Entry> {
        let moved = |path: &EntryPath| {
            let rest = path.as_bytes().get(self.shown.as_bytes().len()..).unwrap_or_default();
            EntryPath::new([name.as_bytes(), rest].concat())
        };
        let mut entry = entry.clone();
        entry.path = moved(&entry.path)?;
        if let EntryKind::Hardlink { target } = &mut entry.kind
            && self.holds(target)
        {
            *target = moved(target)?;
        }
        Ok(entry)
    }
}

/// The real path of the part that is there, and the rest as it stands.
fn real_of_missing(path: &Path) -> io::Result<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    match fs::canonicalize(parent) {
        Ok(real) => Ok(real.join(name)),
        Err(e) if e.kind() == io::ErrorKind::NotFound && parent.symlink_metadata().is_err() => {
            Ok(real_of_missing(parent)?.join(name))
        }
        Err(e) => Err(e),
    }
}
