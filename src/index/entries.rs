//! Goes through an inventory entry by entry, and on behind what is damaged.

use super::loss::Loss;
use super::order::Order;
use super::reader::Inventory;
use crate::archive::Scratch;
use crate::error::Result;
use crate::model::{Entry, EntryKind, EntryPath};

/// Iterates over an inventory, see [`Inventory::iter`] and [`Inventory::readable`].
#[derive(Debug)]
pub struct Entries<'a> {
    inventory: &'a Inventory,
    /// Ends after the first error; then this is what checks the order.
    strict: Option<Order>,
    segment: usize,
    pending: std::vec::IntoIter<Entry>,
    scratch: Scratch,
    /// The folders above the current place.
    folders: Vec<EntryPath>,
}

impl<'a> Entries<'a> {
    fn new(inventory: &'a Inventory, strict: bool) -> Result<Self> {
        let pending = Vec::new().into_iter();
        let strict = strict.then(Order::default);
        Ok(Self { inventory, strict, segment: 0, pending, scratch: Scratch::new()?, folders: Vec::new() })
    }

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
    /// All entries in path order, each folder before what it holds; ends with the first error.
    pub fn iter(&self) -> Result<Entries<'_>> {
        Entries::new(self, true)
    }

    /// As [`Self::iter`], but damage costs only the entries that are affected: it is noted in [`Self::losses`], and the
    /// others follow. Then a folder may come without a line of its own.
    pub fn readable(&self) -> Result<Entries<'_>> {
        Entries::new(self, false)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.pending.next() {
                if let Some(order) = &mut self.strict {
                    let taken = order.next(entry.path.as_bytes(), entry.kind == EntryKind::Dir);
                    return Some(
                        taken
                            .map(|()| entry)
                            .map_err(|e| e.within(format!("{} is no inventory", self.inventory.name()))),
                    );
                }
                match self.missing_folder(&entry) {
                    None => return Some(Ok(entry)),
                    Some(folder) if self.is_usable(&entry, &folder) => return Some(Ok(entry)),
                    Some(_) => continue,
                }
            }
            if self.segment >= self.inventory.segments().len() {
                return None;
            }
            let read = match self.strict {
                Some(_) => self.inventory.read_segment(self.segment, &mut self.scratch),
                None => self.inventory.readable_segment(self.segment, &mut self.scratch),
            };
            match read {
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
