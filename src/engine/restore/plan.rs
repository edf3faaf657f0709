//! Which entries a restore is about, and what a dry run says of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{RestoreOptions, RestoreReport, nothing_removed, unsettled};
use crate::engine::chain::Chain;
use crate::engine::finding::Finding;
use crate::engine::select::Selection;
use crate::error::{Error, Result};
use crate::index::Inventory;
use crate::model::{Digest, Entry, EntryKind, EntryPath};
use crate::monitor::Monitor;
use crate::source::files::destination::{Destination, Existing};

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

/// A further name of a file whose first name is not selected becomes the file itself; `known` says which name did so, for
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

/// Compares a component with what is in its folder.
pub(super) fn component(
    chain: &Arc<Chain>,
    name: &str,
    inventory: &Inventory,
    target: Option<&Destination>,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
    report: &mut RestoreReport,
) -> Result<()> {
    let id = &chain.backup.manifest.id;
    for entry in selected(inventory, &options.selection)? {
        monitor.check()?;
        let entry = match entry? {
            Chosen::Way(_) => continue,
            Chosen::Damaged(entry, error) => {
                report.entries += 1;
                report.findings.push(Finding::content(id, name, &entry.path, &error));
                continue;
            }
            Chosen::Entry(entry) => entry,
        };
        report.entries += 1;
        if matches!(entry.kind, EntryKind::File { unsettled: true, .. }) {
            report.problems.push(unsettled(name, &entry.path));
        }
        let same = match target {
            None => false,
            Some(target) => match (target.existing(&entry)?, &entry.kind) {
                (Existing::Same, _) => true,
                (Existing::SameShape(state), EntryKind::File { sha256, .. }) => {
                    state.metadata_equal && target.hash_existing(&entry)? == Some(*sha256)
                }
                _ => false,
            },
        };
        monitor.advance(entry.size(), 1);
        if same {
            report.unchanged += 1;
        } else {
            report.written += 1;
            report.bytes_written += entry.size();
        }
    }
    if let (true, Some(target)) = (options.delete, target) {
        extras(inventory, name, target, true, monitor, report)?;
    }
    report.findings.extend(inventory.losses().iter().map(|loss| Finding::lines(id, name, loss)));
    Ok(())
}

/// Removes what the inventory does not list, or only says what that would be. When lines of it are lost nobody knows.
pub(super) fn extras(
    inventory: &Inventory,
    component: &str,
    target: &Destination,
    dry_run: bool,
    monitor: &dyn Monitor,
    report: &mut RestoreReport,
) -> Result<()> {
    let keep = path_digests(inventory, monitor)?;
    if inventory.is_lossy() {
        report.problems.push(nothing_removed(component));
        return Ok(());
    }
    let extras = target.extras(&|path| keep.contains(&Digest::of(path)), !dry_run)?;
    let mut removed = |path: &[u8]| report.deleted.push(format!("{component}/{}", crate::model::escape_path(path)));
    if dry_run {
        extras.iter().for_each(|path| removed(path));
    } else {
        target.remove(&extras, &mut removed);
    }
    Ok(())
}

/// Digests of all paths, so that memory does not depend on their length.
pub(super) fn path_digests(inventory: &Inventory, monitor: &dyn Monitor) -> Result<HashSet<Digest>> {
    let mut keep = HashSet::new();
    for entry in inventory.readable()? {
        monitor.check()?;
        keep.insert(Digest::of(entry?.path.as_bytes()));
    }
    Ok(keep)
}
