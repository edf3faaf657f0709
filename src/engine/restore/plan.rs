//! The plan of a restore: what it will write and remove, and where. What was shown of it is what [`RestorePlan::apply`]
//! does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::{Before, ComponentRestore};
use super::compare;
use super::extras::extras;
use super::marker;
use super::options::{RestoreOptions, RestoreReport};
use crate::durable::Disk;
use crate::engine::Session;
use crate::engine::chain::Chain;
use crate::engine::finding::Finding;
use crate::error::{Context, Error, Hint, Kind, Result, path_text};
use crate::index::Inventory;
use crate::model::{BackupId, ComponentRecord, escape_path};
use crate::monitor::Monitor;
use crate::source::files::destination::{Destination, DestinationOptions};

/// A restore that can be shown and then carried out. It has opened the indexes and written nothing; folders in the
/// destination that are closed to us were opened for a look and closed again.
#[derive(Debug)]
pub struct RestorePlan {
    chain: Arc<Chain>,
    target: PathBuf,
    options: RestoreOptions,
    disk: Disk,
    components: Vec<Component>,
    /// What is known before anything is done.
    report: RestoreReport,
    planned_in: Duration,
}

#[derive(Debug)]
struct Component {
    record: ComponentRecord,
    inventory: Inventory,
    /// Raw paths of what the backup does not have, folders after what they hold.
    extras: Vec<Box<[u8]>>,
}

impl Session {
    /// Plans to restore a backup into the folder `target`, which is made when it is not there. One that is not empty is
    /// refused with [`Kind::WouldOverwrite`] unless the options allow it, or a restore of the same backup was cut short
    /// there. A component whose index is lost is a finding.
    pub fn plan_restore(
        &self,
        id: &BackupId,
        target: &Path,
        options: RestoreOptions,
        monitor: &dyn Monitor,
    ) -> Result<RestorePlan> {
        RestorePlan::new(self.chain(id)?, target, options, self.host.disk.clone(), true, monitor)
    }

    /// Says what a restore would do; changes nothing. Content that is there already is read and compared.
    pub fn preview_restore(
        &self,
        id: &BackupId,
        target: &Path,
        options: RestoreOptions,
        monitor: &dyn Monitor,
    ) -> Result<RestoreReport> {
        RestorePlan::new(self.chain(id)?, target, options, self.host.disk.clone(), false, monitor)?.preview(monitor)
    }

    /// Plans and restores in one go. Damage is in the report, not an error: the rest was restored.
    pub fn restore(
        &self,
        id: &BackupId,
        target: &Path,
        options: RestoreOptions,
        monitor: &dyn Monitor,
    ) -> Result<RestoreReport> {
        self.plan_restore(id, target, options, monitor)?.apply(monitor)
    }
}

impl RestorePlan {
    fn new(
        chain: Arc<Chain>,
        target: &Path,
        options: RestoreOptions,
        disk: Disk,
        open_closed: bool,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        let begun = Instant::now();
        let mut report = begin(&chain, target, &options)?;
        let mut components = Vec::new();
        for record in chain.components(&options.components)? {
            let inventory = match chain.inventory(&record.name) {
                Err(e) if e.is_damage() => {
                    report.findings.push(Finding::index(&chain.backup.manifest.id, record, &e));
                    continue;
                }
                // A key that does not open the indexes is noticed before anything is written.
                opened => opened?,
            };
            let mut component = Component { record: record.clone(), inventory, extras: Vec::new() };
            let there = Destination::look_in(target, &record.name, DestinationOptions::default())?;
            if let Some(there) = there.filter(|_| options.delete) {
                let (inventory, problems) = (&component.inventory, &mut report.problems);
                component.extras = extras(inventory, &record.name, &there, open_closed, monitor, problems)?;
            }
            components.push(component);
        }
        let (target, planned_in) = (target.to_owned(), begun.elapsed());
        Ok(Self { chain, target, options, disk, components, report, planned_in })
    }

    /// Escaped paths of what will be removed, with their component.
    pub fn deletions(&self) -> impl Iterator<Item = String> {
        self.components.iter().flat_map(Component::deletions)
    }

    fn preview(self, monitor: &dyn Monitor) -> Result<RestoreReport> {
        let begun = Instant::now();
        let Self { chain, target, options, components, mut report, planned_in, .. } = self;
        report.dry_run = true;
        for component in &components {
            let name = &component.record.name;
            monitor.stage(name, None, Some(component.record.entries));
            let there = Destination::look_in(&target, name, DestinationOptions::default())?;
            compare::component(&chain, name, &component.inventory, there.as_ref(), &options, monitor, &mut report)?;
            report.deleted.extend(component.deletions());
        }
        if report.findings.is_empty() {
            report.matched_something(&options)?;
        }
        Ok(conclude(report, &chain, planned_in + begun.elapsed()))
    }

    /// Restores, and removes just what the plan lists. Damage is in the report, not an error: the rest was restored.
    pub fn apply(self, monitor: &dyn Monitor) -> Result<RestoreReport> {
        let begun = Instant::now();
        let Self { chain, target, options, disk, components, mut report, planned_in } = self;
        // Something may have come there since the plan was made.
        check_target(&chain, &target, &options)?;
        let continued = marker::is_there(&target);
        marker::place(&target, &chain, &disk)?;
        for Component { record, inventory, extras } in &components {
            monitor.stage(&record.name, Some(record.content_bytes), Some(record.entries));
            // Inside a target that is ours (new, continued or to be overwritten) nothing but our own entries is in the way.
            let inside = DestinationOptions { overwrite: true, ..DestinationOptions::default() };
            let place = Destination::open_in(&target, &record.name, options.overwrite, inside)?;
            let before = match continued {
                true => Before::Continued,
                false if place.is_empty()? => Before::Empty,
                false => Before::Used,
            };
            let chain = &chain;
            let (name, target, options) = (&*record.name, &place, &options);
            let restore = ComponentRestore { chain, name, inventory, target, options, before, extras, monitor };
            match restore.run(&mut report) {
                // The other components can be whole.
                Err(e) if e.is_damage() => report.findings.push(Finding::index(&chain.backup.manifest.id, record, &e)),
                result => result.map_err(|e| e.within(format!("cannot restore the component {}", record.name)))?,
            }
        }
        if report.findings.is_empty() {
            marker::remove(&target, &disk)?;
            report.matched_something(&options)?;
        }
        Ok(conclude(report, &chain, planned_in + begun.elapsed()))
    }
}

impl Component {
    fn deletions(&self) -> impl Iterator<Item = String> {
        self.extras.iter().map(|path| format!("{}/{}", self.record.name, escape_path(path)))
    }
}

fn conclude(mut report: RestoreReport, chain: &Chain, took: Duration) -> RestoreReport {
    report.findings.extend(chain.repository_fault().map(Finding::of_record));
    report.duration = took;
    report
}

/// Checks what is asked for and that the target may be used, without touching it.
fn begin(chain: &Arc<Chain>, target: &Path, options: &RestoreOptions) -> Result<RestoreReport> {
    if options.delete && !options.selection.is_everything() {
        return Err(Error::usage("a deletion cannot be combined with a selection")
            .hint("it would remove what was only not selected"));
    }
    chain.components(&options.components)?;
    check_target(chain, target, options)?;
    let id: &BackupId = &chain.backup.manifest.id;
    Ok(RestoreReport { id: id.to_string(), target: target.to_owned(), ..RestoreReport::default() })
}

/// Refuses a folder that holds anything that is not of this restore, unless it may be written over.
fn check_target(chain: &Chain, target: &Path, options: &RestoreOptions) -> Result<()> {
    let continued = marker::belongs_to(target, chain, options.overwrite)?;
    if options.overwrite || continued || is_empty(target)? {
        return Ok(());
    }
    Err(Error::new(Kind::WouldOverwrite, format!("{} is not empty", path_text(target))).hint(Hint::TargetInUse))
}

fn is_empty(dir: &Path) -> Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut names) => Ok(names.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e).at("cannot list", dir),
    }
}
