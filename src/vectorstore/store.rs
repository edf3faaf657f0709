//! A whole store: which of its folders are collections, and how they are.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::{Collection, FileFacts, Health, Role};

/// A store as its files show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// By folder.
    pub collections: Vec<Collection>,
    /// Files that belong to no collection.
    pub others: u64,
}

impl Store {
    /// Judges a store by all folders and files below it, in any order. A collection is a folder, however deep, that holds
    /// files of chromem-go, or has such a name and no folders: stores of tenants and the quarantine lie inside.
    pub fn judge<'f>(
        folders: impl IntoIterator<Item = &'f [u8]>,
        files: impl IntoIterator<Item = (&'f [u8], &'f FileFacts)>,
    ) -> Self {
        let mut held: BTreeMap<&[u8], Vec<(&[u8], &FileFacts)>> =
            folders.into_iter().map(|folder| (folder, Vec::new())).collect();
        let parents: BTreeSet<&[u8]> =
            held.keys().filter_map(|folder| split(folder)).map(|(parent, _)| parent).collect();
        let mut others = 0;
        for (path, facts) in files {
            match split(path) {
                Some((folder, name)) => held.entry(folder).or_default().push((name, facts)),
                None => others += 1, // chromem-go looks at no file beside the folders
            }
        }
        let mut collections = Vec::new();
        for (folder, files) in &held {
            if is_collection(folder, files.iter().map(|(name, _)| *name), parents.contains(folder)) {
                collections.push(Collection::judge(folder, files.iter().copied()));
            } else {
                others += files.len() as u64;
            }
        }
        Self { collections, others }
    }

    /// How many collections are so.
    #[must_use]
    pub fn count(&self, health: Health) -> u64 {
        self.collections.iter().filter(|collection| collection.health == health).count() as u64
    }

    /// Documents that can be read, those in quarantine included.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|collection| collection.documents).sum()
    }

    /// Collections that another one beside them hides, because both have the same name and chromem-go keeps the last.
    #[must_use]
    pub fn hidden(&self) -> Vec<&Collection> {
        let beside = |collection: &Collection| split(&collection.folder).map(|(parent, _)| parent.to_vec());
        let hides = |later: &Collection, earlier: &Collection| {
            later.name == earlier.name && beside(later) == beside(earlier) && later.compressed == earlier.compressed
        };
        let living = |collection: &Collection| collection.name.is_some() && collection.health != Health::Quarantined;
        let all = &self.collections;
        let is_hidden = |at: usize| living(&all[at]) && all[at + 1..].iter().any(|later| hides(later, &all[at]));
        (0..all.len()).filter(|at| is_hidden(*at)).map(|at| &all[at]).collect()
    }
}

/// The folder of a path and the name in it; none at the top.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    path.iter().rposition(|&b| b == b'/').map(|at| (&path[..at], &path[at + 1..]))
}

/// Whether a folder is one of a collection.
fn is_collection<'f>(folder: &[u8], mut files: impl Iterator<Item = &'f [u8]>, has_folders: bool) -> bool {
    let last = split(folder).map_or(folder, |(_, name)| name);
    let hash = last.len() == 8 && last.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    files.any(|name| Role::of(name) != Role::Other) || (hash && !has_folders)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
