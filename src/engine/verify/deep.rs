//! The half of `verify` that opens everything: decrypts, decompresses, re-hashes every selected file, and compares the tar
//! member of every selected entry with its line, so that a restore by hand would give the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::archive::tar::parse_member;
use crate::engine::chain::{Archives, Chain};
use crate::engine::content::{self, Frame, Sink, Streams, check_digest};
use crate::engine::finding::{Finding, FindingKind};
use crate::error::{Error, Result};
use crate::index::Inventory;
use crate::model::{
    ArchiveRecord, BackupId, ComponentRecord, Digest, Entry, EntryKind, MAX_OFFSET, Position, ProblemKind,
};
use crate::monitor::Monitor;
use crate::repo::backup::Backup;
use crate::threads;

/// What was opened, and what was found.
#[derive(Debug)]
pub(super) struct Deep {
    /// Share of the entries that are opened.
    pub(super) percent: f64,
    pub(super) threads: usize,
    pub(super) entries: u64,
    pub(super) findings: Vec<Finding>,
}

/// Bytes of content and number of entries that will be opened, roughly.
pub(super) fn extent<'a>(backups: impl Iterator<Item = &'a Backup>, percent: f64) -> (u64, u64) {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a guess")]
    let share = |n: u64| (n as f64 * percent / 100.0) as u64;
    backups.flat_map(|b| &b.manifest.components).fold((0, 0), |(bytes, entries): (u64, u64), c| {
        (bytes.saturating_add(share(c.content_bytes)), entries.saturating_add(share(c.entries)))
    })
}

impl Deep {
    /// Checks all components of a backup.
    pub(super) fn backup(&mut self, chain: &Arc<Chain>, monitor: &dyn Monitor) -> Result<()> {
        chain.backup.manifest.components.iter().try_for_each(|record| self.component(chain, record, monitor))
    }

    fn component(&mut self, chain: &Arc<Chain>, record: &ComponentRecord, monitor: &dyn Monitor) -> Result<()> {
        let id = &chain.backup.manifest.id;
        match chain.inventory(&record.name).and_then(|inventory| self.entries(id, chain, record, &inventory, monitor)) {
            Err(e) if e.is_damage() => self.findings.push(Finding::index(id, record, &e)),
            result => result?,
        }
        Ok(())
    }

    /// Checks what an inventory lists, as far as it can be read.
    fn entries(
        &mut self,
        id: &BackupId,
        chain: &Arc<Chain>,
        record: &ComponentRecord,
        inventory: &Inventory,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let name = &record.name;
        for fault in problems_faults(inventory, record) {
            self.findings.push(Finding::index(id, record, &Error::damage(fault)));
        }
        let archives = chain.archives(name);
        for archive in &record.archives {
            self.findings.extend(archive_fault(id, name, &archives, archive)?);
        }
        let checker = ContentChecker {
            backup: id,
            component: name,
            inventory,
            findings: Mutex::default(),
            entries: AtomicU64::new(0),
            monitor,
        };
        let mut totals = Totals::default();
        let all = inventory.readable()?.inspect(|e| e.iter().for_each(|e| totals.add(e, id)));
        let chosen = all.filter(|e| e.as_ref().map_or(true, |e| is_chosen(e, self.percent)));
        let result = content::read_all(&archives, chosen, &checker, self.threads, monitor);
        self.entries += checker.entries.load(Ordering::Relaxed);
        if result.is_ok() && !inventory.is_lossy() {
            self.findings.extend(totals.faults(record).map(|fault| Finding::of_component(id, name, fault)));
        }
        self.findings.extend(inventory.losses().iter().map(|loss| Finding::lines(id, name, loss)));
        self.findings.extend(checker.findings.into_inner().map_err(threads::died)?);
        result
    }
}

/// What an inventory comes to.
#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    new_entries: u64,
    content_bytes: u64,
}

impl Totals {
    fn add(&mut self, entry: &Entry, own: &BackupId) {
        self.entries += 1;
        self.new_entries += u64::from(entry.home.backup == *own);
        self.content_bytes = self.content_bytes.saturating_add(entry.size()).min(MAX_OFFSET);
    }

    /// What the manifest says otherwise.
    fn faults(&self, record: &ComponentRecord) -> impl Iterator<Item = String> {
        let rows = [
            ("entries", self.entries, record.entries),
            ("new entries", self.new_entries, record.new_entries),
            ("bytes of content", self.content_bytes, record.content_bytes),
        ];
        let faults = rows.into_iter().filter(|(_, listed, promised)| listed != promised);
        faults.map(|(what, listed, promised)| format!("its index lists {listed} {what}, the manifest says {promised}"))
    }
}

/// What is wrong with the list of problems.
fn problems_faults(inventory: &Inventory, record: &ComponentRecord) -> Vec<String> {
    let mut faults: Vec<_> =
        inventory.problems_fault().map(|why| format!("its list of problems is lost: {why}")).into_iter().collect();
    let mut counts = BTreeMap::<&ProblemKind, u64>::new();
    for problem in inventory.problems() {
        *counts.entry(&problem.kind).or_default() += 1;
    }
    let promised = |kind: &ProblemKind| record.problems.iter().find(|p| p.kind == *kind).map_or(0, |p| p.count);
    let mut rows: Vec<_> = counts.into_iter().map(|(kind, listed)| (kind, listed, promised(kind))).collect();
    rows.push((&ProblemKind::LeftOut, inventory.left_out().len() as u64, record.left_out.unwrap_or(0)));
    let more = rows.into_iter().filter(|(_, listed, promised)| listed > promised);
    faults.extend(more.map(|(kind, listed, promised)| {
        format!("its index lists {listed} problems of the kind {:?}, the manifest counts {promised}", kind.as_str())
    }));
    faults
}

/// What the manifest says otherwise about the frames of an archive, or why it cannot be opened.
fn archive_fault(
    id: &BackupId,
    component: &str,
    archives: &Archives,
    record: &ArchiveRecord,
) -> Result<Option<Finding>> {
    let fault = match archives.open(id, record.volume) {
        Err(e) if e.is_damage() => e.one_line(),
        Err(e) => return Err(e),
        Ok(archive) => {
            let (frames, bytes) = (archive.frames() as u64, archive.stream_bytes());
            if (frames, bytes) == (record.frames, record.tar_bytes) {
                return Ok(None);
            }
            let ArchiveRecord { frames: promised, tar_bytes, .. } = record;
            format!("it holds {frames} frames of {bytes} bytes, the manifest says {promised} of {tar_bytes}")
        }
    };
    Ok(Some(Finding::of_file(id, Some(component), &record.name, FindingKind::Content, fault)))
}

/// A sample is drawn anew every run: over time everything gets its turn.
fn is_chosen(entry: &Entry, percent: f64) -> bool {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::LazyLock;
    static DRAW: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    #[expect(clippy::cast_precision_loss, reason = "a share of files needs no more than 53 bits")]
    let share = (DRAW.hash_one(entry.path.as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
    share * 100.0 < percent
}

struct ContentChecker<'a> {
    backup: &'a BackupId,
    component: &'a str,
    inventory: &'a Inventory,
    findings: Mutex<Vec<Finding>>,
    entries: AtomicU64,
    monitor: &'a dyn Monitor,
}

impl ContentChecker<'_> {
    fn check(&self, entry: &Entry, frame: &Frame<'_>, streams: &mut Streams<'_>) -> Result<()> {
        check_member(entry, frame)?;
        if let EntryKind::Hardlink { target } = &entry.kind {
            self.inventory.first_name(&entry.path, target)?;
        }
        let EntryKind::File { extents, sha256, .. } = &entry.kind else {
            self.monitor.advance(0, 1);
            return Ok(());
        };
        let inside = if let [only] = extents.as_slice() { frame.slice(only) } else { None };
        match inside {
            Some(content) => {
                self.monitor.advance(content.len() as u64, 1);
                check_digest(entry, Digest::of(content), *sha256)
            }
            None => {
                self.monitor.advance(0, 1);
                streams.content(entry, frame, &mut |_, _| Ok(()))
            }
        }
    }

    fn note(&self, entry: &Entry, error: &Error) -> Result<()> {
        let mut findings = self.findings.lock().map_err(threads::died)?;
        findings.push(Finding::content(self.backup, self.component, &entry.path, error));
        Ok(())
    }
}

/// The tar member at the entry's home must say what the index says.
fn check_member(entry: &Entry, frame: &Frame<'_>) -> Result<()> {
    let bad = |what: String| Error::damage(format!("the tar member of {} {what}", entry.path));
    let bytes = frame.from(entry.home.offset).ok_or_else(|| bad("is not in its frame".into()))?;
    let member = parse_member(bytes)?.ok_or_else(|| bad("is missing".into()))?;
    let mut whole = None;
    if matches!(entry.kind, EntryKind::File { in_pieces: true, .. }) && !member.in_pieces {
        // A large file that changed while it was read is listed in pieces although its member holds its content.
        let mut entry = entry.clone();
        if let EntryKind::File { in_pieces, .. } = &mut entry.kind {
            *in_pieces = false;
        }
        whole = Some(entry);
    }
    member
        .difference(whole.as_ref().unwrap_or(entry))
        .or_else(|| member.misplaced_content(entry))
        .map_or(Ok(()), |difference| Err(bad(format!("differs from the index: {difference}"))))
}

impl Sink for ContentChecker<'_> {
    fn anchor(&self, entry: &Entry) -> Option<Position> {
        Some(entry.home.clone())
    }

    fn frame(&self, entries: Vec<Entry>, frame: &Frame<'_>, streams: &mut Streams<'_>) -> Result<()> {
        for entry in entries {
            self.entries.fetch_add(1, Ordering::Relaxed);
            match self.check(&entry, frame, streams) {
                Err(e) if e.is_damage() => self.note(&entry, &e)?,
                other => other?,
            }
        }
        Ok(())
    }

    fn plain(&self, _entries: Vec<Entry>) -> Result<()> {
        Ok(())
    }

    fn unreadable(&self, entries: Vec<Entry>, error: &Error) -> Result<()> {
        if !error.is_damage() {
            return Err(error.clone());
        }
        entries.iter().try_for_each(|entry| self.note(entry, error))
    }
}
