//! A large file that is written piece by piece under another name and renamed when it is complete.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::folders::OpenFolder;
use super::handle::Handle;
use super::layout::Layout;
use super::root::Destination;
use crate::error::{Error, Result};
use crate::model::Entry;
use crate::source::files::stat::Stat;

const PREFIX: &[u8] = b".ccbackup-";
const SUFFIX: &[u8] = b".part";

/// Whether a file name (without folders) is one that a cut-short restore leaves.
#[must_use]
pub fn is_part_name(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
}

/// A new name that nobody can foresee.
pub(super) fn part_name() -> Result<Vec<u8>> {
    let random = getrandom::u64().map_err(|e| Error::failed("cannot get random bytes from the system").because(e))?;
    Ok([PREFIX, format!("{random:016x}").as_bytes(), SUFFIX].concat())
}

/// Creates a file that did not exist, open for writing.
pub(super) fn create(folder: &OpenFolder, name: &[u8], mode: Mode) -> Result<Handle, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&folder.fd, name, flags, mode).map(Handle::opened)
}

/// A file that is being written. Pieces may come in any order and from several threads.
pub struct PendingFile<'a> {
    target: &'a Destination,
    folder: Arc<OpenFolder>,
    entry: &'a Entry,
    layout: Layout,
    handle: Handle,
    name: Vec<u8>,
    written: AtomicU64,
    done: bool,
}

impl fmt::Debug for PendingFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingFile").field("path", &self.entry.path).field("written", &self.written).finish()
    }
}

impl Destination {
    /// Begins a regular file of any size. Nothing has its name until [`PendingFile::commit`].
    pub fn begin_file<'a>(&'a self, entry: &'a Entry) -> Result<PendingFile<'a>> {
        let layout = Layout::of(entry)?;
        let folder = self.folder(&entry.path)?;
        if !self.options().overwrite && Stat::at(&folder.fd, entry.path.name()).is_ok() {
            return Err(self.would_overwrite(&entry.path));
        }
        let name = part_name()?;
        let handle = create(&folder, &name, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.failed("make a file beside", &entry.path, e))?;
        Ok(PendingFile { target: self, entry, layout, handle, name, written: AtomicU64::new(0), done: false, folder })
    }

    /// Gives something that was made under `temporary` its name; with `overwrite` in place of what has it.
    pub(super) fn place(&self, folder: &OpenFolder, temporary: &[u8], entry: &Entry) -> Result<()> {
        let (fd, name) = (&folder.fd, entry.path.name());
        let failed = |errno| self.failed("rename a finished file to", &entry.path, errno);
        if !self.options().overwrite {
            match renameat_with(fd, temporary, fd, name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => return Err(self.would_overwrite(&entry.path)),
                // A file system that cannot promise it.
                Err(Errno::INVAL | Errno::NOSYS) if Stat::at(fd, name).is_err() => {}
                Err(Errno::INVAL | Errno::NOSYS) => return Err(self.would_overwrite(&entry.path)),
                result => return result.map_err(failed),
            }
        }
        match renameat(fd, temporary, fd, name) {
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                self.remove_folder(folder, entry)?;
                renameat(fd, temporary, fd, name).map_err(failed)
            }
            result => result.map_err(failed),
        }
    }
}

impl PendingFile<'_> {
    /// Writes bytes that start at `stored_offset` of the stored bytes; of a sparse file they go into its regions.
    /// Every byte must be written once.
    pub fn write_at(&self, stored_offset: u64, bytes: &[u8]) -> Result<()> {
        let end = stored_offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.layout.stored) {
            let (length, stored, path) = (bytes.len(), self.layout.stored, &self.entry.path);
            let fault = format!("{length} bytes at {stored_offset} lie after the {stored} stored bytes of {path}");
            return Err(Error::damage(fault));
        }
        self.layout
            .write(&self.handle.fd, stored_offset, bytes)
            .map_err(|e| self.target.failed("write", &self.entry.path, e))?;
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Sets size and metadata and gives the file its name. Nothing is left of it when that fails.
    pub fn commit(mut self) -> Result<()> {
        let (written, stored, path) = (self.written.load(Ordering::Relaxed), self.layout.stored, &self.entry.path);
        if written != stored {
            return Err(Error::failed(format!("only {written} of the {stored} stored bytes of {path} were written")));
        }
        let (target, entry) = (self.target, self.entry);
        self.layout.set_size(&self.handle.fd).map_err(|e| target.failed("set the size of", &entry.path, e))?;
        target.apply(&self.handle, entry, !self.folder.default_acl)?;
        target.place(&self.folder, &self.name, entry)?;
        self.done = true;
        Ok(())
    }

    /// Removes what was written.
    pub fn discard(self) {
        drop(self);
    }
}

/// Without this a failed restore would leave its largest files twice.
impl Drop for PendingFile<'_> {
    fn drop(&mut self) {
        if !self.done {
            unlinkat(&self.folder.fd, &*self.name, AtFlags::empty()).ok();
        }
    }
}
