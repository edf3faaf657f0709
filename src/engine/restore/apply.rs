//! Carries a restore out: folders as they come, content by all cores, then hard links, extras, and folders' metadata.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::io::Errno;

use super::chosen::{Chosen, selected};
use super::extras::{path_digests, problems_of};
use super::options::{RestoreOptions, RestoreReport};
use crate::archive::Scratch;
use crate::engine::chain::Chain;
use crate::engine::content::{self, Frame, Sink, Streams, check_digest};
use crate::engine::finding::Finding;
use crate::error::{Error, Result};
use crate::index::Inventory;
use crate::model::{BackupId, Digest, Entry, EntryKind, EntryPath, Position, Problem, ProblemKind, escape_path};
use crate::monitor::Monitor;
use crate::source::files::destination::{Destination, Existing, is_part_name};
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

/// One component on its way into its folder.
pub(super) struct ComponentRestore<'a> {
    pub(super) chain: &'a Arc<Chain>,
    pub(super) name: &'a str,
    pub(super) inventory: &'a Inventory,
    pub(super) target: &'a Destination,
    pub(super) options: &'a RestoreOptions,
    pub(super) before: Before,
    /// What the plan removes.
    pub(super) extras: &'a [Box<[u8]>],
    pub(super) monitor: &'a dyn Monitor,
}

impl ComponentRestore<'_> {
    pub(super) fn run(&self, report: &mut RestoreReport) -> Result<()> {
        let Self { name, inventory, target, .. } = *self;
        let writer = Writer {
            backup: &self.chain.backup.manifest.id,
            component: name,
            target,
            fresh: self.before == Before::Empty,
            monitor: self.monitor,
            state: Mutex::default(),
            written: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        let outcome = self.fill(&writer, report);
        // Whatever ended it: what was done until then is done, and is said.
        let state = writer.state.into_inner().map_err(threads::died)?;
        report.written += writer.written.load(Ordering::Relaxed);
        report.unchanged += writer.unchanged.load(Ordering::Relaxed);
        report.bytes_written += writer.bytes.load(Ordering::Relaxed);
        report.findings.extend(inventory.losses().iter().map(|loss| Finding::lines(writer.backup, name, loss)));
        report.findings.extend(state.findings);
        report.problems.extend(state.problems);
        let came = state.unsettled.iter().filter(|path| !state.lost.contains(path));
        came.for_each(|path| report.add_unsettled(name, path));
        report.problems.extend(problems_of(target, name));
        outcome.and(target.sync())
    }

    /// Makes everything in the component's folder.
    fn fill(&self, writer: &Writer<'_>, report: &mut RestoreReport) -> Result<()> {
        let Self { name, inventory, target, options, monitor, .. } = *self;
        let mut links = Vec::new();
        let mut arrange = |chosen: Chosen| {
            let entry = match chosen {
                Chosen::Way(entry) => return target.make_dir(&entry).map(|()| None),
                Chosen::Damaged(entry, error) => {
                    report.entries += 1;
                    return writer.note(&entry, Err(error)).map(|()| None);
                }
                Chosen::Entry(entry) => entry,
            };
            report.entries += 1;
            if inventory.is_lossy() {
                target.make_folders_above(&entry.path)?;
            }
            match entry.kind {
                EntryKind::Dir => return target.make_dir(&entry).map(|()| None),
                EntryKind::Hardlink { .. } => {
                    links.push(entry);
                    return Ok(None);
                }
                EntryKind::File { unsettled: true, .. } => writer.state()?.unsettled.push(entry.path.clone()),
                _ => {}
            }
            Ok(Some(entry))
        };
        let archives = self.chain.archives(name);
        let contents =
            selected(inventory, &options.selection)?.filter_map(|chosen| chosen.and_then(&mut arrange).transpose());
        syncing_early(target, || content::read_all(&archives, contents, writer, options.threads, monitor))?;
        for link in links {
            monitor.check()?;
            writer.link(&link)?;
        }
        if options.delete {
            target.remove(self.extras, &mut |path| report.deleted.push(format!("{name}/{}", escape_path(path))));
        } else if self.before == Before::Continued && !inventory.is_lossy() {
            let known = path_digests(inventory, monitor)?;
            let is_part = |path: &[u8]| path.rsplit(|&b| b == b'/').next().is_some_and(is_part_name);
            let parts = target.extras(&|path| !is_part(path) || known.contains(&Digest::of(path)), true)?;
            target.remove(&parts, &mut |_| {});
        }
        self.finish_folders(writer)
    }

    /// Folders get their metadata deepest first, when nothing below them changes any more.
    fn finish_folders(&self, writer: &Writer<'_>) -> Result<()> {
        let Self { inventory, options, .. } = *self;
        let mut scratch = Scratch::new()?;
        let touched = if options.selection.is_everything() {
            None
        } else {
            let folders = selected(inventory, &options.selection)?.filter_map(|chosen| match chosen {
                Ok(Chosen::Way(entry) | Chosen::Entry(entry)) if entry.kind == EntryKind::Dir => Some(entry.path),
                _ => None,
            });
            Some(folders.collect::<HashSet<_>>())
        };
        for number in (0..inventory.segments().len()).rev() {
            self.monitor.check()?;
            for entry in inventory.readable_segment(number, &mut scratch)?.into_iter().rev() {
                let selected = || touched.as_ref().is_none_or(|t| t.contains(&entry.path));
                if entry.kind == EntryKind::Dir && selected() && !inventory.is_lost(&entry.path) {
                    let finished = self.target.finish_dir(&entry);
                    finished.map_err(|e| e.within(format!("cannot restore {}", entry.path)))?;
                    writer.count(&writer.written, 0);
                }
            }
        }
        Ok(())
    }
}

/// Syncs the target now and then while `work` writes, so that the disk has its share before the end. A failed sync is
/// final: the next one would not tell it again.
fn syncing_early(target: &Destination, work: impl FnOnce() -> Result<()>) -> Result<()> {
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
        let synced = syncing.join().unwrap_or_else(|e| Err(threads::died(e)));
        outcome.and(synced)
    })
}

#[derive(Debug, Default)]
struct State {
    findings: Vec<Finding>,
    problems: Vec<Problem>,
    /// Files that were not restored; hard links to them cannot be either.
    lost: HashSet<EntryPath>,
    /// Devices that need root, and what the file system cannot hold; hard links to them cannot be made either.
    unmade: HashSet<EntryPath>,
    /// Files that were not read cleanly when they were captured.
    unsettled: Vec<EntryPath>,
}

/// The sink that writes.
struct Writer<'a> {
    backup: &'a BackupId,
    component: &'a str,
    target: &'a Destination,
    /// Nothing was there before.
    fresh: bool,
    monitor: &'a dyn Monitor,
    state: Mutex<State>,
    written: AtomicU64,
    unchanged: AtomicU64,
    bytes: AtomicU64,
}

impl Writer<'_> {
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(threads::died)
    }

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

    /// Notes damage, and what the target's file system cannot hold, and goes on; any other failure ends the run.
    fn note(&self, entry: &Entry, result: Result<()>) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        if !error.is_damage() && cannot_hold(entry, &error) {
            let mut state = self.state()?;
            state.unmade.insert(entry.path.clone());
            let path = format!("{}/{}", self.component, entry.path);
            state.problems.push(Problem { kind: ProblemKind::NotRestored, path, detail: error.one_line() });
            return Ok(());
        }
        if !error.is_damage() {
            return Err(error.within(format!("cannot restore {}", entry.path)));
        }
        let mut state = self.state()?;
        state.lost.insert(entry.path.clone());
        state.findings.push(Finding::content(self.backup, self.component, &entry.path, &error));
        Ok(())
    }

    /// Writes an entry by `write`, if that is needed.
    fn restore(&self, entry: &Entry, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let needed = self.is_needed(entry);
        self.note(entry, needed.and_then(|needed| if needed { write() } else { Ok(()) }))
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
                if !self.target.make_node(entry)? {
                    self.state()?.unmade.insert(entry.path.clone());
                    self.monitor.advance(0, 1);
                    return Ok(());
                }
            }
            EntryKind::File { .. } => return self.small(entry, b""),
            EntryKind::Dir | EntryKind::Hardlink { .. } => {}
        }
        self.count(&self.written, 0);
        Ok(())
    }

    fn link(&self, entry: &Entry) -> Result<()> {
        let EntryKind::Hardlink { target: first } = &entry.kind else { return Ok(()) };
        let mut state = self.state()?;
        if state.unmade.contains(first) {
            let detail = format!("it is a hard link to {first}, which was not made");
            let path = format!("{}/{}", self.component, entry.path);
            state.problems.push(Problem { kind: ProblemKind::Metadata, path, detail });
            return Ok(());
        }
        let lost = state.lost.contains(first);
        drop(state);
        if lost {
            let why = Error::damage(format!("it is a hard link to {first}, which could not be restored"));
            return self.note(entry, Err(why));
        }
        self.restore(entry, || {
            self.target.make_hardlink(entry)?;
            self.count(&self.written, 0);
            Ok(())
        })
    }
}

impl Sink for Writer<'_> {
    fn anchor(&self, entry: &Entry) -> Option<Position> {
        let EntryKind::File { extents, .. } = &entry.kind else { return None };
        let first = extents.iter().find(|e| e.length > 0)?;
        Some(Position { backup: first.backup.clone(), volume: first.volume, offset: first.offset })
    }

    fn frame(&self, entries: Vec<Entry>, frame: &Frame<'_>, streams: &mut Streams<'_>) -> Result<()> {
        for entry in entries {
            let EntryKind::File { extents, .. } = &entry.kind else { continue };
            let content = if let [only] = extents.as_slice() { frame.slice(only) } else { None };
            self.restore(&entry, || match content {
                Some(content) => self.small(&entry, content),
                None => self.stream(&entry, frame, streams),
            })?;
        }
        Ok(())
    }

    fn plain(&self, entries: Vec<Entry>) -> Result<()> {
        entries.iter().try_for_each(|entry| self.restore(entry, || self.other(entry)))
    }

    fn unreadable(&self, entries: Vec<Entry>, error: &Error) -> Result<()> {
        for entry in entries {
            let why = error.clone().within(format!("the content of {} cannot be read", entry.path));
            // What lies in the target already may be whole although its archive is not.
            if error.is_damage() { self.restore(&entry, || Err(why))? } else { self.note(&entry, Err(why))? }
        }
        Ok(())
    }
}

/// Whether the target's file system cannot hold just this: its name, its size, its type, or so many names of one file. All
/// else can be there.
fn cannot_hold(entry: &Entry, error: &Error) -> bool {
    match error.errno() {
        Some(Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL | Errno::FBIG | Errno::MLINK | Errno::OPNOTSUPP) => true,
        // So says one that has no links or pipes.
        Some(Errno::PERM) => !matches!(entry.kind, EntryKind::File { .. }),
        _ => false,
    }
}
