//! Which entries a restore is about, each after the folders that lead to it.

use std::collections::HashMap;

use crate::engine::select::Selection;
use crate::error::{Error, Result};
use crate::index::Inventory;
use crate::model::{Entry, EntryKind, EntryPath};

/// An entry that a restore is about.
pub(super) enum Chosen {
    /// A folder that is only there to lead to a selected entry.
    Way(Entry),
    /// A selected entry.
    Entry(Entry),
    /// A selected hard link that leads to nothing it may lead to.
    Damaged(Entry, Error),
}

/// The selected entries, each after the folders that lead to it, as far as the inventory can be read.
pub(super) fn selected<'a>(
    inventory: &'a Inventory,
    selection: &'a Selection,
) -> Result<impl Iterator<Item = Result<Chosen>> + 'a> {
    let mut above: Vec<Entry> = Vec::new();
    let mut stand_ins = HashMap::new();
    Ok(inventory.readable()?.flat_map(move |entry| {
        let entry = match entry {
            Err(error) => return vec![Err(error)],
            Ok(entry) => entry,
        };
        let is_dir = entry.kind == EntryKind::Dir;
        while above.last().is_some_and(|dir| !entry.path.is_below(&dir.path)) {
            above.pop();
        }
        if !selection.matches(&entry.path, is_dir) {
            if is_dir {
                above.push(entry);
            }
            return Vec::new();
        }
        let chosen = chosen(entry, inventory, selection, &mut stand_ins);
        above.drain(..).map(|dir| Ok(Chosen::Way(dir))).chain([chosen]).collect()
    }))
}

/// A hard link to a file whose first name is not selected becomes the file itself; `known` says which name did so, for
/// those that follow.
fn chosen(
    mut entry: Entry,
    inventory: &Inventory,
    selection: &Selection,
    known: &mut HashMap<EntryPath, EntryPath>,
) -> Result<Chosen> {
    let EntryKind::Hardlink { target } = &mut entry.kind else { return Ok(Chosen::Entry(entry)) };
    if let Some(name) = known.get(target) {
        target.clone_from(name);
        return Ok(Chosen::Entry(entry));
    }
    match inventory.first_name(&entry.path, target) {
        Err(e) if e.is_damage() => Ok(Chosen::Damaged(entry, e)),
        Err(e) => Err(e),
        Ok(_) if selection.matches(target, false) => Ok(Chosen::Entry(entry)),
        Ok(first) => {
            known.insert(target.clone(), entry.path.clone());
            Ok(Chosen::Entry(Entry { path: entry.path, ..first }))
        }
    }
}
