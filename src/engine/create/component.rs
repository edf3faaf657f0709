//! Captures one component: walker, joiner, workers and collector as threads around bounded queues.
//!
//! What bounds memory: the number of slots in flight times the size of a frame, whatever the tree's size.

use std::collections::BTreeSet;

use crossbeam_channel::{Receiver, bounded, select};

use super::base::LastIndex;
use super::capture::CaptureContext;
use super::collect::{Collected, Collector};
use super::join;
use super::known::KnownContent;
use super::large::LargeFile;
use super::options::CreateOptions;
use super::pack::Packer;
use super::work::{BatchItem, FrameTasks, LargePart, Work};
use crate::config::ComponentConfig;
use crate::engine::Host;
use crate::error::{Error, Result};
use crate::index::LocalIndex;
use crate::model::BackupId;
use crate::monitor::Monitor;
use crate::repo::publish::Staging;
use crate::source::files::{Exclude, Names, Step, Walk, WalkOptions, walk};
use crate::source::{self, Captured, SourceContext, Tree};
use crate::threads;

/// Starts the walk of a tree; a call gives all its steps in order.
pub type Walks<'a> = &'a dyn Fn(&Tree, &CreateOptions) -> Result<Box<dyn Iterator<Item = Step> + Send>>;

/// Starts the walk of a tree.
pub(super) fn start_walk(tree: &Tree, options: &CreateOptions) -> Result<Walk> {
    let rules = &tree.rules;
    let options = WalkOptions {
        exclude: Exclude::new(&rules.exclude)?,
        exclude_caches: rules.exclude_caches,
        exclude_if_present: rules.exclude_if_present.clone(),
        one_file_system: rules.one_file_system,
        skip_identities: options.skip_identities.clone(),
        threads: options.threads,
    };
    walk(&tree.paths, options)
}

/// The same as a value of [`Walks`].
pub(super) fn start_boxed_walk(tree: &Tree, options: &CreateOptions) -> Result<Box<dyn Iterator<Item = Step> + Send>> {
    Ok(Box::new(start_walk(tree, options)?))
}

/// Captures a component into the staging folder, and its index into the local copy.
#[expect(clippy::too_many_arguments, reason = "what is captured, from where, on top of what, and to where")]
pub(super) fn capture(
    spec: &ComponentConfig,
    options: &CreateOptions,
    walks: Walks<'_>,
    last: Option<&LastIndex>,
    staging: &Staging,
    local: &LocalIndex,
    host: &Host,
    monitor: &dyn Monitor,
) -> Result<Collected> {
    let captured_from = host.clock.now();
    let source = source::open(&spec.source);
    let context = SourceContext {
        component: &spec.name,
        environment: &host.environment,
        monitor,
        scratch: &host.state_dir,
        now: captured_from,
    };
    let walk = match source.capture(&context)? {
        Captured::Tree(tree) => walks(&tree, options)?,
        Captured::Objects(_) => return Err(Error::failed("objects cannot be captured yet")),
    };
    let capture = || {
        let last_segments = last.map(|l| l.copy.last_segments()).transpose()?;
        let mut collector = Collector::new(spec, options, staging, local.create(&host.disk)?, last_segments)?;
        let referenced = drain(walk, last, &mut collector, options, staging, monitor)?;
        let mut collected = collector.finish(captured_from, host.clock)?;
        collected.depends_on.extend(referenced);
        Ok(collected)
    };
    capture().map_err(|e: Error| e.within(format!("cannot capture the component {}", spec.name)))
}

/// Runs the threads until the walk has ended. Returns the backups that unchanged entries refer to.
fn drain(
    walk: impl Iterator<Item = Step> + Send,
    last: Option<&LastIndex>,
    collector: &mut Collector<'_>,
    options: &CreateOptions,
    staging: &Staging,
    monitor: &dyn Monitor,
) -> Result<BTreeSet<BackupId>> {
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
        served.and(collected).map(|()| referenced)
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
                Ok(Work::Large(job, parts)) if job.name.as_ref().is_some_and(|name| name.first().is_some()) => {
                    let packed = packer.pack(vec![BatchItem::Read(job)], monitor);
                    drop(parts.send(packed.map(LargePart::Link)));
                }
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
