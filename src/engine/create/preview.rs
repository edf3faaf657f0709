//! The dry run: what a backup would read, without reading it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crossbeam_channel::{bounded, select};
use serde::Serialize;

use super::base::LastIndex;
use super::component::start_walk;
use super::join;
use super::options::CreateOptions;
use super::parent::ParentChoice;
use super::report::FullBecause;
use super::work::{BatchItem, Job, Slot, Work};
use crate::config::ComponentConfig;
use crate::engine::{Host, Session};
use crate::error::{Context as _, Error, Hint, Kind, Result};
use crate::model::Problem;
use crate::monitor::Monitor;
use crate::process::Command;
use crate::repo::catalog::Catalog;
use crate::source::files::{FileKind, Step};
use crate::source::{self, Probe, SourceContext};
use crate::threads;

/// What a dry run counts for one component.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Preview {
    /// Name of the component.
    pub name: String,
    /// Entries in the tree.
    pub entries: u64,
    /// Entries that a run would read.
    pub new_entries: u64,
    /// Bytes that a run would read.
    pub bytes_to_read: u64,
    /// What rules leave out.
    pub left_out: u64,
    /// What the walk met.
    pub problems: Vec<Problem>,
    /// Version of the service, where it tells one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What a capture of a service would take.
    pub finds: Vec<String>,
    /// What a capture would lack, each with what to do about it; with it the component may fail.
    pub missing: Vec<String>,
}

/// Says what a run would do, and why it would be a full backup although there are earlier ones; changes nothing, takes no
/// lock. Without a session it is about a repository that is not there yet.
pub fn preview(
    session: Option<&Session>,
    options: &CreateOptions,
    host: &Host,
    monitor: &dyn Monitor,
) -> Result<(Vec<Preview>, Option<FullBecause>)> {
    let place = host.environment.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let private = Permissions::from_mode(0o700);
    let scratch = tempfile::Builder::new().prefix("ccbackup-").permissions(private).tempdir_in(&place);
    let scratch = scratch.at("cannot make a folder in", &place)?;
    let choice = match session {
        Some(session) => ParentChoice::make(session, &Catalog::load(&session.repo)?, options)?,
        None => ParentChoice::first(),
    };
    let previews = options.components.iter().map(|spec| {
        let source = source::open(&spec.source);
        let Some(tree) = source.tree() else {
            let context = SourceContext {
                component: &spec.name,
                environment: &host.environment,
                monitor,
                scratch: scratch.path(),
                now: host.clock.now(),
            };
            let mut preview = Preview { name: spec.name.clone(), ..Preview::default() };
            match source.probe(&context) {
                Ok(Probe { version, finds, missing }) => {
                    preview = Preview { version, finds, missing, ..preview };
                }
                Err(error) if matches!(error.kind(), Kind::Interrupted(_)) => return Err(error),
                Err(error) => preview.missing.push(advised(&error)),
            }
            preview.missing.extend(missing_hooks(spec, host));
            return Ok(preview);
        };
        let counted = count(start_walk(&tree, options)?, choice.last_index(&spec.name))?;
        Ok(Preview { name: spec.name.clone(), missing: missing_hooks(spec, host), ..counted })
    });
    Ok((previews.collect::<Result<_>>()?, choice.full_because))
}

/// Hooks whose programs are not there.
fn missing_hooks(spec: &ComponentConfig, host: &Host) -> Vec<String> {
    let programs = spec.hooks.all().into_iter().filter_map(|(key, argv)| Some((key, argv.first()?)));
    let missing = programs.filter_map(|(key, program)| {
        let error = Command::new(program, &host.environment).find().err()?;
        Some(format!("the hook `{key}`: {}", advised(&error)))
    });
    missing.collect()
}

/// An error with what can be done about it, where that takes no command of ours.
fn advised(error: &Error) -> String {
    match error.advice() {
        Some(Hint::Words(words)) => format!("{}; {words}", error.one_line()),
        _ => error.one_line(),
    }
}

fn count(walk: impl Iterator<Item = Step> + Send, last: Option<&LastIndex>) -> Result<Preview> {
    let (slots, received) = bounded(64);
    let (work, jobs) = bounded(64);
    std::thread::scope(|scope| {
        let joiner = threads::start(scope, "join", move || join::join(walk, last, &slots, &work))?;
        let mut preview = Preview::default();
        loop {
            select! {
                recv(received) -> slot => match slot {
                    Ok(Slot::Problem(problem)) => preview.problems.push(problem),
                    Ok(Slot::Kept(run)) => preview.entries += run.entries,
                    Ok(Slot::LeftOut(found)) => preview.left_out = found.count,
                    Ok(Slot::Batch(_) | Slot::Large(_) | Slot::Note(_)) => {}
                    Err(_) => break,
                },
                recv(jobs) -> work => if let Ok(work) = work {
                    preview.add(&work);
                },
            }
        }
        jobs.iter().for_each(|work| preview.add(&work));
        joiner.join().map_err(threads::died)??;
        Ok(preview)
    })
}

impl Preview {
    fn add(&mut self, work: &Work) {
        match work {
            Work::Batch(items, _) => items.iter().for_each(|item| match item {
                BatchItem::Kept(kept) => self.entries += kept.entries,
                BatchItem::Read(job) => self.add_job(job),
            }),
            Work::Large(job, _) => self.add_job(job),
        }
    }

    fn add_job(&mut self, job: &Job) {
        self.entries += 1;
        self.new_entries += 1;
        let stat = &job.found.stat;
        if stat.kind == FileKind::File {
            self.bytes_to_read += stat.size.min(stat.blocks_512.saturating_mul(512).max(4096));
        }
    }
}
