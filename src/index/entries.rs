//! Goes through an inventory entry by entry, and goes on after what is damaged.

use super::loss::Loss;
use super::reader::Inventory;
use crate::archive::Scratch;
use crate::error::Result;
use crate::model::{Entry, EntryKind, EntryPath};

/// Iterates over an inventory, see [`Inventory::readable`].
#[derive(Debug)]
pub struct Entries<'a> {
    inventory: &'a Inventory,
    segment: usize,
    pending: std::vec::IntoIter<Entry>,
    scratch: Scratch,
    /// The folders above the current place.
    folders: Vec<EntryPath>,
}

impl<'a> Entries<'a> {
    /// An entry below something that is no folder, or below nothing, could lead a restore astray. Gives the folder that
    /// is missing.
    fn missing_folder(&mut self, entry: &Entry) -> Option<EntryPath> {
        while self.folders.last().is_some_and(|folder| !entry.path.is_below(folder)) {
            self.folders.pop();
        }
        let parent = entry.path.parent();
        let known = parent.is_none() || self.folders.last().map(EntryPath::as_bytes) == parent;
        let missing = if known { None } else { parent.and_then(|p| EntryPath::new(p).ok()) };
        self.folders.extend(missing.clone());
        if entry.kind == EntryKind::Dir {
            self.folders.push(entry.path.clone());
        }
        missing
    }

    /// Whether an entry without a listed folder can be used all the same: not below something else. What is wrong with it
    /// is noted, unless it was already, together with the lines that are lost.
    fn is_usable(&mut self, entry: &Entry, folder: &EntryPath) -> bool {
        let mut above = Some(folder.clone());
        while let Some(path) = above {
            if self.inventory.find(&path).is_ok_and(|found| found.is_some_and(|f| f.kind != EntryKind::Dir)) {
                self.folders.retain(|f| f != folder && !f.is_below(folder));
                let detail = format!("{} lists {} below {path}, which is no folder", self.inventory.name(), entry.path);
                self.inventory.note_loss(Loss { path: entry.path.clone(), entries: 1, detail });
                return false;
            }
            above = path.parent().and_then(|p| EntryPath::new(p).ok());
        }
        if !self.inventory.is_lost(folder) {
            let detail = format!("{} lists {} but no folder that holds it", self.inventory.name(), entry.path);
            self.inventory.note_loss(Loss { path: folder.clone(), entries: 0, detail });
        }
        true
    }
}

impl Inventory {
    /// All entries in path order, each folder before what it holds. Damage costs only the entries that are affected: it is
    /// noted in [`Self::losses`], and the others follow. Then a folder may come without a line of its own.
    pub fn readable(&self) -> Result<Entries<'_>> {
        let pending = Vec::new().into_iter();
        Ok(Entries { inventory: self, segment: 0, pending, scratch: Scratch::new()?, folders: Vec::new() })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.pending.next() {
                match self.missing_folder(&entry) {
                    None => return Some(Ok(entry)),
                    Some(folder) if self.is_usable(&entry, &folder) => return Some(Ok(entry)),
                    Some(_) => continue,
                }
            }
            if self.segment >= self.inventory.segments().len() {
                return None;
            }
            match self.inventory.readable_segment(self.segment, &mut self.scratch) {
                Ok(entries) => self.pending = entries.into_iter(),
                Err(error) => {
                    self.segment = self.inventory.segments().len();
                    return Some(Err(error));
                }
            }
            self.segment += 1;
        }
    }
}
