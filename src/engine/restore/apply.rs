//! Carries a restore out: folders as they come, content by all cores, then hard links, extras, and folders' metadata.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::plan::selected;
use super::{Options, Report};
use crate::archive::Scratch;
use crate::engine::chain::{Archives, Chain};
use crate::engine::content::{self, Frame, Place, Sink, Streams, check_digest};
use crate::engine::target::{Existing, Target, is_part_name};
use crate::engine::verify::Finding;
use crate::error::{Error, Kind, Result};
use crate::index::Inventory;
use crate::model::{BackupId, Digest, Entry, EntryKind, EntryPath};
use crate::monitor::Monitor;
use crate::source::Problem;
use crate::threads;

/// What the folder of a component was before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Before {
    /// Empty or missing.
    Empty,
    /// Something is there.
    Used,
    /// An earlier run was cut short there.
    Continued,
}

/// How often a restore begins to bring what it has written to the disk.
const SYNC_EVERY: Duration = Duration::from_millis(250);

/// Restores one component.
pub(super) fn component(
    chain: &Arc<Chain>,
    name: &str,
    target: &Target,
    options: &Options,
    before: Before,
    monitor: &dyn Monitor,
    report: &mut Report,
) -> Result<()> {
    let inventory = chain.inventory(name)?;
    let archives = chain.archives(name);
    let writer = Writer {
        backup: &chain.backup.manifest.id,
        component: name,
        target,
        everything: options.selection.is_everything(),
        fresh: before == Before::Empty,
        monitor,
        state: Mutex::default(),
        written: AtomicU64::new(0),
        unchanged: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let mut entries = 0;
    let outcome = fill(&inventory, &archives, &writer, options, before, monitor, &mut entries, report);
    // Whatever ended it: what was done until then is done, and is said.
    let state = writer.state.into_inner().map_err(|_| Error::failed("a worker died"))?;
    report.entries += entries;
    report.written += writer.written.load(Ordering::Relaxed);
    report.unchanged += writer.unchanged.load(Ordering::Relaxed);
    report.bytes_written += writer.bytes.load(Ordering::Relaxed);
    report.findings.extend(state.findings);
    report.problems.extend(target.take_problems().into_iter().map(|(path, detail)| Problem {
        kind: "metadata".into(),
        path: format!("{name}/{path}"),
        detail,
    }));
    outcome.and(target.sync())
}

/// Makes everything in the component's folder.
#[expect(clippy::too_many_arguments, reason = "the parts of one restore, taken apart only to count what it did")]
fn fill(
    inventory: &Inventory,
    archives: &Archives,
    writer: &Writer<'_>,
    options: &Options,
    before: Before,
    monitor: &dyn Monitor,
    entries: &mut u64,
    report: &mut Report,
) -> Result<()> {
    let target = writer.target;
    let mut links = Vec::new();
    let contents = selected(inventory, &options.selection)?.filter_map(|entry| match entry {
        Err(e) => Some(Err(e)),
        Ok((entry, false)) => target.make_dir(&entry).err().map(Err),
        Ok((entry, true)) => {
            *entries += 1;
            match entry.kind {
                EntryKind::Dir => target.make_dir(&entry).err().map(Err),
                EntryKind::Hardlink { .. } => {
                    links.push(entry);
                    None
                }
                _ => Some(Ok(entry)),
            }
        }
    });
    syncing_early(target, || content::read_all(archives, contents, writer, options.threads, monitor))?;
    for link in links {
        monitor.check()?;
        writer.link(&link)?;
    }
    if options.delete {
        delete_extras(inventory, writer.component, target, monitor, report)?;
    } else if before == Before::Continued {
        let known = path_digests(inventory, monitor)?;
        let is_part = |path: &[u8]| path.rsplit(|&b| b == b'/').next().is_some_and(is_part_name);
        target.sweep(&|path| !is_part(path) || known.contains(&Digest::of(path)), false, &mut |_| {})?;
    }
    finish_folders(inventory, options, target, writer, monitor)
}

/// Syncs the target now and then while `work` writes, so that the disk has its share before the end. A failed sync is
/// final: the next one would not tell it again.
fn syncing_early(target: &Target, work: impl FnOnce() -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let (running, ended) = bounded::<()>(0);
        let syncing = threads::start(scope, "sync", move || -> Result<()> {
            while ended.recv_timeout(SYNC_EVERY) == Err(RecvTimeoutError::Timeout) {
                target.sync()?;
            }
            Ok(())
        })?;
        let outcome = work();
        drop(running);
        let synced = syncing.join().unwrap_or_else(|_| Err(Error::failed("the thread that syncs ended unexpectedly")));
        outcome.and(synced)
    })
}

#[derive(Debug, Default)]
struct State {
    findings: Vec<Finding>,
    /// Files that were not restored; their further names cannot be either.
    lost: HashSet<EntryPath>,
}

/// The sink that writes.
struct Writer<'a> {
    backup: &'a BackupId,
    component: &'a str,
    target: &'a Target,
    /// Nothing was left out by a selection.
    everything: bool,
    /// Nothing was there before.
    fresh: bool,
    monitor: &'a dyn Monitor,
    state: Mutex<State>,
    written: AtomicU64,
    unchanged: AtomicU64,
    bytes: AtomicU64,
}

impl Writer<'_> {
    fn count(&self, counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.monitor.advance(bytes, 1);
    }

    /// Whether the entry has to be written; what is there and equal is only put right in its metadata.
    fn is_needed(&self, entry: &Entry) -> Result<bool> {
        if self.fresh {
            return Ok(true);
        }
        let same = match self.target.existing(entry)? {
            Existing::Absent | Existing::Other => false,
            Existing::Same => true,
            Existing::SameShape(_) => match &entry.kind {
                EntryKind::File { sha256, .. } if self.target.hash_existing(entry)? == Some(*sha256) => {
                    self.target.fix_metadata(entry)?;
                    true
                }
                _ => false,
            },
        };
        if same {
            self.count(&self.unchanged, entry.size());
        }
        Ok(!same)
    }

    /// Notes damage and goes on; any other failure ends the run.
    fn note(&self, entry: &Entry, result: Result<()>) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        if error.kind() != Kind::Damage {
            return Err(error.within(format!("cannot restore {}", entry.path)));
        }
        let mut state = self.state.lock().map_err(|_| Error::failed("a worker died"))?;
        state.lost.insert(entry.path.clone());
        state.findings.push(Finding::content(self.backup, self.component, &entry.path, &error));
        Ok(())
    }

    fn small(&self, entry: &Entry, content: &[u8]) -> Result<()> {
        let EntryKind::File { sha256, .. } = &entry.kind else { return Ok(()) };
        check_digest(entry, Digest::of(content), *sha256)?;
        self.target.write_file(entry, content)?;
        self.bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
        self.count(&self.written, content.len() as u64);
        Ok(())
    }

    fn stream(&self, entry: &Entry, frame: &Frame<'_>, streams: &mut Streams<'_>) -> Result<()> {
        let file = self.target.begin_file(entry)?;
        let mut bytes = 0;
        let read = streams.content(entry, frame, &mut |offset, piece| {
            bytes += piece.len() as u64;
            file.write_at(offset, piece)
        });
        if let Err(error) = read {
            file.discard();
            return Err(error);
        }
        file.commit()?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.count(&self.written, 0);
        Ok(())
    }

    fn other(&self, entry: &Entry) -> Result<()> {
        match &entry.kind {
            EntryKind::Symlink { .. } => self.target.make_symlink(entry)?,
            EntryKind::Fifo | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => {
                self.target.make_node(entry)?;
            }
            EntryKind::File { .. } => return self.small(entry, b""),
            EntryKind::Dir | EntryKind::Hardlink { .. } => {}
        }
        self.count(&self.written, 0);
        Ok(())
    }

    fn link(&self, entry: &Entry) -> Result<()> {
        let EntryKind::Hardlink { target: first } = &entry.kind else { return Ok(()) };
        let lost = self.state.lock().map_err(|_| Error::failed("a worker died"))?.lost.contains(first);
        if lost {
            let why = Error::damage(format!("it is a further name of {first}, which could not be restored"));
            return self.note(entry, Err(why));
        }
        if !self.fresh && self.target.existing(entry)? == Existing::Same {
            self.count(&self.unchanged, 0);
            return Ok(());
        }
        match self.target.make_hardlink(entry) {
            // When all was restored, the inventory names something that it does not list.
            Err(e) if e.kind() == Kind::NotFound && self.everything => {
                return self.note(entry, Err(Error::damage(e.one_line())));
            }
            result => result.map_err(|e| e.within(format!("cannot restore {}", entry.path)))?,
        }
        self.count(&self.written, 0);
        Ok(())
    }
}

impl Sink for Writer<'_> {
    fn anchor(&self, entry: &Entry) -> Option<Place> {
        let EntryKind::File { extents, .. } = &entry.kind else { return None };
        let first = extents.first().filter(|e| e.length > 0)?;
        Some(Place { backup: first.backup.clone(), volume: first.volume, offset: first.offset })
    }

    fn frame(&self, entries: Vec<Entry>, frame: &Frame<'_>, streams: &mut Streams<'_>) -> Result<()> {
        for entry in entries {
            let EntryKind::File { extents, .. } = &entry.kind else { continue };
            if !self.is_needed(&entry)? {
                continue;
            }
            let content = if let [only] = extents.as_slice() { frame.slice(only) } else { None };
            let result = match content {
                Some(content) => self.small(&entry, content),
                None => self.stream(&entry, frame, streams),
            };
            self.note(&entry, result)?;
        }
        Ok(())
    }

    fn plain(&self, entries: Vec<Entry>) -> Result<()> {
        for entry in entries {
            if self.is_needed(&entry)? {
                self.note(&entry, self.other(&entry))?;
            }
        }
        Ok(())
    }

    fn unreadable(&self, entries: Vec<Entry>, error: &Error) -> Result<()> {
        for entry in entries {
            let why = Error::new(error.kind(), error.one_line());
            // What lies in the target already may be whole although its archive is not.
            if error.kind() != Kind::Damage || self.is_needed(&entry)? {
                let path = &entry.path;
                self.note(&entry, Err(why.within(format!("the content of {path} cannot be read"))))?;
            }
        }
        Ok(())
    }
}

fn delete_extras(
    inventory: &Inventory,
    component: &str,
    target: &Target,
    monitor: &dyn Monitor,
    report: &mut Report,
) -> Result<()> {
    let keep = path_digests(inventory, monitor)?;
    target.sweep(&|path| keep.contains(&Digest::of(path)), false, &mut |path| {
        report.deleted.push(format!("{component}/{}", crate::model::escape_path(path)));
    })
}

/// Digests of all paths, so that memory does not depend on their length.
pub(super) fn path_digests(inventory: &Inventory, monitor: &dyn Monitor) -> Result<HashSet<Digest>> {
    let mut keep = HashSet::new();
    for entry in inventory.iter()? {
        monitor.check()?;
        keep.insert(Digest::of(entry?.path.as_bytes()));
    }
    Ok(keep)
}

/// Folders get their metadata deepest first, when nothing below them changes any more.
fn finish_folders(
    inventory: &Inventory,
    options: &Options,
    target: &Target,
    writer: &Writer<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut scratch = Scratch::new()?;
    let touched = if options.selection.is_everything() {
        None
    } else {
        let all = selected(inventory, &options.selection)?;
        let folders = all.filter_map(|e| e.ok().filter(|(e, _)| e.kind == EntryKind::Dir).map(|(e, _)| e.path));
        Some(folders.collect::<HashSet<_>>())
    };
    for number in (0..inventory.segments().len()).rev() {
        monitor.check()?;
        for entry in inventory.read_segment(number, &mut scratch)?.into_iter().rev() {
            if entry.kind == EntryKind::Dir && touched.as_ref().is_none_or(|t| t.contains(&entry.path)) {
                target.finish_dir(&entry).map_err(|e| e.within(format!("cannot restore {}", entry.path)))?;
                writer.count(&writer.written, 0);
            }
        }
    }
    Ok(())
}
