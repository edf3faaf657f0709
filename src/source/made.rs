//! What an apply makes inside somebody's tree belongs to whoever has that tree, also when the run is root's: else a service could
//! not read what was put back for it.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt as _, fchown, lchown};
use std::path::Path;

use crate::durable::{Disk, parent};
use crate::error::{Context as _, Result};

/// Makes a folder and its parents where they are missing, each with the owner of the nearest one that was there.
pub(in crate::source) fn make_dirs(disk: &Disk, path: &Path) -> Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_err();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    disk.make_dirs(path)?;
    missing.into_iter().rev().try_for_each(inherit)
}

/// Gives a folder that was made the owner of the folder that it lies in. Only root gives anything away.
pub(in crate::source) fn inherit(made: &Path) -> Result<()> {
    match owner_above(made)? {
        Some(owner) => give(made, owner),
        None => Ok(()),
    }
}

/// The same for an open file.
pub(in crate::source) fn inherit_file(made: &File, path: &Path) -> Result<()> {
    let Some((user, group)) = owner_above(path)? else { return Ok(()) };
    fchown(made, Some(user), Some(group)).at("cannot give away", path)
}

/// Gives something to its owner where that is another; a link is not followed.
pub(in crate::source) fn give(path: &Path, owner: (u32, u32)) -> Result<()> {
    let now = owner_of(&path.symlink_metadata().at("cannot stat", path)?);
    if now == owner || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    lchown(path, Some(owner.0), Some(owner.1)).at("cannot give away", path)
}

/// Owner of the nearest folder above that is there; none where we may not give anything to it.
pub(in crate::source) fn owner_above(path: &Path) -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let above = parent(path).ancestors().find(|folder| folder.metadata().is_ok()).unwrap_or(Path::new("/"));
    above.metadata().at("cannot stat", above).map(|data| Some(owner_of(&data)))
}

fn owner_of(data: &Metadata) -> (u32, u32) {
    (data.uid(), data.gid())
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "what is skipped is said loudly")]
mod tests {
    use super::*;

    #[test]
    fn folders_that_root_makes_belong_to_who_has_the_folder_above() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("SKIPPED: only root gives folders away");
        }
        let dir = tempfile::tempdir().unwrap();
        lchown(dir.path(), Some(1234), Some(2345)).unwrap();
        let made = dir.path().join("a/b/c");
        make_dirs(&Disk::default(), &made).unwrap();
        for folder in made.ancestors().take(3) {
            assert_eq!(owner_of(&folder.metadata().unwrap()), (1234, 2345), "{}", folder.display());
        }
    }
}
