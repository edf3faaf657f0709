//! Kind `chromem`: the vectorstore of contextd, files of chromem-go.
//!
//! Captured are the very files, each decoded, and beside the files of every collection an `inventory.json` that says how it
//! is. What cannot be loaded any more is captured as it is and named, never hidden.

mod apply;
mod capture;
mod reader;
mod running;
mod survey;
mod swap;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

use self::apply::{Place, Plan};
use self::capture::Capture;
use self::reader::StoreReader;
use self::survey::{Archived, Living};
use self::words::{conditions, counted};
use crate::config::ChromemConfig;
use crate::error::{Result, path_text};
use crate::source::settled::settle;
use crate::source::{ApplyOptions, ApplyPlan, Captured, Checked, Contents, Probe, Source, SourceContext, UndoStep};

/// The vectorstore of contextd.
#[derive(Debug)]
pub struct ChromemSource {
    path: PathBuf,
    /// Where the kernel shows processes.
    processes: PathBuf,
}

impl ChromemSource {
    /// What the configuration names.
    #[must_use]
    pub fn new(config: ChromemConfig) -> Self {
        Self { path: config.path, processes: PathBuf::from("/proc") }
    }
}

impl ChromemSource {
    fn place(&self) -> Place<'_> {
        Place { store: &self.path, processes: &self.processes }
    }
}

impl Source for ChromemSource {
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe> {
        let settled = settle(&self.path, &StoreReader, context.monitor)?;
        let store = reader::judge(&settled);
        let mut probe = Probe::default();
        probe.finds.push(format!(
            "{}, {}",
            counted(store.collections.len() as u64, "collection"),
            counted(store.documents(), "document")
        ));
        if store.collections.is_empty() {
            probe
                .missing
                .push(format!("{} holds no collection of chromem-go; is it the right folder?", path_text(&self.path)));
        }
        probe.missing.extend(conditions(&store));
        probe.missing.extend(settled.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.detail)));
        Ok(probe)
    }

    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        let settled = settle(&self.path, &StoreReader, context.monitor)?;
        Ok(Captured::Objects(Box::new(Capture::new(settled, context)?)))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        let archived = Archived::read(contents)?;
        let living = Living::read(&self.path, context.monitor)?;
        Ok(Box::new(Plan::new(self.place(), contents, context, archived, &living, options)?))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        let archived = Archived::read(contents)?;
        Ok(archived.compare(&Living::read(&self.path, context.monitor)?))
    }

    fn undo(&self, steps: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        running::refuse(&running::contextd(&self.processes, &self.path)?)?;
        steps.iter().rev().try_for_each(swap::undo)
    }

    fn forget(&self, steps: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        steps.iter().try_for_each(swap::forget)
    }
}
