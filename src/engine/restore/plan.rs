//! Which entries a restore is about, and what a dry run says of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::apply::path_digests;
use super::{Options, Report};
use crate::engine::chain::Chain;
use crate::engine::select::Selection;
use crate::engine::target::{Existing, Target, TargetOptions};
use crate::error::Result;
use crate::index::Inventory;
use crate::model::{Digest, Entry, EntryKind, EntryPath};
use crate::monitor::Monitor;

/// The selected entries, each after the folders that lead to it. The flag is false for a folder that is only there to
/// lead to a selected entry.
pub(super) fn selected<'a>(
    inventory: &'a Inventory,
    selection: &'a Selection,
) -> Result<impl Iterator<Item = Result<(Entry, bool)>> + 'a> {
    let mut above: Vec<Entry> = Vec::new();
    let mut failed = false;
    let mut stand_ins = HashMap::new();
    Ok(inventory.iter()?.flat_map(move |entry| {
        let entry = match entry {
            _ if failed => return Vec::new(),
            Err(error) => {
                failed = true;
                return vec![Err(error)];
            }
            Ok(entry) => entry,
        };
        let is_dir = entry.kind == EntryKind::Dir;
        while above.last().is_some_and(|dir| !is_below(&entry, dir)) {
            above.pop();
        }
        if !selection.matches(&entry.path, is_dir) {
            if is_dir {
                above.push(entry);
            }
            return Vec::new();
        }
        let entry = stand_in(entry, inventory, selection, &mut stand_ins).map(|entry| (entry, true));
        above.drain(..).map(|dir| Ok((dir, false))).chain([entry]).collect()
    }))
}

/// A further name of a file whose first name is not selected becomes the file itself; `known` says which name did so, for
/// those that follow.
fn stand_in(
    mut entry: Entry,
    inventory: &Inventory,
    selection: &Selection,
    known: &mut HashMap<EntryPath, EntryPath>,
) -> Result<Entry> {
    let EntryKind::Hardlink { target } = &mut entry.kind else { return Ok(entry) };
    if selection.matches(target, false) {
        return Ok(entry);
    }
    if let Some(name) = known.get(target) {
        target.clone_from(name);
        return Ok(entry);
    }
    match inventory.find(target)? {
        Some(first) if !matches!(first.kind, EntryKind::Hardlink { .. }) => {
            known.insert(target.clone(), entry.path.clone());
            Ok(Entry { path: entry.path, ..first })
        }
        // Damage, which is told where the link is made.
        _ => Ok(entry),
    }
}

fn is_below(entry: &Entry, dir: &Entry) -> bool {
    entry.path.as_bytes().strip_prefix(dir.path.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Compares a component with what is in its folder.
pub(super) fn component(
    chain: &Arc<Chain>,
    name: &str,
    dir: &Path,
    options: &Options,
    monitor: &dyn Monitor,
    report: &mut Report,
) -> Result<()> {
    let inventory = chain.inventory(name)?;
    let target = if dir.is_dir() { Some(Target::open(dir, TargetOptions::default())?) } else { None };
    for entry in selected(&inventory, &options.selection)? {
        monitor.check()?;
        let (entry, wanted) = entry?;
        if !wanted {
            continue;
        }
        report.entries += 1;
        let same = match &target {
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
    if let (true, Some(target)) = (options.delete, &target) {
        let keep = path_digests(&inventory, monitor)?;
        target.sweep(&|path| keep.contains(&Digest::of(path)), true, &mut |path| {
            report.deleted.push(format!("{name}/{}", crate::model::escape_path(path)));
        })?;
    }
    Ok(())
}
