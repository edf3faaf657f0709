//! The dry run: what a backup would read, without reading it.

use crossbeam_channel::{bounded, select};
use serde::Serialize;

use super::base::LastIndex;
use super::component::start_walk;
use super::join;
use super::options::CreateOptions;
use super::parent::ParentChoice;
use super::report::FullBecause;
use super::work::{BatchItem, Job, Slot, Work};
use crate::engine::Session;
use crate::error::Result;
use crate::model::Problem;
use crate::repo::catalog::Catalog;
use crate::source;
use crate::source::files::{FileKind, Step};
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
}

/// Says what a run would do, and why it would be a full backup although there are earlier ones; changes nothing, takes no
/// lock. Without a session it is about a repository that is not there yet.
pub fn preview(session: Option<&Session>, options: &CreateOptions) -> Result<(Vec<Preview>, Option<FullBecause>)> {
    let choice = match session {
        Some(session) => ParentChoice::make(session, &Catalog::load(&session.repo)?, options)?,
        None => ParentChoice::first(),
    };
    let previews = options.components.iter().map(|spec| {
        let Some(tree) = source::open(&spec.source).tree() else {
            return Ok(Preview { name: spec.name.clone(), ..Preview::default() });
        };
        let counted = count(start_walk(&tree, options)?, choice.last_index(&spec.name))?;
        Ok(Preview { name: spec.name.clone(), ..counted })
    });
    Ok((previews.collect::<Result<_>>()?, choice.full_because))
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
