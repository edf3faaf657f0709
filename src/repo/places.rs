//! Which repositories this host has written to at which place. A disk that is not mounted, or another disk at its mount
//! point, looks like a place for a first backup; a host that remembers knows better.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::repository::Repository;
use super::untrusted::read_small;
use crate::durable::Disk;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{escape_path, pretty_json};

/// The notes about places, in the state folder. They can be deleted at any time.
#[derive(Clone, Debug)]
pub struct Places {
    file: PathBuf,
    disk: Disk,
}

impl Places {
    /// Those that are kept below the state folder.
    #[must_use]
    pub fn new(state_dir: &Path, disk: Disk) -> Self {
        Self { file: state_dir.join("places.json"), disk }
    }

    /// Ids of the repositories that this host has written to at `root`.
    #[must_use]
    pub fn known(&self, root: &Path) -> BTreeSet<String> {
        let all = self.read();
        names_of(root).iter().filter_map(|name| all.get(name)).flatten().cloned().collect()
    }

    /// Refuses a place where this host has written to a repository that is not there now.
    pub fn check(&self, root: &Path) -> Result<()> {
        let known = self.known(root);
        if known.is_empty() {
            return Ok(());
        }
        let found = match Repository::open(root) {
            Ok(repo) if known.contains(&repo.record().repository_id) => return Ok(()),
            Ok(repo) => format!("the repository {} is", repo.record().repository_id),
            Err(e) if e.kind() == Kind::NotFound => "no repository is".into(),
            // Whoever opens it says what is wrong with it.
            Err(_) => return Ok(()),
        };
        let message = format!("{found} at {}, where this host has written to {}", root.display(), joined(&known));
        Err(Error::new(Kind::OtherRepository, message).hint(Hint::OtherRepository))
    }

    /// Remembers a repository, in addition to those that are known at this place: disks may take turns.
    pub fn remember(&self, root: &Path, repository_id: &str) -> Result<()> {
        let mut all = self.read();
        let mut is_new = false;
        for name in names_of(root) {
            is_new |= all.entry(name).or_default().insert(repository_id.to_owned());
        }
        if !is_new {
            return Ok(());
        }
        if let Some(dir) = self.file.parent() {
            self.disk.make_dirs(dir)?;
        }
        self.disk.replace(&self.file, &pretty_json(&all)?)
    }

    /// Notes that cannot be read are as good as lost.
    fn read(&self) -> BTreeMap<String, BTreeSet<String>> {
        read_small(&self.file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }
}

/// Ids for a message.
#[must_use]
pub fn joined(ids: &BTreeSet<String>) -> String {
    ids.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

/// A place as it is called and as it really is: either may be what stays when a disk is unmounted or a link changed.
fn names_of(root: &Path) -> BTreeSet<String> {
    let called = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    // What is not there has a real place all the same: below the nearest folder that is there.
    let real = called.ancestors().find_map(|above| {
        let rest = called.strip_prefix(above).ok()?;
        above.canonicalize().ok().map(|above| above.join(rest))
    });
    let name = |path: PathBuf| {
        // `join` with nothing leaves a slash at the end.
        let path: PathBuf = path.components().collect();
        escape_path(path.as_os_str().as_encoded_bytes()).into_owned()
    };
    real.into_iter().chain([called.clone()]).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_same_name_whether_something_is_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, link) = (dir.path().join("disk"), dir.path().join("link"));
        std::os::unix::fs::symlink(&disk, &link).unwrap();
        std::fs::create_dir(&disk).unwrap();
        let places = Places::new(&dir.path().join("state"), Disk::default());
        places.remember(&link.join("backups"), "a").unwrap();
        places.remember(&link.join("backups/"), "b").unwrap();
        let both: BTreeSet<_> = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(places.known(&disk.join("backups")), both);
        std::fs::remove_dir(&disk).unwrap();
        assert_eq!(places.known(&disk.join("backups")), both);
        assert_eq!(places.known(&link.join("backups")), both);
        assert!(places.known(&disk).is_empty());
    }
}
