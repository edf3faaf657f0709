//! Which entries a restore is about, and what a dry run says of them.

use std::path::Path;
use std::sync::Arc;

use super::apply::path_digests;
use super::{Options, Report};
use crate::engine::chain::Chain;
use crate::engine::select::Selection;
use crate::engine::target::{Existing, Target, TargetOptions};
use crate::error::Result;
use crate::index::Inventory;
use crate::model::{Digest, Entry, EntryKind};
use crate::monitor::Monitor;

/// The selected entries, each after the folders that lead to it. The flag is false for a folder that is only there to
/// lead to a selected entry.
pub(super) fn selected<'a>(
    inventory: &'a Inventory,
    selection: &'a Selection,
) -> Result<impl Iterator<Item = Result<(Entry, bool)>> + 'a> {
    let mut above: Vec<Entry> = Vec::new();
    let mut failed = false;
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
        above.drain(..).map(|dir| Ok((dir, false))).chain([Ok((entry, true))]).collect()
    }))
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
