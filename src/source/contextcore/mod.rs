//! Kind `contextcore`: what ContextCore keeps in its folder.
//!
//! Captured are the very files: state of tasks, storage, insights, roles, the state of the installation and whatever else lies
//! there, but for locks and probes. Beside them two summaries, `state/tasks.json` and `state/projects.json`, which say what
//! the state files hold and do not come back.

mod apply;
mod capture;
mod elsewhere;
mod lock;
mod ours;
mod reader;
mod summary;
mod survey;
#[cfg(test)]
mod tests;
mod undo;

use std::path::{Path, PathBuf};

use self::apply::Plan;
use self::capture::Capture;
use self::reader::HomeReader;
use self::survey::{Files, compare};
use crate::config::ContextcoreConfig;
use crate::error::Result;
use crate::source::settled::settle;
use crate::source::{ApplyOptions, ApplyPlan, Captured, Checked, Contents, Probe, Source, SourceContext, UndoStep};

/// The folder of ContextCore.
#[derive(Debug)]
pub struct ContextcoreSource {
    home: PathBuf,
}

impl ContextcoreSource {
    /// What the configuration names.
    #[must_use]
    pub fn new(config: ContextcoreConfig) -> Self {
        Self { home: config.home }
    }
}

impl Source for ContextcoreSource {
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe> {
        let settled = settle(&self.home, &HomeReader, context.monitor)?;
        let counts = summary::Summary::of(&settled).counts();
        let finds = counts.iter().filter(|(_, number)| **number > 0).map(|(name, number)| format!("{number} {name}"));
        let mut missing: Vec<_> = settled.problems.iter().map(|p| format!("{}: {}", p.path, p.detail)).collect();
        missing.extend(reader::broken(&settled).into_iter().map(|p| format!("{}: {}", p.path, p.detail)));
        missing.extend(elsewhere::found(&self.home, context.environment)?.into_iter().map(|found| found.told));
        Ok(Probe { version: None, finds: finds.collect(), missing })
    }

    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        let settled = settle(&self.home, &HomeReader, context.monitor)?;
        let elsewhere = elsewhere::found(&self.home, context.environment)?;
        Ok(Captured::Objects(Box::new(Capture::new(settled, elsewhere, context)?)))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        let archived = Files::archived(contents)?;
        let living = Files::living(&self.home, context.monitor)?;
        Ok(Box::new(Plan::new(&self.home, contents, context, archived, living, options)))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        Ok(compare(&Files::archived(contents)?, &Files::living(&self.home, context.monitor)?))
    }

    fn undo(&self, steps: &[UndoStep], folder: &Path, _: &SourceContext<'_>) -> Result<()> {
        undo::undo(steps, folder, &self.home)
    }

    fn forget(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Ok(()) // all pre-images lie in the folder of the run
    }
}
