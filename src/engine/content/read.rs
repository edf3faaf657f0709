//! Groups entries by frame and hands them to workers.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::frame::{Frame, read_frame};
use super::streams::{Streams, Task};
use crate::archive::{FramedReader, Scratch};
use crate::engine::chain::Archives;
use crate::error::{Error, Kind, Result};
use crate::model::{BackupId, Entry, Position};
use crate::monitor::Monitor;
use crate::threads;

/// Takes what is read. Called from many threads.
pub(in crate::engine) trait Sink: Sync {
    /// Where to look first: the place by which entries are grouped; none when nothing has to be read.
    fn anchor(&self, entry: &Entry) -> Option<Position>;
    /// The frame at the anchor with all entries anchored in it.
    fn frame(&self, entries: Vec<Entry>, frame: &Frame<'_>, streams: &mut Streams<'_>) -> Result<()>;
    /// Entries without an anchor.
    fn plain(&self, entries: Vec<Entry>) -> Result<()>;
    /// What cannot be read because its frame cannot.
    fn unreadable(&self, entries: Vec<Entry>, error: &Error) -> Result<()>;
}

/// Entries that share a frame.
struct Group {
    archive: Arc<FramedReader>,
    backup: BackupId,
    volume: u32,
    frame: usize,
    entries: Vec<Entry>,
}

enum Work {
    Frame(Group),
    Plain(Vec<Entry>),
    Unreadable(Vec<Entry>, Error),
}

/// Entries that wait for company; bounds memory.
const MAX_GROUP_ENTRIES: usize = 8192;
const MAX_PLAIN_ENTRIES: usize = 256;

/// Reads the content of all entries into the sink. `entries` runs on the caller's thread.
pub(in crate::engine) fn read_all(
    archives: &Archives,
    entries: impl Iterator<Item = Result<Entry>>,
    sink: &dyn Sink,
    threads: usize,
    monitor: &dyn Monitor,
) -> Result<()> {
    let threads = threads.max(1);
    let (sender, receiver) = bounded(threads * 2);
    // No room in between: a frame is only given away to somebody who waits for work.
    let (task_sender, tasks) = bounded(0);
    std::thread::scope(|scope| {
        let workers = threads::start_pool(scope, "content", threads, || {
            let (work, tasks): (Receiver<Work>, _) = (receiver.clone(), tasks.clone());
            let streams = Streams::new(archives, task_sender.clone(), threads, monitor);
            move || serve(&work, &tasks, streams?, sink, monitor)
        })?;
        drop((receiver, task_sender));
        let mut grouper = Grouper { archives, sink, sender, open: HashMap::new(), plain: Vec::new() };
        let mut outcome = Ok(());
        for entry in entries {
            outcome = monitor.check().and(entry).and_then(|entry| grouper.add(entry));
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() {
            grouper.flush_all();
        }
        drop(grouper);
        for worker in workers {
            let served = threads::join(worker);
            // A worker's error explains why the queue ended.
            outcome = served.and(outcome);
        }
        outcome
    })
}

struct Grouper<'a> {
    archives: &'a Archives,
    sink: &'a dyn Sink,
    sender: Sender<Work>,
    open: HashMap<(BackupId, u32), Group>,
    plain: Vec<Entry>,
}

impl Grouper<'_> {
    fn add(&mut self, entry: Entry) -> Result<()> {
        let Some(place) = self.sink.anchor(&entry) else {
            self.plain.push(entry);
            if self.plain.len() >= MAX_PLAIN_ENTRIES {
                let plain = std::mem::take(&mut self.plain);
                self.send(Work::Plain(plain))?;
            }
            return Ok(());
        };
        let found = self.archives.open(&place.backup, place.volume).and_then(|a| a.find(place.offset).map(|f| (a, f)));
        let (archive, frame) = match found {
            Ok(found) => found,
            Err(e) if matches!(e.kind(), Kind::NoKey | Kind::WrongKey) => return Err(e),
            Err(e) => return self.send(Work::Unreadable(vec![entry], e)),
        };
        let key = (place.backup.clone(), place.volume);
        if self.open.get(&key).is_some_and(|g| g.frame != frame || g.entries.len() >= MAX_GROUP_ENTRIES)
            && let Some(group) = self.open.remove(&key)
        {
            self.send(Work::Frame(group))?;
        }
        let new = || Group { archive, backup: place.backup, volume: place.volume, frame, entries: Vec::new() };
        self.open.entry(key).or_insert_with(new).entries.push(entry);
        Ok(())
    }

    fn send(&self, work: Work) -> Result<()> {
        self.sender.send(work).map_err(threads::died)
    }

    fn flush_all(&mut self) {
        // When nobody listens any more, the workers' own errors say why.
        let plain = std::mem::take(&mut self.plain);
        drop(self.send(Work::Plain(plain)));
        for (_, group) in std::mem::take(&mut self.open) {
            drop(self.send(Work::Frame(group)));
        }
    }
}

/// Works until there is no more work, and then for those whose streams are not at their end.
fn serve(
    work: &Receiver<Work>,
    tasks: &Receiver<Task>,
    mut streams: Streams<'_>,
    sink: &dyn Sink,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut scratch = Scratch::new()?;
    let mut bytes = Vec::new();
    loop {
        select! {
            recv(tasks) -> task => if let Ok(task) = task {
                task.run(&mut scratch, monitor);
            },
            recv(work) -> work => match work {
                Ok(work) => do_work(work, &mut scratch, &mut bytes, &mut streams, sink, monitor)?,
                Err(_) => break,
            },
        }
    }
    drop(streams);
    tasks.iter().for_each(|task| task.run(&mut scratch, monitor));
    Ok(())
}

fn do_work(
    work: Work,
    scratch: &mut Scratch,
    bytes: &mut Vec<u8>,
    streams: &mut Streams<'_>,
    sink: &dyn Sink,
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.check()?;
    let group = match work {
        Work::Plain(entries) => return sink.plain(entries),
        Work::Unreadable(entries, error) => return sink.unreadable(entries, &error),
        Work::Frame(group) => group,
    };
    match read_frame(&group.archive, group.frame, scratch, bytes, monitor) {
        Ok(()) => {
            let (archive, number) = (&*group.archive, group.frame);
            let (backup, volume, offset) = (&group.backup, group.volume, archive.span(number).offset);
            sink.frame(group.entries, &Frame { archive, number, backup, volume, offset, bytes }, streams)
        }
        Err(error) => sink.unreadable(group.entries, &error),
    }
}
