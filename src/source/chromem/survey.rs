//! The two sides of a comparison: what a backup holds of a store, and what lies in the folder now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::reader::{StoreReader, is_inventory, is_of_chromem, judge};
use super::words::{counted, object};
use crate::error::{Error, Kind, Result};
use crate::model::{Digest, EntryKind, EntryPath, escape_path};
use crate::monitor::Monitor;
use crate::source::settled::{Settled, look_once, settle};
use crate::source::{Checked, Contents};
use crate::vectorstore::{FileFacts, Inventory};

/// Longest inventory that is read, in bytes: one that names a million files that cannot be read.
pub(super) const MAX_INVENTORY: u64 = 64 << 20;

/// What a backup holds.
#[derive(Debug, Default)]
pub(super) struct Archived {
    /// By folder.
    pub(super) collections: BTreeMap<Vec<u8>, Inventory>,
    /// Files that chromem-go does not look at.
    pub(super) others: BTreeMap<EntryPath, Digest>,
    /// Inventories, which do not belong into a living store.
    pub(super) inventories: BTreeSet<EntryPath>,
}

impl Archived {
    pub(super) fn read(contents: &dyn Contents) -> Result<Self> {
        let mut archived = Self::default();
        let mut without = BTreeSet::new();
        for entry in contents.entries()? {
            let entry = entry?;
            let EntryKind::File { sha256, .. } = &entry.kind else { continue };
            let folder = entry.path.parent().unwrap_or_default().to_vec();
            if is_inventory(&entry.path)
                && let Ok(inventory) = Inventory::parse(&contents.read(&entry, MAX_INVENTORY)?)
                && inventory.folder == escape_path(&folder)
            {
                archived.collections.insert(folder, inventory);
                archived.inventories.insert(entry.path);
            } else if is_of_chromem(&entry.path) && !folder.is_empty() {
                without.insert(folder);
            } else {
                archived.others.insert(entry.path.clone(), *sha256);
            }
        }
        match without.iter().find(|folder| !archived.collections.contains_key(*folder)) {
            Some(folder) => {
                Err(Error::damage(format!("the backup has no inventory of the collection {}", escape_path(folder))))
            }
            None => Ok(archived),
        }
    }

    /// Compares collection by collection and file by file.
    pub(super) fn compare(&self, living: &Living) -> Checked {
        let mut checked = Checked::default();
        for (folder, inventory) in &self.collections {
            match living.collections.get(folder) {
                None => checked.differs(object(inventory), "is not there"),
                Some(there) => {
                    let differences = inventory.differences(there);
                    // Name, health, documents, files that cannot be read, and two digests.
                    checked.compared += 6 - differences.len() as u64;
                    differences.into_iter().for_each(|difference| checked.differs(object(inventory), difference));
                }
            }
        }
        for (path, digest) in &self.others {
            match living.others.get(path) {
                None => checked.differs(format!("file {path}"), "is not there"),
                Some(there) if there == digest => checked.compared += 1,
                Some(_) => checked.differs(format!("file {path}"), "has another content"),
            }
        }
        for (object, detail) in self.more(living) {
            checked.differs(object, detail);
        }
        checked
    }

    /// What is there and not in the backup.
    pub(super) fn more(&self, living: &Living) -> Vec<(String, String)> {
        let collections = living.collections.iter().filter(|(folder, _)| !self.collections.contains_key(*folder));
        let mut more: Vec<_> = collections
            .map(|(_, there)| {
                (object(there), format!("is not in the backup and has {}", counted(there.documents, "document")))
            })
            .collect();
        let others = living.others.keys().filter(|path| !self.others.contains_key(*path));
        more.extend(others.map(|path| (format!("file {path}"), "is not in the backup".to_owned())));
        more
    }
}

/// What lies in the folder now.
#[derive(Debug, Default)]
pub(super) struct Living {
    collections: BTreeMap<Vec<u8>, Inventory>,
    others: BTreeMap<EntryPath, Digest>,
}

impl Living {
    /// Reads and decodes all of it. A folder that is not there holds nothing; one that cannot be read is an error.
    pub(super) fn read(root: &Path, monitor: &dyn Monitor) -> Result<Self> {
        match settle(root, &StoreReader, monitor) {
            Err(e) if e.kind() == Kind::NotFound => Ok(Self::default()),
            settled => Self::of(root, &settled?),
        }
    }

    /// The same of a folder that nobody writes to.
    pub(super) fn at_rest(root: &Path, monitor: &dyn Monitor) -> Result<Self> {
        Self::of(root, &look_once(root, &StoreReader, monitor)?)
    }

    fn of(root: &Path, settled: &Settled<FileFacts>) -> Result<Self> {
        if let Some(problem) = settled.problems.iter().find(|p| p.kind == crate::model::ProblemKind::Unreadable) {
            return Err(Error::failed(format!("{}: {}", root.join(&problem.path).display(), problem.detail)));
        }
        let store = judge(settled);
        let collections: BTreeMap<_, _> =
            store.collections.iter().map(|c| (c.folder.clone(), Inventory::of(c))).collect();
        let other = |path: &EntryPath, facts: &FileFacts| match path.parent() {
            None => true, // chromem-go looks at folders only
            Some(folder) => *facts == FileFacts::Other && !(is_inventory(path) && collections.contains_key(folder)),
        };
        let others = settled.files.iter().filter(|(path, known)| other(path, &known.facts));
        let others = others.filter_map(|(path, known)| Some((path.clone(), known.digest?))).collect();
        Ok(Self { collections, others })
    }

    pub(super) fn collection(&self, folder: &[u8]) -> Option<&Inventory> {
        self.collections.get(folder)
    }

    pub(super) fn other(&self, path: &EntryPath) -> Option<&Digest> {
        self.others.get(path)
    }
}
