//! The one door to files that must survive: staged, synced, renamed, and the folder synced too.
//!
//! A rename makes a file visible but not durable; only fsync of the file before it and of the folder after it does. A
//! failed fsync is final: the kernel may have dropped the pages, so nothing here tries it again.
//!
//! Every change passes [`Faults`], so that tests can let a run die at each single step and check what is left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::page_cache::Trail;

/// A change that is about to be made to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskChange {
    /// A folder is made.
    MakeDir,
    /// A file is made.
    MakeFile,
    /// Bytes are written; their number.
    Write(usize),
    /// A file is synced.
    SyncFile,
    /// A folder is synced.
    SyncDir,
    /// A file, folder or link takes its final name.
    Rename,
    /// A link is made.
    Symlink,
    /// A file or folder is removed.
    Remove,
}

/// Looks at every change before it happens and may forbid it.
pub trait Faults: Send + Sync + std::fmt::Debug {
    /// An error stops the change. For [`DiskChange::Write`] the number says how many of the bytes still reach the file
    /// before the error strikes.
    fn before(&self, change: DiskChange, path: &Path) -> std::result::Result<(), (usize, io::Error)>;
}

/// The door. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

impl Disk {
    /// A disk whose changes pass `faults` first.
    #[must_use]
    pub fn with_faults(faults: Arc<dyn Faults>) -> Self {
        Self { faults: Some(faults) }
    }

    fn before(&self, change: DiskChange, path: &Path) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |f| f.before(change, path).map_err(|(_, e)| e))
    }

    /// Makes one folder, mode 0700; it must not exist.
    pub fn make_dir(&self, path: &Path) -> Result<()> {
        self.before(DiskChange::MakeDir, path)
            .and_then(|()| fs::DirBuilder::new().mode(0o700).create(path))
            .at("cannot make the folder", path)
    }

    /// Makes a folder and its parents where they are missing.
    pub fn make_dirs(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        // Every one of them must survive, or the last cannot be found.
        let missing: Vec<_> = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
        self.before(DiskChange::MakeDir, path)
            .and_then(|()| fs::DirBuilder::new().mode(0o700).recursive(true).create(path))
            .at("cannot make the folder", path)?;
        missing.into_iter().rev().try_for_each(|made| self.sync_parent(made))
    }

    /// Makes a new file, mode 0600; it must not exist.
    pub fn create(&self, path: &Path) -> Result<DurableFile> {
        self.before(DiskChange::MakeFile, path)
            .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
            .at("cannot make the file", path)
            .map(|file| DurableFile {
                file,
                path: path.to_owned(),
                disk: self.clone(),
                written: 0,
                trail: Trail::default(),
            })
    }

    /// Writes a whole file under a temporary name, syncs it and gives it its name, over whatever had that name.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let staged = staged_name(path)?;
        self.remove_file_if_there(&staged)?;
        let mut file = self.create(&staged)?;
        file.write_all(bytes).at("cannot write", &staged)?;
        file.finish()?;
        self.put_in_place(&staged, path)
    }

    /// Gives `staged` the name `path`, over whatever had it, and syncs their folder.
    pub fn put_in_place(&self, staged: &Path, path: &Path) -> Result<()> {
        self.before(DiskChange::Rename, path)
            .and_then(|()| rustix::fs::renameat(CWD, staged, CWD, path).map_err(io::Error::from))
            .at("cannot put in place", path)?;
        self.sync_parent(path)
    }

    /// Writes a new file and syncs it; the folder is synced by its publication.
    pub fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(path)?;
        file.write_all(bytes).at("cannot write", path)?;
        file.finish()
    }

    /// Gives `from` the name `to`, which must be free, and syncs the folder of `to`.
    pub fn publish(&self, from: &Path, to: &Path) -> Result<()> {
        self.before(DiskChange::Rename, to).at("cannot publish", to)?;
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // Some network and FUSE file systems do not know the flag; the repository's lock keeps others away.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                if to.symlink_metadata().is_ok() {
                    return Err(Error::new(Kind::WouldOverwrite, format!("{} is already there", to.display())));
                }
                rustix::fs::renameat(CWD, from, CWD, to).map_err(io::Error::from).at("cannot publish", to)?;
            }
            Err(e) => return Err(Error::failed(format!("cannot publish {}", to.display())).because(io::Error::from(e))),
        }
        self.sync_parent(to)
    }

    /// Swaps two names in one step and syncs their folders. Where the file system cannot do that, the error is one of
    /// [`io::ErrorKind::Unsupported`] and nothing was changed.
    pub fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.before(DiskChange::Rename, b)?;
        match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            swapped => swapped?,
        }
        let sync = |path| self.before(DiskChange::SyncDir, path).and_then(|()| File::open(path)?.sync_all());
        sync(parent(a)).and_then(|()| sync(parent(b)))
    }

    /// Gives a file a second name, which must be free, and syncs the folder of that.
    pub fn link(&self, file: &Path, name: &Path) -> Result<()> {
        self.before(DiskChange::Rename, name)
            .and_then(|()| fs::hard_link(file, name))
            .at("cannot make the name", name)?;
        self.sync_parent(name)
    }

    /// Points the link `path` at `target`, replacing an earlier link in one step.
    pub fn replace_symlink(&self, path: &Path, target: &str) -> Result<()> {
        let staged = staged_name(path)?;
        self.remove_file_if_there(&staged)?;
        self.before(DiskChange::Symlink, path)
            .and_then(|()| std::os::unix::fs::symlink(target, &staged))
            .at("cannot make the link", &staged)?;
        self.put_in_place(&staged, path)
    }

    /// Syncs a folder.
    pub fn sync_dir(&self, path: &Path) -> Result<()> {
        self.before(DiskChange::SyncDir, path)
            .and_then(|()| File::open(path))
            .and_then(|dir| dir.sync_all())
            .at("cannot sync the folder", path)
    }

    fn sync_parent(&self, path: &Path) -> Result<()> {
        self.sync_dir(parent(path))
    }

    /// Removes a file or link; a missing one is fine.
    pub fn remove_file_if_there(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        self.before(DiskChange::Remove, path).and_then(|()| fs::remove_file(path)).at("cannot remove", path)
    }

    /// Removes a folder of ours with all it holds; links inside are removed, not followed.
    pub fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.before(DiskChange::Remove, path).and_then(|()| fs::remove_dir_all(path)).at("cannot remove", path)?;
        self.sync_parent(path)
    }
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `.staged-NAME` beside `path`; names that start so are never looked at as data.
fn staged_name(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::failed(format!("{} has no file name", path.display())))?;
    let mut staged = std::ffi::OsString::from(".staged-");
    staged.push(name);
    Ok(path.with_file_name(staged))
}

/// A new file that is synced by [`finish`](Self::finish).
#[derive(Debug)]
#[must_use = "without finish() the file is not synced"]
pub struct DurableFile {
    file: File,
    path: PathBuf,
    disk: Disk,
    written: u64,
    trail: Trail,
}

impl DurableFile {
    /// Syncs and closes.
    pub fn finish(self) -> Result<()> {
        self.disk
            .before(DiskChange::SyncFile, &self.path)
            .and_then(|()| self.file.sync_all())
            .at("cannot sync", &self.path)
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(faults) = &self.disk.faults
            && let Err((reach, error)) = faults.before(DiskChange::Write(bytes.len()), &self.path)
        {
            self.file.write_all(&bytes[..reach.min(bytes.len())])?;
            return Err(error);
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        self.trail.written_to(&self.file, self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<(DiskChange, String)>>);

    impl Faults for Log {
        fn before(&self, change: DiskChange, path: &Path) -> std::result::Result<(), (usize, io::Error)> {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.0.lock().unwrap().push((change, name));
            Ok(())
        }
    }

    #[test]
    fn a_replaced_file_is_synced_before_and_its_folder_after_the_rename() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::default());
        let disk = Disk::with_faults(log.clone());
        disk.replace(&dir.path().join("f"), b"x").unwrap();
        let folder = dir.path().file_name().unwrap().to_string_lossy().into_owned();
        let seen = log.0.lock().unwrap().clone();
        let expected = [
            (DiskChange::MakeFile, ".staged-f".to_owned()),
            (DiskChange::Write(1), ".staged-f".to_owned()),
            (DiskChange::SyncFile, ".staged-f".to_owned()),
            (DiskChange::Rename, "f".to_owned()),
            (DiskChange::SyncDir, folder),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn publishing_over_something_is_refused_and_harms_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.write_new(&dir.path().join("old"), b"old").unwrap();
        disk.write_new(&dir.path().join("new"), b"new").unwrap();
        assert!(disk.publish(&dir.path().join("new"), &dir.path().join("old")).is_err());
        assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"old");
    }
}
