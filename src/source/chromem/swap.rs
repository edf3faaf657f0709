//! Puts a folder in the place of another, and back.
//!
//! Both lie in the same folder, so each step is one rename, and where the file system can swap two names the place is never
//! empty. What is noted beforehand tells an undo which folder is which: the
//! one that was put in is known by its inode, so a store that somebody made since is never taken for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::Disk;
use crate::error::{Context as _, Error, Result, path_text};
use crate::model::Moment;
use crate::source::{UndoLog, UndoStep};

/// What an undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Swap {
    /// The place.
    path: PathBuf,
    /// Where the old folder is put; none if there is none.
    kept: Option<PathBuf>,
    /// Where the new one was made.
    staged: PathBuf,
    /// Device and inode of the new one.
    identity: (u64, u64),
}

/// The folder itself, where the path leads over links.
pub(super) fn real(path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => Ok(path.to_owned()),
        real => real.at("cannot find", path),
    }
}

/// Where a folder is made that is to take the place of another.
pub(super) fn staged_beside(path: &Path) -> Result<PathBuf> {
    beside(path, "staged")
}

fn beside(path: &Path, what: &str) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::failed(format!("{} has no name", path_text(path))))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".ccbackup-{what}"));
    Ok(path.with_file_name(hidden))
}

/// Syncs all that was written to the file system of a folder.
pub(super) fn sync_all(folder: &Path) -> Result<()> {
    let open = fs::File::open(folder).at("cannot open the folder", folder)?;
    rustix::fs::syncfs(open).at("cannot sync", folder)
}

/// Puts `staged` in the place of `path`. The old folder stays beside it until the run is undone or forgotten.
pub(super) fn swap_in(path: &Path, staged: &Path, now: Moment, undo: &mut UndoLog) -> Result<()> {
    let exists = path.symlink_metadata().is_ok();
    let kept = if exists { Some(free_name(path, now)?) } else { None };
    let swap = Swap {
        path: path.to_owned(),
        kept: kept.clone(),
        staged: staged.to_owned(),
        identity: identity(staged)?.unwrap_or_default(),
    };
    let note = serde_json::to_value(&swap);
    undo.note(note.map_err(|e| Error::failed(format!("cannot note {}", path_text(path))).because(e))?)?;
    let disk = undo.disk();
    let Some(kept) = &kept else { return disk.publish(staged, path) };
    // The new one takes the name of the old one first, so that the place is never empty.
    disk.publish(staged, kept)?;
    let swapped = match disk.exchange(kept, path) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            disk.publish(kept, staged)?;
            disk.publish(path, kept).and_then(|()| disk.publish(staged, path))
        }
        swapped => swapped.at("cannot put in place", path),
    };
    swapped.map_err(|e| {
        if e.errno() == Some(rustix::io::Errno::BUSY) {
            e.hint("a mounted folder cannot be replaced: keep the store in a folder below it")
        } else {
            e
        }
    })
}

/// A name beside `path` that nobody has.
fn free_name(path: &Path, now: Moment) -> Result<PathBuf> {
    for number in 0..1000 {
        let name = beside(path, &format!("before-{}-{number}", now.unix_seconds()))?;
        if name.symlink_metadata().is_err() {
            return Ok(name);
        }
    }
    Err(Error::failed(format!("there are too many old folders beside {}", path_text(path))))
}

/// Puts the old folder back; does nothing where that was done already, or never came to it.
pub(super) fn undo(step: &UndoStep) -> Result<()> {
    let swap = read(step)?;
    let disk = Disk::default();
    if let Some(kept) = &swap.kept {
        match identity(kept)? {
            // The old folder never left its place, or is there again.
            None => return remove(&disk, &swap.staged),
            Some(there) if there == swap.identity => {
                remove(&disk, kept)?;
                return remove(&disk, &swap.staged);
            }
            Some(_) => {}
        }
    }
    match identity(&swap.path)? {
        None => {}
        Some(there) if there == swap.identity => {
            remove(&disk, &swap.staged)?;
            if let Some(kept) = &swap.kept {
                match disk.exchange(kept, &swap.path) {
                    Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                    swapped => {
                        swapped.at("cannot put in place", &swap.path)?;
                        return remove(&disk, kept);
                    }
                }
            }
            disk.publish(&swap.path, &swap.staged)?;
        }
        // Made by somebody else since.
        Some(_) if swap.kept.is_none() => return remove(&disk, &swap.staged),
        Some(_) => {
            return Err(Error::failed(format!("{} is not the folder that was restored", path_text(&swap.path)))
                .hint("somebody replaced it since; move it away to get back what was there before"));
        }
    }
    if let Some(kept) = &swap.kept {
        disk.publish(kept, &swap.path)?;
    }
    remove(&disk, &swap.staged)
}

/// Removes the old folder.
pub(super) fn forget(step: &UndoStep) -> Result<()> {
    let swap = read(step)?;
    let disk = Disk::default();
    if identity(&swap.path)?.is_none() {
        // The swap was cut short, and this may be all there is.
        return Ok(());
    }
    swap.kept.iter().try_for_each(|kept| remove(&disk, kept))?;
    remove(&disk, &swap.staged)
}

fn read(step: &UndoStep) -> Result<Swap> {
    serde_json::from_value(step.clone()).map_err(|e| Error::failed("a step of the run cannot be read").because(e))
}

fn remove(disk: &Disk, folder: &Path) -> Result<()> {
    if identity(folder)?.is_some() { disk.remove_dir_all(folder) } else { Ok(()) }
}

/// Device and inode; none if there is nothing.
fn identity(path: &Path) -> Result<Option<(u64, u64)>> {
    match path.symlink_metadata() {
        Ok(data) => Ok(Some((data.dev(), data.ino()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("cannot stat", path),
    }
}
