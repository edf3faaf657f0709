//! The open root of a destination: what is there is reached from here, and what goes wrong is kept here.
//!
//! Invariant: every descriptor of a folder was reached from the root through plain folders only, without following any
//! symbolic link.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::folders::{FolderCache, OpenFolder};
use crate::error::{Context as _, Error, Hint, Kind, Result};
use crate::model::EntryPath;
use crate::source::files::descend::Descent;
use crate::source::files::stat::{FileKind, Stat};
use crate::threads::lock;

/// What a [`Destination`] may do and what it restores beside content, mode and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationOptions {
    /// Replace what is there and differs; otherwise it is an error of [`Kind::WouldOverwrite`].
    pub overwrite: bool,
    /// Restore owner and group by number.
    pub owners: bool,
    /// Restore extended attributes, POSIX ACLs among them.
    pub xattrs: bool,
    /// Make character and block devices, which needs root; otherwise each is a problem.
    pub devices: bool,
}

/// Owners and devices when the process is root's, attributes always, no overwriting.
impl Default for DestinationOptions {
    fn default() -> Self {
        let root = rustix::process::geteuid().is_root();
        Self { overwrite: false, owners: root, xattrs: true, devices: root }
    }
}

/// An open restore target. Cheap to clone; all clones are the same target.
#[derive(Clone)]
pub struct Destination {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) root: OwnedFd,
    options: DestinationOptions,
    /// User and group that own what this process makes.
    pub(super) owner: (u32, u32),
    pub(super) folders: FolderCache,
    pub(super) descent: Descent,
    problems: Mutex<Vec<(EntryPath, String)>>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("dir", &self.shared.dir).field("options", &self.options()).finish()
    }
}

pub(super) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Destination {
    /// Opens the folder `name` in `base`, which is there, and makes it where it is missing. `base` may be reached through
    /// links. A link or another thing with that name is never followed: with `replace` it makes room for a folder,
    /// otherwise it is refused.
    pub fn open_in(base: &Path, name: &str, replace: bool, options: DestinationOptions) -> Result<Self> {
        let dir = base.join(name);
        let parent = openat(CWD, base, FOLDER, Mode::empty()).at("cannot open the folder", base)?;
        let make = || mkdirat(&parent, name, Mode::RWXU);
        match make() {
            Err(Errno::EXIST) => {
                let is_folder = Stat::at(&parent, name).at("cannot stat", &dir)?.kind == FileKind::Dir;
                if !is_folder && !replace {
                    let message =
                        format!("a link or another thing stands where the folder {} should be", dir.display());
                    return Err(Error::new(Kind::WouldOverwrite, message).hint(Hint::OverwriteLink));
                }
                if !is_folder {
                    unlinkat(&parent, name, AtFlags::empty()).at("cannot replace", &dir)?;
                    make().at("cannot create the folder", &dir)?;
                }
            }
            made => made.at("cannot create the folder", &dir)?,
        }
        let root =
            openat(&parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).at("cannot open the folder", &dir)?;
        Ok(Self::at(dir, root, options))
    }

    /// Opens the folder `dir`, which is there and is no link.
    pub fn open(dir: &Path, options: DestinationOptions) -> Result<Self> {
        let root = openat(CWD, dir, FOLDER | OFlags::NOFOLLOW, Mode::empty()).at("cannot open the folder", dir)?;
        Ok(Self::at(dir.to_owned(), root, options))
    }

    /// Opens the folder `name` in `base` as [`Self::open_in`] does, but makes and replaces nothing: none when it is not
    /// there, or something else is.
    pub fn look_in(base: &Path, name: &str, options: DestinationOptions) -> Result<Option<Self>> {
        let dir = base.join(name);
        let opened = openat(CWD, base, FOLDER, Mode::empty())
            .and_then(|parent| openat(&parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()));
        match opened {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            opened => opened.at("cannot open the folder", &dir).map(|root| Some(Self::at(dir, root, options))),
        }
    }

    pub(super) fn at(dir: PathBuf, root: OwnedFd, options: DestinationOptions) -> Self {
        let shared = Shared {
            dir,
            root,
            options,
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            folders: FolderCache::default(),
            descent: Descent::default(),
            problems: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> Result<bool> {
        let failed = |e: Errno| Error::failed(format!("cannot list {}", self.shared.dir.display())).because(e);
        for item in Dir::read_from(&self.shared.root).map_err(failed)? {
            if !matches!(item.map_err(failed)?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> DestinationOptions {
        self.shared.options
    }

    /// What could not be restored though its content is there (owner, attribute, device, folder of another file
    /// system), since the last call.
    #[must_use]
    pub fn take_problems(&self) -> Vec<(EntryPath, String)> {
        std::mem::take(&mut *lock(&self.shared.problems))
    }

    /// Makes everything that was written durable, by one `syncfs` of the target's file system.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.shared.root).at("cannot sync the file system of", &self.shared.dir)
    }

    /// The folder that holds `path`, or an error that says what is wrong with it.
    pub(super) fn folder(&self, path: &EntryPath) -> Result<Arc<OpenFolder>> {
        self.try_folder(path).map_err(|errno| {
            let shown = self.shown(path);
            let error = match errno {
                Errno::NOENT => Error::failed(format!("the folder that should hold {shown} is not there")),
                Errno::LOOP | Errno::NOTDIR => Error::failed(format!(
                    "cannot restore {shown}: a symbolic link or another thing stands where one of its folders should be"
                ))
                .hint("nothing is written through links in a target; remove the link, or choose another target"),
                _ => Error::failed(format!("cannot open the folder that should hold {shown}")),
            };
            error.because(std::io::Error::from(errno))
        })
    }

    /// The folder that holds `path`.
    pub(super) fn try_folder(&self, path: &EntryPath) -> Result<Arc<OpenFolder>, Errno> {
        let parent = path.parent().unwrap_or_default();
        let cache = &self.shared.folders;
        if let Some(folder) = cache.get(parent) {
            return Ok(folder);
        }
        let folder = Arc::new(OpenFolder::new(self.reach(parent)?));
        cache.put(parent, &folder);
        Ok(folder)
    }

    /// Opens the folder at `path` for path operations; the empty path is the target itself.
    pub(super) fn reach(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.shared.descent.open(&self.shared.root, path)
    }

    pub(super) fn problem(&self, path: &EntryPath, text: impl Into<String>) {
        lock(&self.shared.problems).push((path.clone(), text.into()));
    }

    /// Notes a problem about a place that need not be a possible path of an entry.
    pub(super) fn problem_at(&self, path: &[u8], text: String) {
        let mut known = path;
        loop {
            if let Ok(path) = EntryPath::new(known) {
                return self.problem(&path, text);
            }
            let Some(at) = known.iter().rposition(|&b| b == b'/') else { return };
            known = &known[..at];
        }
    }

    /// Notes that something stays.
    pub(super) fn left(&self, path: &[u8], what: &str, errno: Errno) {
        self.problem_at(path, format!("{what}: {}", std::io::Error::from(errno)));
    }

    /// The place of an entry as a person reads it.
    pub(super) fn shown(&self, path: &EntryPath) -> String {
        format!("{}/{path}", self.shared.dir.display())
    }

    pub(super) fn failed(&self, what: &str, path: &EntryPath, cause: impl Into<std::io::Error>) -> Error {
        Error::failed(format!("cannot {what} {}", self.shown(path))).because(cause.into())
    }

    pub(super) fn would_overwrite(&self, path: &EntryPath) -> Error {
        let message = format!("{} is there already and differs from the backup", self.shown(path));
        Error::new(Kind::WouldOverwrite, message).hint(Hint::OverwriteWhatDiffers)
    }
}
