//! One component into a folder of its own, for who needs all of it or nothing.

use std::path::Path;
use std::sync::Arc;

use super::apply::{Before, ComponentRestore};
use super::options::{RestoreOptions, RestoreReport};
use crate::durable::Disk;
use crate::engine::chain::Chain;
use crate::error::{Error, Hint, Kind, Result, path_text};
use crate::index::Inventory;
use crate::model::ProblemKind;
use crate::monitor::Monitor;
use crate::source::files::destination::{Destination, DestinationOptions};

/// Restores all entries of a component below `folder`, which is made where it is missing and must be empty. Damage, and
/// metadata that did not come back, are errors: what is there then is a part. A file that was not read cleanly when it was
/// captured comes back as it was stored; that is a note.
pub(in crate::engine) fn restore_whole(
    chain: &Arc<Chain>,
    name: &str,
    inventory: &Inventory,
    folder: &Path,
    disk: &Disk,
    threads: usize,
    monitor: &dyn Monitor,
) -> Result<()> {
    disk.make_dirs(folder)?;
    let target = &Destination::open(folder, DestinationOptions::default())?;
    if !target.is_empty()? {
        let message = format!("{} is not empty", path_text(folder));
        return Err(Error::new(Kind::WouldOverwrite, message));
    }
    let options = &RestoreOptions { threads, ..RestoreOptions::default() };
    let (before, extras) = (Before::Empty, &[][..]);
    let mut report = RestoreReport::default();
    ComponentRestore { chain, name, inventory, target, options, before, extras, monitor }.run(&mut report)?;
    let id = &chain.backup.manifest.id;
    if let Some(first) = report.findings.first() {
        let count = report.findings.len();
        let message = format!("{name} in backup {id} is damaged: {}: {} ({count} findings)", first.path, first.detail);
        return Err(Error::damage(message).hint(Hint::Verify));
    }
    for problem in report.problems.iter().filter(|problem| problem.kind == ProblemKind::Unsettled) {
        monitor.note(&format!("{}: {}", problem.path, problem.detail));
    }
    match report.problems.iter().find(|problem| problem.kind != ProblemKind::Unsettled) {
        None => Ok(()),
        Some(first) => {
            let message = format!("{name} did not come back whole: {}: {}", first.path, first.detail);
            Err(Error::failed(message))
        }
    }
}
