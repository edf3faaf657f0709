//! Folders that can be opened at any time, while only a few of them are open.
//!
//! A folder knows its parent, its name there and its identity (device and inode). Its descriptor is closed when too
//! many others were opened since, and comes back by going down from the nearest open parent, without following links,
//! comparing the identity at each step. So neither depth nor the number of entries in flight needs descriptors.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::descend::{FOLDER, open_to_read, step};
use super::stat::{Stat, identity};
use crate::model::ProblemKind;
use crate::threads::lock;

/// Folders that are kept open for a walk.
const MAX_OPEN: usize = 64;

/// Something else stands where the file was.
#[derive(Debug)]
struct Replaced;

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("replaced by something else meanwhile")
    }
}

impl std::error::Error for Replaced {}

pub(super) fn replaced() -> io::Error {
    io::Error::other(Replaced)
}

/// What a failure to open or read a file that was found is as a problem.
#[must_use]
pub fn problem_kind(error: &io::Error) -> ProblemKind {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Replaced>)
        || matches!(errno, Some(Errno::LOOP | Errno::NOTDIR | Errno::STALE))
        || error.kind() == io::ErrorKind::NotFound
    {
        ProblemKind::Vanished
    } else if error.kind() == io::ErrorKind::Unsupported {
        ProblemKind::Unsupported
    } else {
        ProblemKind::Unreadable
    }
}

/// The folders of a walk that are open, oldest first.
#[derive(Debug, Default)]
pub(super) struct OpenFolders(Mutex<VecDeque<Weak<Folder>>>);

impl OpenFolders {
    fn push(&self, folder: &Arc<Folder>) {
        let oldest = {
            let mut queue = lock(&self.0);
            queue.push_back(Arc::downgrade(folder));
            if queue.len() > MAX_OPEN { queue.pop_front() } else { None }
        };
        if let Some(oldest) = oldest.and_then(|weak| weak.upgrade()) {
            *lock(&oldest.open) = None;
        }
    }

    fn close_all(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        all.iter().filter_map(Weak::upgrade).for_each(|folder| *lock(&folder.open) = None);
    }
}

/// A folder on the way.
#[derive(Debug)]
pub(super) struct Folder {
    approach: Approach,
    identity: (u64, u64),
    /// Device of the root it belongs to.
    pub(super) root_device: u64,
    /// Length of its entry path in bytes; 0 for an anchor.
    pub(super) path_bytes: usize,
    open: Mutex<Option<Arc<OwnedFd>>>,
    others: Arc<OpenFolders>,
}

/// How a folder is reached.
#[derive(Debug)]
enum Approach {
    /// The folder that holds a root: no entry itself, reached by its absolute path.
    Anchor(PathBuf),
    /// Any other. A root has a name in entry paths that may differ from the one in its anchor.
    Inside { parent: Arc<Folder>, name: CString, shown: Option<Box<[u8]>> },
}

impl Folder {
    /// Opens the folder that holds a root.
    pub(super) fn anchor(path: PathBuf, others: Arc<OpenFolders>) -> io::Result<Arc<Self>> {
        let fd = open_anchor(&path)?;
        let identity = identity(&fd)?;
        let folder = Arc::new(Self {
            approach: Approach::Anchor(path),
            identity,
            root_device: identity.0,
            path_bytes: 0,
            open: Mutex::new(None),
            others,
        });
        folder.keep(Arc::new(fd));
        Ok(folder)
    }

    /// A root called `name` in its anchor and `shown` in entry paths.
    pub(super) fn root(anchor: &Arc<Self>, name: &CStr, shown: &[u8], stat: &Stat) -> Arc<Self> {
        anchor.inner(name, Some(shown.into()), stat)
    }

    /// A folder inside this one.
    pub(super) fn child(self: &Arc<Self>, name: &CStr, stat: &Stat) -> Arc<Self> {
        self.inner(name, None, stat)
    }

    fn inner(self: &Arc<Self>, name: &CStr, shown: Option<Box<[u8]>>, stat: &Stat) -> Arc<Self> {
        let (root_device, path_bytes) = match &shown {
            Some(shown) => (stat.device, shown.len()),
            None => (self.root_device, self.path_bytes + 1 + name.count_bytes()),
        };
        let approach = Approach::Inside { parent: Arc::clone(self), name: name.to_owned(), shown };
        let (identity, others) = (stat.identity(), Arc::clone(&self.others));
        Arc::new(Self { approach, identity, root_device, path_bytes, open: Mutex::new(None), others })
    }

    /// Its entry path with a `/` after it; empty for an anchor.
    pub(super) fn path_prefix(&self) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = self;
        while let Approach::Inside { parent, name, shown } = &at.approach {
            names.push(shown.as_deref().unwrap_or(name.to_bytes()));
            at = parent;
        }
        let mut path = Vec::with_capacity(self.path_bytes + 1);
        for name in names.iter().rev() {
            path.extend_from_slice(name);
            path.push(b'/');
        }
        path
    }

    fn keep(self: &Arc<Self>, fd: Arc<OwnedFd>) {
        *lock(&self.open) = Some(fd);
        self.others.push(self);
    }

    /// A descriptor for reaching what is inside; it may have been opened with `O_PATH`.
    pub(super) fn handle(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut at = self;
        let mut fd = loop {
            if let Some(fd) = lock(&at.open).clone() {
                break fd;
            }
            match &at.approach {
                Approach::Anchor(path) => {
                    let fd = self.with_descriptors(|| open_anchor(path))?;
                    break at.checked(fd)?;
                }
                Approach::Inside { parent, name, .. } => {
                    closed.push((at, name));
                    at = parent;
                }
            }
        };
        while let Some((folder, name)) = closed.pop() {
            let opened = self.with_descriptors(|| step(&fd, name))?;
            fd = folder.checked(opened)?;
        }
        Ok(fd)
    }

    /// A descriptor from whose start the names can be read; later calls of [`Folder::handle`] use it too.
    pub(super) fn open_to_list(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        let Approach::Inside { parent, name, .. } = &self.approach else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let fd = self.open_inside(&parent.handle()?, name, OFlags::DIRECTORY)?;
        self.checked(fd)
    }

    /// Opens `name` for reading as [`open_to_read`] does, without touching its access time.
    pub(super) fn open_inside(&self, fd: impl AsFd, name: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(self.with_descriptors(|| open_to_read(&fd, name, flags | OFlags::NOATIME))?)
    }

    /// Makes room once when there are no descriptors left.
    fn with_descriptors(&self, open: impl Fn() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.others.close_all();
                open()
            }
            other => other,
        }
    }

    fn checked(self: &Arc<Self>, fd: OwnedFd) -> io::Result<Arc<OwnedFd>> {
        if identity(&fd)? != self.identity {
            return Err(replaced());
        }
        let fd = Arc::new(fd);
        self.keep(Arc::clone(&fd));
        Ok(fd)
    }
}

/// Opens the folder of a root, whose path may lead through links.
fn open_anchor(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::io::retry_on_intr(|| openat(CWD, path, FOLDER - OFlags::NOFOLLOW, Mode::empty()))
}

/// A long chain of parents must not be dropped by recursion.
impl Drop for Folder {
    fn drop(&mut self) {
        let mut approach = std::mem::replace(&mut self.approach, Approach::Anchor(PathBuf::new()));
        while let Approach::Inside { parent, .. } = approach {
            let Some(mut folder) = Arc::into_inner(parent) else { break };
            approach = std::mem::replace(&mut folder.approach, Approach::Anchor(PathBuf::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_a_hundred_thousand_folders_is_dropped_without_recursion() {
        let anchor = Folder::anchor(PathBuf::from("/"), Arc::default()).unwrap();
        let stat = Stat::at(anchor.handle().unwrap(), c".").unwrap();
        let mut folder = Folder::root(&anchor, c".", b"root", &stat);
        for _ in 0..100_000 {
            folder = folder.child(c"d", &stat);
        }
        assert_eq!(folder.path_bytes, 4 + 2 * 100_000);
        assert_eq!(folder.path_prefix().len(), folder.path_bytes + 1);
        drop(folder);
    }

    #[test]
    fn a_folder_is_opened_again_only_as_the_same_one() {
        let dir = tempfile::TempDir::new().unwrap();
        for i in 0..=MAX_OPEN {
            std::fs::create_dir(dir.path().join(i.to_string())).unwrap();
        }
        let anchor = Folder::anchor(dir.path().to_owned(), Arc::default()).unwrap();
        let open = |i: usize| {
            let name = CString::new(i.to_string()).unwrap();
            let stat = Stat::at(anchor.handle().unwrap(), name.as_c_str()).unwrap();
            let folder = Folder::root(&anchor, &name, name.to_bytes(), &stat);
            folder.open_to_list().unwrap();
            folder
        };
        let first = open(0);
        let rest: Vec<_> = (1..=MAX_OPEN).map(open).collect();
        assert!(lock(&first.open).is_none(), "closed in favour of the others");
        assert!(rest.iter().filter(|f| lock(&f.open).is_some()).count() >= MAX_OPEN - 1);
        first.handle().unwrap();
        anchor.others.close_all();
        std::fs::remove_dir(dir.path().join("0")).unwrap();
        std::os::unix::fs::symlink("1", dir.path().join("0")).unwrap();
        assert_eq!(problem_kind(&first.handle().unwrap_err()), ProblemKind::Vanished);
        std::fs::remove_file(dir.path().join("0")).unwrap();
        // A new folder may get the inode of the old one, so an older one takes its place.
        assert!(std::process::Command::new("mv").arg(dir.path().join("1")).arg(dir.path().join("0")).status().is_ok());
        assert_eq!(problem_kind(&first.handle().unwrap_err()), ProblemKind::Vanished);
        rest[5].handle().unwrap();
    }
}
