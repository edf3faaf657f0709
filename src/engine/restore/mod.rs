//! `restore`: brings the entries of a backup back into a folder.
//!
//! Every byte is compared with the digest in the signed inventory before it counts: small files before they are written,
//! large ones before they get their name. What is damaged is reported and left out; the rest is restored. A run that was
//! cut short leaves its marker in the target and is continued; what matches already is not written again.

mod apply;
mod marker;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use apply::Before;

use super::chain::Chain;
use super::finding::Finding;
use super::select::Selection;
use crate::durable::Disk;
use crate::error::{Context, Error, Hint, Kind, Result, path_text};
use crate::index::Inventory;
use crate::model::{BackupId, ComponentRecord, EntryPath, Problem, ProblemKind};
use crate::monitor::Monitor;
use crate::source::files::destination::{Destination, DestinationOptions};

/// What to restore, and how.
#[derive(Debug)]
pub struct RestoreOptions {
    /// Components; all if empty.
    pub components: Vec<String>,
    /// Entries.
    pub selection: Selection,
    /// Write over what differs.
    pub overwrite: bool,
    /// Remove what the backup does not have.
    pub delete: bool,
    /// Worker threads.
    pub threads: usize,
    /// The door for the marker.
    pub disk: Disk,
}

/// What a restore did, or, for a dry run, would do.
#[derive(Debug, Default, Serialize)]
pub struct RestoreReport {
    /// The backup; empty only before it is known.
    pub id: String,
    /// The folder.
    #[serde(serialize_with = "crate::model::serialize_path")]
    pub target: PathBuf,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Entries that were selected.
    pub entries: u64,
    /// Entries written.
    pub written: u64,
    /// Entries that were there already, content and metadata.
    pub unchanged: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
    /// Escaped paths that were removed, with their component.
    pub deleted: Vec<String>,
    /// What could not be restored because it is damaged.
    pub findings: Vec<Finding>,
    /// What was restored, but not with everything it had, or not cleanly captured.
    pub problems: Vec<Problem>,
    /// Wall time.
    pub duration_seconds: f64,
}

/// Restores into `target`. Damage is in the report, not an error: the rest was restored.
pub fn restore(
    chain: &Arc<Chain>,
    target: &Path,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreReport> {
    let begun = Instant::now();
    let mut report = begin(chain, target, options)?;
    let continued = marker::is_there(target);
    // A key that does not open the indexes is noticed before anything is written.
    let inventories = inventories(chain, options, &mut report)?;
    marker::place(target, chain, options)?;
    for (record, inventory) in &inventories {
        monitor.stage(&record.name, Some(record.content_bytes), Some(record.entries));
        // Inside a target that is ours (new, continued or to be overwritten) nothing but our own entries is in the way.
        let inside = DestinationOptions { overwrite: true, ..DestinationOptions::default() };
        let place = Destination::open_in(target, &record.name, options.overwrite, inside)?;
        let before = match continued {
            true => Before::Continued,
            false if place.is_empty()? => Before::Empty,
            false => Before::Used,
        };
        match apply::component(chain, &record.name, inventory, &place, options, before, monitor, &mut report) {
            // The other components can be whole.
            Err(e) if e.is_damage() => report.findings.push(Finding::index(&chain.backup.manifest.id, record, &e)),
            result => result.map_err(|e| e.within(format!("cannot restore the component {}", record.name)))?,
        }
    }
    if report.findings.is_empty() {
        marker::remove(target, options)?;
        matched_something(&report, options)?;
    }
    report.findings.extend(chain.repository_fault.as_deref().map(Finding::of_record));
    report.duration_seconds = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    Ok(report)
}

/// Says what a restore would do; changes nothing. Content that is there already is read and compared.
pub fn preview(
    chain: &Arc<Chain>,
    target: &Path,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreReport> {
    let begun = Instant::now();
    let mut report = begin(chain, target, options)?;
    report.dry_run = true;
    for (record, inventory) in &inventories(chain, options, &mut report)? {
        monitor.stage(&record.name, None, Some(record.entries));
        let place = Destination::look_in(target, &record.name, DestinationOptions::default())?;
        plan::component(chain, &record.name, inventory, place.as_ref(), options, monitor, &mut report)?;
    }
    if report.findings.is_empty() {
        matched_something(&report, options)?;
    }
    report.findings.extend(chain.repository_fault.as_deref().map(Finding::of_record));
    report.duration_seconds = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    Ok(report)
}

/// Opens what is to be restored. A component whose index is lost is a finding.
fn inventories<'a>(
    chain: &'a Arc<Chain>,
    options: &RestoreOptions,
    report: &mut RestoreReport,
) -> Result<Vec<(&'a ComponentRecord, Inventory)>> {
    let mut inventories = Vec::new();
    for record in chain.components(&options.components)? {
        match chain.inventory(&record.name) {
            Err(e) if e.is_damage() => report.findings.push(Finding::index(&chain.backup.manifest.id, record, &e)),
            inventory => inventories.push((record, inventory?)),
        }
    }
    Ok(inventories)
}

/// A file that was not read cleanly comes back as it was stored, and that is said.
fn unsettled(component: &str, path: &EntryPath) -> Problem {
    Problem { kind: ProblemKind::Unsettled, path: format!("{component}/{path}"), detail: UNSETTLED.into() }
}

/// What is wrong with a file that was not read cleanly when it was captured.
pub const UNSETTLED: &str =
    "it could not be read cleanly when it was captured: its content may be of several moments, or zeros in part";

/// Nothing is removed when the index cannot say any more what belongs to the backup.
fn nothing_removed(component: &str) -> Problem {
    let detail = "nothing was removed in it: lines of its index are lost, and what they listed must stay";
    Problem { kind: ProblemKind::NotRemoved, path: component.into(), detail: detail.into() }
}

/// Whoever asked for something that is not there must not take silence for success.
fn matched_something(report: &RestoreReport, options: &RestoreOptions) -> Result<()> {
    if report.entries > 0 || options.selection.is_everything() {
        return Ok(());
    }
    Err(Error::new(Kind::NotFound, format!("nothing in backup {} matches the selection", report.id))
        .hint(Hint::ListEntries))
}

/// Checks that the target may be used, without touching it.
fn begin(chain: &Arc<Chain>, target: &Path, options: &RestoreOptions) -> Result<RestoreReport> {
    if options.delete && !options.selection.is_everything() {
        return Err(Error::usage("a deletion cannot be combined with a selection")
            .hint("it would remove what was only not selected"));
    }
    chain.components(&options.components)?;
    let continued = marker::belongs_to(target, chain, options)?;
    if !options.overwrite && !continued && !is_empty(target)? {
        return Err(
            Error::new(Kind::WouldOverwrite, format!("{} is not empty", path_text(target))).hint(Hint::TargetInUse)
        );
    }
    let id: &BackupId = &chain.backup.manifest.id;
    Ok(RestoreReport { id: id.to_string(), target: target.to_owned(), ..RestoreReport::default() })
}

fn is_empty(dir: &Path) -> Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut names) => Ok(names.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e).at("cannot list", dir),
    }
}
