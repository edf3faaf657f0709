//! Compares what is in the target with an entry, so that only what differs is written, and corrects its metadata.

use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, readlinkat, seek};
use rustix::io::Errno;

use super::handle::Handle;
use super::layout::Layout;
use super::metadata::is_of_kind;
use super::pending::PendingFile;
use super::root::Destination;
use crate::error::Result;
use crate::model::{Digest, Entry, EntryKind, EntryPath, Hasher};
use crate::source::files::stat::{FileKind, Stat};

const BUFFER_BYTES: usize = 1 << 20;

/// What is at the place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing, or not even the folder for it.
    Absent,
    /// The same thing, not a regular file, with the same metadata.
    Same,
    /// A regular file of the same size; its content must be compared.
    SameShape(FileState),
    /// Something else; also a folder, link, pipe or device that differs in its metadata only.
    Other,
}

/// A regular file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Mode, owner, time and attributes are those of the entry, as far as the options restore them.
    pub metadata_equal: bool,
}

impl Destination {
    /// What is at the entry's place now. Content of files is compared by size only.
    pub fn existing(&self, entry: &Entry) -> Result<Existing> {
        let found = self.find(&entry.path).map_err(|e| self.failed("stat", &entry.path, e))?;
        let Some((handle, stat)) = found else { return Ok(Existing::Absent) };
        if let EntryKind::Hardlink { target } = &entry.kind {
            let first = self.try_folder(target).and_then(|folder| Stat::at(&folder.fd, target.name()));
            let same = first.is_ok_and(|first| first.identity() == stat.identity());
            return Ok(if same { Existing::Same } else { Existing::Other });
        }
        if !is_of_kind(entry, &stat) {
            return Ok(Existing::Other);
        }
        let metadata_equal = self.has_metadata(&handle, entry, &stat);
        let same = match &entry.kind {
            EntryKind::File { size, .. } => {
                let same = Existing::SameShape(FileState { metadata_equal });
                return Ok(if *size == stat.size { same } else { Existing::Other });
            }
            EntryKind::Symlink { target } => {
                readlinkat(&handle.fd, c"", Vec::new()).is_ok_and(|text| text.as_bytes() == &**target)
            }
            _ => true,
        };
        Ok(if same && metadata_equal { Existing::Same } else { Existing::Other })
    }

    /// What has this path now; none when nothing has, or there is not even the folder for it.
    fn find(&self, path: &EntryPath) -> Result<Option<(Handle, Stat)>, Errno> {
        match self.try_folder(path).and_then(|folder| Handle::open(&folder.fd, path.name())) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Corrects the metadata of an entry whose content is right. Needs `overwrite` where something differs.
    ///
    /// A file with several names could have one outside of the target, so its inode is left alone: it is replaced by a
    /// copy, which fails when the content is not that of the entry. Links of the same backup must be made again then,
    /// which [`Self::existing`] tells.
    pub fn fix_metadata(&self, entry: &Entry) -> Result<()> {
        match entry.kind {
            EntryKind::Dir => return self.finish_dir(entry),
            // They share the metadata of their first name.
            EntryKind::Hardlink { .. } => return Ok(()),
            _ => {}
        }
        let (handle, stat) = self.hold(entry)?;
        if self.has_metadata(&handle, entry, &stat) {
            return Ok(());
        }
        if !self.options().overwrite {
            return Err(self.would_overwrite(&entry.path));
        }
        if stat.nlink <= 1 {
            return self.apply(&handle, entry, false);
        }
        match entry.kind {
            EntryKind::File { sha256, .. } => {
                let (pending, hasher) = self.copy(&handle, entry)?;
                if hasher.finish() != sha256 {
                    pending.discard();
                    return Err(self.replaced(entry));
                }
                pending.commit()
            }
            EntryKind::Symlink { .. } => self.make_symlink(entry),
            _ => self.make_node(entry).map(drop),
        }
    }

    fn copy<'a>(&'a self, source: &Handle, entry: &'a Entry) -> Result<(PendingFile<'a>, Hasher)> {
        let layout = Layout::of(entry)?;
        let pending = self.begin_file(entry)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        for run in &layout.runs {
            let (mut stored, mut written) = (run.stored, Ok(()));
            let complete = read(source, run.offset, run.offset + run.length, &mut buffer, |part| {
                hasher.update(part);
                written = pending.write_at(stored, part);
                stored += part.len() as u64;
                written.is_ok()
            });
            let complete = complete.map_err(|e| self.failed("read", &entry.path, e))?;
            written?;
            if !complete {
                return Err(self.replaced(entry));
            }
        }
        Ok((pending, hasher))
    }

    /// Digest of the stored bytes of the file at the entry's place, as `EntryKind::File` defines it: of a sparse file
    /// only its regions count. None when that says nothing about the file: it vanished, is no regular file of this
    /// size any more, cannot be read, or holds something else than zeros where the entry has holes.
    pub fn hash_existing(&self, entry: &Entry) -> Result<Option<Digest>> {
        let layout = Layout::of(entry)?;
        let found = self.find(&entry.path).map_err(|e| self.failed("open", &entry.path, e))?;
        let Some((handle, stat)) = found else { return Ok(None) };
        if stat.kind != FileKind::File || stat.size != layout.size || !handle.is_readable() {
            return Ok(None);
        }
        hash(&handle, &layout).map_err(|e| self.failed("read", &entry.path, e))
    }
}

fn hash(handle: &Handle, layout: &Layout) -> io::Result<Option<Digest>> {
    let mut buffer = vec![0; usize::try_from(layout.size).unwrap_or(usize::MAX).clamp(1, BUFFER_BYTES)];
    let mut hasher = Hasher::default();
    let mut end = 0;
    for run in &layout.runs {
        if !is_zero(handle, end, run.offset, &mut buffer)? {
            return Ok(None);
        }
        end = run.offset + run.length;
        let complete = read(handle, run.offset, end, &mut buffer, |part| {
            hasher.update(part);
            true
        })?;
        if !complete {
            return Ok(None);
        }
    }
    Ok(if is_zero(handle, end, layout.size, &mut buffer)? { Some(hasher.finish()) } else { None })
}

/// Hands the bytes from `start` to `end` to `take` until it says no; false when it did or the file is shorter.
fn read(
    handle: &Handle,
    mut start: u64,
    end: u64,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    while start < end {
        let length = usize::try_from(end - start).unwrap_or(usize::MAX).min(buffer.len());
        let part = &mut buffer[..length];
        match handle.fd.read_exact_at(part, start) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result?,
        }
        if !take(part) {
            return Ok(false);
        }
        start += length as u64;
    }
    Ok(true)
}

/// Whether a range holds zeros only; holes are not read.
fn is_zero(handle: &Handle, mut start: u64, end: u64, buffer: &mut [u8]) -> io::Result<bool> {
    while start < end {
        let data = match seek(&handle.fd, SeekFrom::Data(start)) {
            // Nothing but a hole up to the end of the file.
            Err(Errno::NXIO) => return Ok(true),
            data => data?.max(start),
        };
        if data >= end {
            return Ok(true);
        }
        let stop = seek(&handle.fd, SeekFrom::Hole(data))?.min(end);
        if stop <= data || !read(handle, data, stop, buffer, |part| part.iter().all(|&b| b == 0))? {
            return Ok(false);
        }
        start = stop;
    }
    Ok(true)
}
