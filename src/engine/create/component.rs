//! Captures one component: what a source gives goes through a producer (the joiner of a tree, the feeder of objects), workers
//! and a collector, threads around bounded queues.
//!
//! What bounds memory: the number of slots in flight times the size of a frame, whatever the tree's size.

use std::collections::BTreeSet;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::base::LastIndex;
use super::capture::CaptureContext;
use super::collect::{Collected, Collector};
use super::failure::Failure;
use super::join;
use super::known::KnownContent;
use super::large::LargeFile;
use super::objects::{self, FeedContext};
use super::options::CreateOptions;
use super::pack::Packer;
use super::work::{BatchItem, FrameTasks, LargePart, Slot, Work};
use crate::config::ComponentConfig;
use crate::engine::Host;
use crate::error::{Error, Result};
use crate::index::LocalIndex;
use crate::model::SourceRecord;
use crate::monitor::Monitor;
use crate::repo::publish::Staging;
use crate::source::files::{Exclude, Names, Step, Walk, WalkOptions, walk};
use crate::source::{self, Captured, Facts, Source, SourceContext, Tree};
use crate::threads;

/// Starts the walk of a tree; a call gives all its steps in order.
pub type Walks<'a> = &'a dyn Fn(&Tree, &CreateOptions) -> Result<Box<dyn Iterator<Item = Step> + Send>>;

/// Where captures come from. The default opens the real sources and walks the real trees.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Opens the source of a component.
    pub open: &'a dyn Fn(&ComponentConfig) -> Box<dyn Source>,
    /// Starts the walk of a tree.
    pub walk: Walks<'a>,
}

impl Default for Sources<'_> {
    fn default() -> Self {
        Self { open: &|spec| source::open(&spec.source), walk: &start_boxed_walk }
    }
}

impl std::fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources")
    }
}

/// Starts the walk of a tree.
pub(super) fn start_walk(tree: &Tree, options: &CreateOptions) -> Result<Walk> {
    let rules = &tree.rules;
    let options = WalkOptions {
        exclude: Exclude::new(&rules.exclude)?,
        exclude_caches: rules.exclude_caches,
        exclude_if_present: rules.exclude_if_present.clone(),
        one_file_system: rules.one_file_system,
        skip_identities: options.skip_identities.clone(),
        databases: tree.databases,
        threads: options.threads,
    };
    walk(&tree.paths, options)
}

/// The same as a value of [`Walks`].
fn start_boxed_walk(tree: &Tree, options: &CreateOptions) -> Result<Box<dyn Iterator<Item = Step> + Send>> {
    Ok(Box::new(start_walk(tree, options)?))
}

/// Captures a component into the staging folder, and its index into the local copy.
#[expect(clippy::too_many_arguments, reason = "what is captured, from where, on top of what, and to where")]
pub(super) fn capture(
    spec: &ComponentConfig,
    options: &CreateOptions,
    sources: Sources<'_>,
    last: Option<&LastIndex>,
    staging: &Staging,
    local: &LocalIndex,
    host: &Host,
    monitor: &dyn Monitor,
) -> Result<Collected, Failure> {
    let captured_from = host.clock.now();
    let source = (sources.open)(spec);
    let scratch = host.scratch()?;
    let context = SourceContext {
        component: &spec.name,
        environment: &host.environment,
        monitor,
        scratch: scratch.path(),
        now: captured_from,
    };
    let captured = source.capture(&context).map_err(Failure::of_source)?;
    let walk = match &captured {
        Captured::Tree(tree) => Some((sources.walk)(tree, options).map_err(Failure::of_source)?),
        Captured::Objects(_) => None,
    };
    let last_segments = last.map(|l| l.copy.last_segments()).transpose()?;
    let mut collector = Collector::new(spec, options, staging, local.create(&host.disk)?, last_segments)?;
    let known = KnownContent::new(last);
    let databases = matches!(&captured, Captured::Tree(tree) if tree.databases).then(|| scratch.path());
    let capture = CaptureContext { backup: staging.id(), names: Names::system(), known, databases };
    let (referenced, facts) = match (walk, captured) {
        (Some(walk), _) => {
            let join = |slots: &_, work: &_, _: &_| Ok(join::join(walk, last, slots, work)?);
            (drain(join, &capture, &mut collector, options, monitor)?, None)
        }
        (None, Captured::Objects(objects)) => {
            let feed_context = FeedContext {
                backup: staging.id(),
                known: &capture.known,
                names: &capture.names,
                now: captured_from,
                level: options.level,
                folder: staging.folder(),
                monitor,
            };
            let feed = |slots: &_, _: &_, tasks: &_| objects::feed(objects, last, &feed_context, slots, tasks);
            collector.takes_objects();
            let facts = drain(feed, &capture, &mut collector, options, monitor);
            let facts = facts.map_err(|failure| collector.refused_object().map_or(failure, Failure::Component))?;
            check_facts(&facts)?;
            (BTreeSet::new(), Some(facts))
        }
        (None, Captured::Tree(_)) => (BTreeSet::new(), None),
    };
    let mut collected = collector.finish(captured_from, host.clock, facts)?;
    collected.depends_on.extend(referenced);
    Ok(collected)
}

/// Facts that no reader would take fail their component, not the backup.
fn check_facts(facts: &Facts) -> Result<(), Failure> {
    let Facts { version, counts, facts, .. } = facts;
    let record = SourceRecord { version: version.clone(), counts: counts.clone(), facts: facts.clone() };
    if record.is_within_limits() {
        return Ok(());
    }
    Err(Failure::Component(Error::failed("its source says more of itself than a manifest takes")))
}

/// Runs the threads until `produce` has ended; returns what it says.
fn drain<T: Send>(
    produce: impl FnOnce(&Sender<Slot>, &Sender<Work>, &FrameTasks) -> Result<T, Failure> + Send,
    context: &CaptureContext<'_>,
    collector: &mut Collector<'_>,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<T, Failure> {
    let workers = options.threads.max(1);
    let (slot_sender, slots) = bounded(workers * 2 + 2);
    let (work_sender, work) = bounded(workers * 2 + 2);
    let (task_sender, task_receiver) = bounded(workers);
    let tasks = FrameTasks { sender: task_sender, receiver: task_receiver };
    std::thread::scope(|scope| {
        let own_tasks = tasks.clone();
        let producer = threads::start(scope, "produce", move || produce(&slot_sender, &work_sender, &own_tasks))?;
        let pool = threads::start_pool(scope, "pack", workers, || {
            let (tasks, work) = (tasks.clone(), work.clone());
            move || serve(context, tasks, &work, options.level, monitor)
        })?;
        drop((work, tasks));
        let collected = collector.run(&slots, monitor);
        // Whoever still waits for a place in a queue is let go before the threads are waited for.
        drop(slots);
        let produced = producer.join().map_err(threads::died)?;
        let mut served = Ok(());
        for worker in pool {
            served = served.and(worker.join().map_err(threads::died)?);
        }
        match produced {
            // The producer's error is the cause when the collector only saw its queue end.
            Ok(produced) => served.and(collected).map(|()| produced).map_err(Failure::Run),
            Err(Failure::GivenUp) => {
                served.and(collected)?;
                Err(Error::failed("the capture ended before its end").into())
            }
            Err(failure) => Err(failure),
        }
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
                Ok(Work::Large(job, parts)) if job.has_no_content() => {
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
