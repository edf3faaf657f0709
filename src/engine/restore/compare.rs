//! The dry run: what is in a destination already, compared with what a restore would put there.

use std::sync::Arc;

use super::chosen::{Chosen, selected};
use super::options::{RestoreOptions, RestoreReport};
use crate::engine::chain::Chain;
use crate::engine::finding::Finding;
use crate::error::Result;
use crate::index::Inventory;
use crate::model::EntryKind;
use crate::monitor::Monitor;
use crate::source::files::destination::{Destination, Existing};

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
            report.add_unsettled(name, &entry.path);
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
    report.findings.extend(inventory.losses().iter().map(|loss| Finding::lines(id, name, loss)));
    Ok(())
}
