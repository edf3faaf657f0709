//! Captures one component: walker, joiner, workers and writer as threads around bounded queues.
//!
//! What bounds memory: the number of slots in flight times the size of a frame, whatever the tree's size.

use std::collections::BTreeSet;

use crossbeam_channel::{Receiver, bounded, select};

use super::collect::{Collected, Collector};
use super::join::{self, Base, Work};
use super::known::KnownContent;
use super::large::{LargeFile, Tasks};
use super::pack::{Packer, Shared};
use super::parent::Volumes;
use super::{ComponentSpec, CreateOptions};
use crate::archive::FramedWriter;
use crate::error::Result;
use crate::index::{IndexWriter, LocalIndex};
use crate::model::{BackupId, Moment, index_file_name};
use crate::monitor::Monitor;
use crate::repo::publish::Staging;
use crate::source::files::{Exclude, Names, Step, Walk, WalkOptions, walk};
use crate::threads;

/// The last index that a component builds on.
#[derive(Clone, Debug)]
pub(super) struct LastIndex {
    pub(super) copy: LocalIndex,
    /// When that capture began.
    pub(super) captured_from: Moment,
    /// Its lines passed the acceptance of readers as they are today.
    pub(super) accepted: bool,
    /// What it may refer to.
    pub(super) volumes: Volumes,
}

impl LastIndex {
    pub(super) fn base(&self, rehash: bool) -> Result<Base> {
        Ok(Base {
            lines: self.copy.lines()?,
            captured_from: self.captured_from,
            accepted: self.accepted,
            volumes: self.volumes.clone(),
            rehash,
        })
    }
}

/// Starts the walk of a component.
pub(super) fn start_walk(spec: &ComponentSpec, settings: &CreateOptions) -> Result<Walk> {
    let options = WalkOptions {
        exclude: Exclude::new(&spec.exclude)?,
        exclude_caches: spec.exclude_caches,
        exclude_if_present: spec.exclude_if_present.clone(),
        one_file_system: spec.one_file_system,
        skip_identities: settings.skip_identities.clone(),
        threads: settings.threads,
    };
    walk(&spec.roots, options)
}

/// Captures a component into the staging folder.
pub(super) fn capture(
    spec: &ComponentSpec,
    settings: &CreateOptions,
    staging: &Staging,
    local: &LocalIndex,
    last: Option<&LastIndex>,
    walk: impl Iterator<Item = Step> + Send,
    monitor: &dyn Monitor,
) -> Result<Collected> {
    let last_segments = last.map(|l| l.copy.last_segments()).transpose()?;
    let base = last.map(|l| l.base(settings.rehash)).transpose()?;
    let index_name = index_file_name(&spec.name, settings.sealer.sealing().extension());
    let index = IndexWriter::new(
        staging.id().clone(),
        FramedWriter::new(staging.create_file(&index_name)?, &settings.sealer)?,
        local.create(&settings.disk)?,
        settings.level,
        last_segments,
    )?;
    let collector = Collector::new(spec, staging, settings, index);
    let shared = Shared { backup: staging.id(), names: Names::system(), known: KnownContent::new(last) };
    let workers = settings.threads.max(1);
    let (slot_sender, slots) = bounded(workers * 2 + 2);
    let (work_sender, work) = bounded(workers * 2 + 2);
    let (task_sender, task_receiver) = bounded(workers);
    let tasks = Tasks { sender: task_sender, receiver: task_receiver };
    std::thread::scope(|scope| {
        let joiner = threads::start(scope, "join", move || join::join(walk, base, &slot_sender, &work_sender))?;
        let pool = threads::start_pool(scope, "pack", workers, || {
            let (shared, tasks, work) = (&shared, tasks.clone(), work.clone());
            move || serve(shared, tasks, &work, settings.level, monitor)
        })?;
        drop((work, tasks));
        let collected = collector.run(&slots, monitor);
        // Whoever still waits for a place in a queue is let go before the threads are waited for.
        drop(slots);
        let joined = joiner.join().map_err(threads::died)?;
        let served = pool.into_iter().map(|w| w.join().map_err(threads::died)?).collect::<Result<BTreeSet<()>>>();
        // The joiner's error is the cause when the writer only saw its queue end.
        let referenced = joined?;
        served?;
        let mut collected = collected?;
        collected.depends_on.extend(referenced);
        Ok(collected)
    })
}

/// A worker: tasks of large files come first, so that a started file always gets on. It stays until the last large file
/// is done.
fn serve(shared: &Shared<'_>, tasks: Tasks, work: &Receiver<Work>, level: i32, monitor: &dyn Monitor) -> Result<()> {
    let mut packer = Packer::new(shared, level)?;
    loop {
        if let Ok(task) = tasks.receiver.try_recv() {
            task.run(packer.compressor());
            continue;
        }
        select! {
            recv(tasks.receiver) -> task => if let Ok(task) = task {
                task.run(packer.compressor());
            },
            recv(work) -> work => match work {
                Ok(Work::Batch(items, reply)) => drop(reply.send(packer.pack(items, monitor))),
                Ok(Work::Large(job, parts)) => {
                    LargeFile::new(shared, &mut packer, &tasks, &parts, monitor).capture(*job);
                }
                Err(_) => break,
            },
        }
    }
    let Tasks { sender, receiver } = tasks;
    drop(sender);
    receiver.iter().for_each(|task| task.run(packer.compressor()));
    Ok(())
}

/// The backups that an incremental of `collected` components needs.
pub(super) fn union<'a>(sets: impl Iterator<Item = &'a Vec<BackupId>>) -> BTreeSet<BackupId> {
    sets.flatten().cloned().collect()
}
