//! Looks at a folder again and again until two looks in a row agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use super::file::{HeldFile, Look, Root, Stamp};
use super::list::{Listing, list, missing, problem};
use crate::error::{Context as _, Error, Kind, Result};
use crate::model::{Digest, EntryPath, Problem, ProblemKind};
use crate::monitor::Monitor;
use crate::source::{Body, Object};

/// A file that was read this long after its last change cannot have been changed within the same tick of the clock.
const QUIET: Duration = Duration::from_millis(50);
/// One that looks half-written is given so long to be finished; after it, that is what it is.
const FINISHED: Duration = Duration::from_secs(2);
/// How long the rounds wait for each other, in milliseconds; the first two follow each other at once when nothing moves.
const PAUSES: [u64; 10] = [20, 60, 100, 200, 300, 400, 500, 500, 500, 500];
/// More rounds, while files go.
const MORE_ROUNDS: usize = 20;
/// Most bytes that are kept in memory between judging and capturing; what is beyond is read a second time.
const MAX_KEPT: u64 = 48 << 20;

/// What is larger is given to the engine as a stream, in bytes.
const MAX_BYTES_OF_OBJECT: usize = 4 << 20;

/// Knows what the files of a service look like.
pub(in crate::source) trait Reader {
    /// What is remembered of a file.
    type Facts;

    /// Largest file that is read into memory, in bytes.
    const MAX_BYTES: u64;

    /// Whether a file or folder (the second argument) belongs to what is captured.
    fn wanted(&self, path: &EntryPath, folder: bool) -> bool;

    /// Whatever keeps writers away while a file is read; none where nothing does.
    fn guard(&self, _root: &Root, _path: &EntryPath) -> Result<Option<std::fs::File>> {
        Ok(None)
    }

    /// What the bytes say.
    fn judge(&self, path: &EntryPath, bytes: &[u8]) -> Judged<Self::Facts>;

    /// What is said of a file that nobody could read.
    fn unread(&self, path: &EntryPath, fault: Fault) -> Self::Facts;
}

/// What a reader says of the bytes of a file.
#[derive(Debug)]
pub(in crate::source) struct Judged<F> {
    /// What is remembered.
    pub(in crate::source) facts: F,
    /// Whether they are as a file of its sort must be. What is not may be half-written.
    pub(in crate::source) whole: bool,
}

/// Why a file has no bytes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Fault {
    /// It has more than [`Reader::MAX_BYTES`].
    TooLarge,
    /// It changed during every look.
    Moving,
    /// The system did not let it be read.
    Unreadable,
}

/// A file as it was last read.
pub(in crate::source) struct Known<F> {
    /// Its state then.
    pub(in crate::source) stamp: Option<Stamp>,
    /// What the reader said of it.
    pub(in crate::source) facts: F,
    /// Why it has no bytes, if it has none.
    pub(in crate::source) fault: Option<Fault>,
    /// Of its bytes, if it has any.
    pub(in crate::source) digest: Option<Digest>,
    kept: Option<Vec<u8>>,
    settled: bool,
    since: Instant,
    /// The round that met it first.
    met: usize,
    /// What the system said.
    detail: String,
}

impl<F> Known<F> {
    /// Whether it held still.
    pub(in crate::source) fn is_settled(&self) -> bool {
        self.settled
    }
}

impl<F: fmt::Debug> fmt::Debug for Known<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stamp, facts, fault, settled, .. } = self;
        write!(f, "Known({stamp:?}, {facts:?}, {fault:?}, {settled})")
    }
}

/// A folder whose files are known.
#[derive(Debug)]
pub(in crate::source) struct Settled<F> {
    /// The folder.
    pub(in crate::source) root: Root,
    /// All files that are captured.
    pub(in crate::source) files: BTreeMap<EntryPath, Known<F>>,
    /// All folders below it.
    pub(in crate::source) folders: BTreeSet<EntryPath>,
    /// What cannot be captured, or not whole.
    pub(in crate::source) problems: Vec<Problem>,
    /// Files that somebody wrote during the last look: the next capture has them.
    pub(in crate::source) arrived: u64,
    /// Whether two looks agreed. If not, every file is whole, but they are of different moments.
    pub(in crate::source) still: bool,
    kept: u64,
}

/// Reads all files below `root`. A folder that is not there is [`Kind::NotFound`].
pub(in crate::source) fn settle<R: Reader>(
    root: &Path,
    reader: &R,
    monitor: &dyn Monitor,
) -> Result<Settled<R::Facts>> {
    let mut settled = Settled::open(root)?;
    let mut rounds = 0;
    for pause in PAUSES.into_iter().chain([PAUSES[0]; MORE_ROUNDS]) {
        let listing = list(&settled.root, |path, folder| reader.wanted(path, folder))?;
        let before: BTreeSet<EntryPath> = settled.files.keys().cloned().collect();
        let changed = settled.round(listing, reader, rounds, monitor)?;
        let lost = before.iter().any(|path| !settled.files.contains_key(path));
        let quiet = settled.files.values().all(|file| file.settled);
        rounds += 1;
        if rounds > 1 && !changed && quiet {
            settled.still = true;
            break;
        }
        // What is moved from one folder to another could be missed in both; so no look at which something went is the last.
        if rounds >= PAUSES.len() && !lost {
            break;
        }
        if !quiet || (changed && rounds > 1) {
            wait(Duration::from_millis(pause), monitor)?;
        }
    }
    settled.conclude(rounds - 1);
    Ok(settled)
}

/// Reads all files below a folder that nobody writes to.
pub(in crate::source) fn look_once<R: Reader>(
    root: &Path,
    reader: &R,
    monitor: &dyn Monitor,
) -> Result<Settled<R::Facts>> {
    let mut settled = Settled::open(root)?;
    let listing = list(&settled.root, |path, folder| reader.wanted(path, folder))?;
    settled.round(listing, reader, 0, monitor)?;
    settled.still = true;
    settled.files.values_mut().for_each(|file| file.settled |= file.fault != Some(Fault::Moving));
    settled.conclude(0);
    Ok(settled)
}

fn wait(pause: Duration, monitor: &dyn Monitor) -> Result<()> {
    monitor.check()?;
    std::thread::sleep(pause);
    monitor.check()
}

impl<F> Settled<F> {
    fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            return Err(missing(root));
        }
        Ok(Self {
            root: Root::open(root)?,
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            problems: Vec::new(),
            arrived: 0,
            still: false,
            kept: 0,
        })
    }

    /// Looks at what changed since the last round; says whether anything did.
    fn round<R: Reader<Facts = F>>(
        &mut self,
        listing: Listing,
        reader: &R,
        round: usize,
        monitor: &dyn Monitor,
    ) -> Result<bool> {
        let before = self.files.len();
        self.files.retain(|path, _| listing.files.contains_key(path));
        let mut changed = self.files.len() != before || self.folders != listing.folders;
        self.folders = listing.folders;
        self.problems = listing.problems;
        for (path, stamp) in &listing.files {
            let known = self.files.get(path);
            if known.is_none_or(|known| {
                !known.settled || (known.stamp != Some(*stamp) && known.fault != Some(Fault::Unreadable))
            }) {
                monitor.check()?;
                changed |= self.look(path, reader, round, monitor)?;
            }
        }
        Ok(changed)
    }

    /// Reads a file; says whether it is another than before.
    fn look<R: Reader<Facts = F>>(
        &mut self,
        path: &EntryPath,
        reader: &R,
        round: usize,
        monitor: &dyn Monitor,
    ) -> Result<bool> {
        let (look, guarded) = {
            let guard = reader.guard(&self.root, path)?;
            (self.root.look(path, R::MAX_BYTES), guard.is_some())
        };
        let old = self.files.remove(path);
        if let Some(kept) = old.as_ref().and_then(|old| old.kept.as_ref()) {
            self.kept -= kept.len() as u64;
        }
        let since = old.as_ref().map_or_else(Instant::now, |old| old.since);
        let met = old.as_ref().map_or(round, |old| old.met);
        let blank = |facts, fault, stamp, settled| Known {
            stamp,
            facts,
            fault: Some(fault),
            digest: None,
            kept: None,
            settled,
            since,
            met,
            detail: String::new(),
        };
        let (known, changed) = match look {
            Look::Gone => return Ok(old.is_some()),
            Look::Failed(error) => {
                let mut known = blank(reader.unread(path, Fault::Unreadable), Fault::Unreadable, None, true);
                known.detail = error.to_string();
                (known, false)
            }
            Look::TooLarge(stamp) => {
                (blank(reader.unread(path, Fault::TooLarge), Fault::TooLarge, Some(stamp), true), false)
            }
            // The last whole version stays what is known.
            Look::Moved => match old {
                Some(old) => (Known { settled: false, ..old }, true),
                None => (blank(reader.unread(path, Fault::Moving), Fault::Moving, None, false), true),
            },
            Look::Whole(bytes, stamp) => {
                monitor.throttle(bytes.len() as u64);
                let Judged { facts, whole } = reader.judge(path, &bytes);
                let digest = Some(Digest::of(&bytes));
                let same = old.as_ref().is_some_and(|old| old.stamp == Some(stamp) && old.digest == digest);
                let since = if same { since } else { Instant::now() };
                let quiet = if whole { QUIET } else { FINISHED };
                let settled = (guarded && whole)
                    || (same && since.elapsed() >= quiet)
                    || stamp.age().is_some_and(|age| age >= quiet);
                let kept = (self.kept + stamp.size <= MAX_KEPT).then_some(bytes);
                let known = Known {
                    stamp: Some(stamp),
                    facts,
                    fault: None,
                    digest,
                    kept,
                    settled,
                    since,
                    met,
                    detail: String::new(),
                };
                (known, !same)
            }
        };
        self.kept += known.kept.as_ref().map_or(0, |kept| kept.len() as u64);
        self.files.insert(path.clone(), known);
        Ok(changed)
    }

    /// What did not settle in all rounds: a file that only the last round met belongs to the next capture, the others are
    /// problems.
    fn conclude(&mut self, last: usize) {
        let before = self.files.len();
        let still = self.still;
        self.files.retain(|_, file| still || file.settled || file.met < last);
        self.arrived = (before - self.files.len()) as u64;
        for (path, file) in &self.files {
            let (kind, detail) = match file.fault {
                Some(Fault::Unreadable) => (ProblemKind::Unreadable, format!("it cannot be read: {}", file.detail)),
                Some(Fault::Moving) => {
                    (ProblemKind::Changed, "it was written to during every look and is not in the backup".to_owned())
                }
                _ if !file.settled => {
                    (ProblemKind::Changed, "it was written to all the time; this is what the last look saw".to_owned())
                }
                _ => continue,
            };
            self.problems.push(problem(kind, path, detail));
        }
    }

    /// A file as an object of the component, with the bytes that were judged. One that changed since is read and judged
    /// again until it is whole. None where it is gone or could not be read; the latter is among the problems.
    pub(in crate::source) fn object<R: Reader<Facts = F>>(
        &mut self,
        path: &EntryPath,
        reader: &R,
        monitor: &dyn Monitor,
    ) -> Result<Option<Object<'static>>> {
        let body = match self.files.get(path).map(|known| known.fault) {
            Some(None) => match self.take(path, reader, monitor)? {
                None => return Ok(None),
                Some(bytes) if bytes.len() > MAX_BYTES_OF_OBJECT => Body::Stream(Box::new(Cursor::new(bytes))),
                Some(bytes) => Body::Bytes(bytes),
            },
            Some(Some(Fault::TooLarge)) => {
                let file = HeldFile::open(&self.root, path).at("cannot open", self.root.join(path))?;
                if let Some(known) = self.files.get_mut(path) {
                    known.stamp = Some(file.stamp());
                }
                Body::Stream(Box::new(file))
            }
            Some(Some(Fault::Moving | Fault::Unreadable)) | None => return Ok(None),
        };
        let stamp = self.files.get(path).and_then(|known| known.stamp);
        Ok(Some(Object {
            path: path.clone(),
            modified: stamp.map(|stamp| stamp.mtime),
            mode: stamp.map_or(0o600, |stamp| stamp.mode),
            owner: stamp.map(|stamp| stamp.owner),
            body,
        }))
    }

    /// The bytes of a file; none if it is gone.
    fn take<R: Reader<Facts = F>>(
        &mut self,
        path: &EntryPath,
        reader: &R,
        monitor: &dyn Monitor,
    ) -> Result<Option<Vec<u8>>> {
        let Some(mut known) = self.files.remove(path) else { return Ok(None) };
        if let Some(bytes) = known.kept.take() {
            self.kept -= bytes.len() as u64;
            self.files.insert(path.clone(), known);
            return Ok(Some(bytes));
        }
        let mut last: Option<(Digest, Instant)> = None;
        for pause in PAUSES {
            let look = {
                let _guard = reader.guard(&self.root, path)?;
                self.root.look(path, R::MAX_BYTES)
            };
            if let Look::Whole(bytes, stamp) = look {
                let digest = Digest::of(&bytes);
                // It holds what was judged before; that it was settled then is enough.
                let settled = known.digest == Some(digest) || {
                    self.still = false;
                    let judged = reader.judge(path, &bytes);
                    let quiet = if judged.whole { QUIET } else { FINISHED };
                    known.facts = judged.facts;
                    let since = last.filter(|(same, _)| *same == digest).map_or_else(Instant::now, |(_, since)| since);
                    last = Some((digest, since));
                    since.elapsed() >= quiet || stamp.age().is_some_and(|age| age >= quiet)
                };
                if settled {
                    known.stamp = Some(stamp);
                    known.digest = Some(digest);
                    self.files.insert(path.clone(), known);
                    return Ok(Some(bytes));
                }
            } else {
                self.still = false;
                match look {
                    Look::Gone => return Ok(None),
                    Look::Failed(error) => return Err(error).at("cannot read", self.root.join(path)),
                    _ => {}
                }
            }
            wait(Duration::from_millis(pause), monitor)?;
        }
        Err(Error::new(Kind::Incomplete, format!("{path} was written to all the time while it was captured"))
            .hint("stop its service, or capture it when less is written"))
    }
}
