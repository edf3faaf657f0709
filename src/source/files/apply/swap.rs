//! The renames of an apply, and the way back.
//!
//! Invariant: at every moment the path of a root holds the old tree whole or the new one whole, and which of the two lies where
//! is told by their inodes, which were noted before the first rename.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mounts;
use crate::durable::Disk;
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::source::{UndoLog, UndoStep, path_in_step, path_of_step};

/// How names of our own begin beside a root.
const OURS: &str = ".ccbackup-";

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// What is noted before it is done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub(super) enum Step {
    /// A folder of ours in which trees are restored.
    Staged { folder: String },
    /// A root that was not there.
    Made { root: String, new: Identity },
    /// A root that is swapped with the new one, which then is `kept`; `aside` is used where names cannot be swapped at once.
    Swapped { root: String, kept: String, aside: String, old: Identity, new: Identity },
}

impl Step {
    pub(super) fn to_note(&self) -> Result<UndoStep> {
        serde_json::to_value(self).map_err(|e| Error::failed("a step of the apply cannot be noted").because(e))
    }

    fn read(note: &UndoStep) -> Result<Self> {
        serde_json::from_value(note.clone()).map_err(|e| Error::failed("a note of the apply cannot be read").because(e))
    }
}

/// Which file has the name; none when nothing has.
pub(super) fn identity(path: &Path) -> Result<Option<Identity>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("cannot stat", path),
    }
}

/// `.ccbackup-WORD-NAME` beside a root.
pub(super) fn beside(path: &Path, word: &str) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::failed(format!("{} has no name", path_text(path))))?;
    let mut own = std::ffi::OsString::from(format!("{OURS}{word}-"));
    own.push(name);
    Ok(path.with_file_name(own))
}

/// Gives a new tree the name of a root that is not there.
pub(super) fn make(new: &Path, identity: Identity, root: &Path, undo: &mut UndoLog) -> Result<()> {
    undo.note(Step::Made { root: path_in_step(root), new: identity }.to_note()?)?;
    undo.disk().publish(new, root)
}

/// Swaps a new tree with a root; the old one is kept beside it.
pub(super) fn swap(new: &Path, new_identity: Identity, root: &Path, stamp: &str, undo: &mut UndoLog) -> Result<()> {
    let Some(old) = identity(root)? else {
        return Err(Error::new(Kind::NotFound, format!("{} went away meanwhile", path_text(root))));
    };
    let kept = free(&beside(root, &format!("before-{stamp}"))?)?;
    let aside = free(&beside(root, &format!("aside-{stamp}"))?)?;
    let (root_text, kept_text) = (path_in_step(root), path_in_step(&kept));
    let step = Step::Swapped { root: root_text, kept: kept_text, aside: path_in_step(&aside), old, new: new_identity };
    undo.note(step.to_note()?)?;
    let disk = undo.disk().clone();
    disk.publish(new, &kept)?;
    exchange(&disk, &kept, root, &aside)
}

/// `kept` and `root` swap their names.
fn exchange(disk: &Disk, kept: &Path, root: &Path, aside: &Path) -> Result<()> {
    match disk.exchange(kept, root) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            disk.publish(root, aside)?;
            disk.publish(kept, root)?;
            disk.publish(aside, kept)
        }
        swapped => swapped.at("cannot put in place", root),
    }
}

/// Puts back what was replaced.
pub(in crate::source::files) fn undo(steps: &[UndoStep]) -> Result<()> {
    let disk = Disk::default();
    for step in steps.iter().rev() {
        match Step::read(step)? {
            Step::Staged { folder } => remove_tree(&disk, &path_of_step(&folder)?)?,
            Step::Made { root, new } => {
                let root = path_of_step(&root)?;
                // It is still the one that was made, whatever was done in it since.
                if identity(&root)? == Some(new) {
                    remove_tree(&disk, &root)?;
                }
            }
            Step::Swapped { root, kept, aside, old, new } => {
                let (root, kept, aside) = (path_of_step(&root)?, path_of_step(&kept)?, path_of_step(&aside)?);
                put_back(&disk, &root, &kept, &aside, old)?;
                if identity(&kept)? == Some(new) {
                    remove_tree(&disk, &kept)?;
                }
            }
        }
    }
    Ok(())
}

/// Gives the old tree its name again, wherever a run was cut short.
fn put_back(disk: &Disk, root: &Path, kept: &Path, aside: &Path, old: Identity) -> Result<()> {
    let from = match (identity(root)?, identity(kept)?, identity(aside)?) {
        (Some(found), _, _) if found == old => return Ok(()),
        (_, Some(found), _) if found == old => kept,
        (_, _, Some(found)) if found == old => aside,
        _ => {
            let message = format!("the old {} is neither at {} nor there", path_text(root), path_text(kept));
            return Err(Error::new(Kind::NotFound, message));
        }
    };
    match identity(root)? {
        None => disk.publish(from, root),
        // What has the name now goes where the old one was kept.
        Some(_) if from == kept => exchange(disk, kept, root, aside),
        Some(_) => {
            disk.publish(root, kept)?;
            disk.publish(aside, root)
        }
    }
}

/// Drops what was kept.
pub(in crate::source::files) fn forget(steps: &[UndoStep]) -> Result<()> {
    let disk = Disk::default();
    for step in steps {
        match Step::read(step)? {
            Step::Staged { folder } => remove_tree(&disk, &path_of_step(&folder)?)?,
            Step::Made { .. } => {}
            Step::Swapped { root, kept, old, .. } => {
                let (root, kept) = (path_of_step(&root)?, path_of_step(&kept)?);
                if identity(&kept)? == Some(old) && identity(&root)?.is_some() {
                    remove_tree(&disk, &kept)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes a tree; nothing that is mounted in it is touched, and then nothing at all.
pub(super) fn remove_tree(disk: &Disk, path: &Path) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if let Some(mount) = mounts::at_or_below(path)? {
        let message = format!("{} is not removed: something is mounted at {}", path_text(path), path_text(&mount));
        return Err(Error::failed(message).hint("unmount it first"));
    }
    if metadata.is_dir() { disk.remove_dir_all(path) } else { disk.remove_file_if_there(path) }
}

fn free(path: &Path) -> Result<PathBuf> {
    let mut name = path.to_owned();
    let mut number = 1;
    while identity(&name)?.is_some() {
        let mut text = path.as_os_str().to_owned();
        text.push(format!(".{number}"));
        name = text.into();
        number += 1;
    }
    Ok(name)
}
