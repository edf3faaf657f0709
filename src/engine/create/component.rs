//! Captures one component: walker, joiner, workers and collector as threads around bounded queues.
//!
//! What bounds memory: the number of slots in flight times the size of a frame, whatever the tree's size.

use crossbeam_channel::{Receiver, bounded, select};

use super::base::LastIndex;
use super::capture::CaptureContext;
use super::collect::{Collected, Collector};
use super::join;
use super::known::KnownContent;
use super::large::LargeFile;
use super::options::CreateOptions;
use super::pack::Packer;
use super::work::{FrameTasks, Work};
use crate::config::ComponentConfig;
use crate::durable::Disk;
use crate::error::Result;
use crate::index::LocalIndex;
use crate::monitor::Monitor;
use crate::repo::publish::Staging;
use crate::source::files::{Exclude, Names, Step, Walk, WalkOptions, walk};
use crate::threads;

/// Starts the walk of a component.
pub(super) fn start_walk(spec: &ComponentConfig, options: &CreateOptions) -> Result<Walk> {
    let rules = &spec.rules;
    let options = WalkOptions {
        exclude: Exclude::new(&rules.exclude)?,
        exclude_caches: rules.exclude_caches,
        exclude_if_present: rules.exclude_if_present.clone(),
        one_file_system: rules.one_file_system,
        skip_identities: options.skip_identities.clone(),
        threads: options.threads,
    };
    walk(&spec.paths, options)
}

/// Captures a component into the staging folder, and its index into the local copy.
#[expect(clippy::too_many_arguments, reason = "what is captured, from where, on top of what, and to where")]
pub(super) fn capture(
    spec: &ComponentConfig,
    options: &CreateOptions,
    walk: impl Iterator<Item = Step> + Send,
    last: Option<&LastIndex>,
    staging: &Staging,
    local: &LocalIndex,
    disk: &Disk,
    monitor: &dyn Monitor,
) -> Result<Collected> {
    let last_segments = last.map(|l| l.copy.last_segments()).transpose()?;
    let collector = Collector::new(spec, options, staging, local.create(disk)?, last_segments)?;
    let context = CaptureContext { backup: staging.id(), names: Names::system(), known: KnownContent::new(last) };
    let workers = options.threads.max(1);
    let (slot_sender, slots) = bounded(workers * 2 + 2);
    let (work_sender, work) = bounded(workers * 2 + 2);
    let (task_sender, task_receiver) = bounded(workers);
    let tasks = FrameTasks { sender: task_sender, receiver: task_receiver };
    std::thread::scope(|scope| {
        let joiner = threads::start(scope, "join", move || join::join(walk, last, &slot_sender, &work_sender))?;
        let pool = threads::start_pool(scope, "pack", workers, || {
            let (context, tasks, work) = (&context, tasks.clone(), work.clone());
            move || serve(context, tasks, &work, options.level, monitor)
        })?;
        drop((work, tasks));
        let collected = collector.run(&slots, monitor);
        // Whoever still waits for a place in a queue is let go before the threads are waited for.
        drop(slots);
        let joined = joiner.join().map_err(threads::died)?;
        let mut served = Ok(());
        for worker in pool {
            served = served.and(worker.join().map_err(threads::died)?);
        }
        // The joiner's error is the cause when the collector only saw its queue end.
        let referenced = joined?;
        served?;
        let mut collected = collected?;
        collected.depends_on.extend(referenced);
        Ok(collected)
    })
}

/// A worker: frames of large files come first, so that a started file always gets on. It stays until the last large file
/// is done.
fn serve(
    context: &CaptureContext<'_>,
    tasks: FrameTasks,
    work: &Receiver<Work>,
    level: i32,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut packer = Packer::new(context, level)?;
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
                    LargeFile::new(context, packer.compressor(), &tasks, &parts, monitor).capture(*job);
                }
                Err(_) => break,
            },
        }
    }
    let FrameTasks { sender, receiver } = tasks;
    drop(sender);
    receiver.iter().for_each(|task| task.run(packer.compressor()));
    Ok(())
}
