//! Kind `sqlite`: databases in files of this host.

use std::path::Path;

use super::apply::{self, Plan};
use super::capture::Capture;
use super::find::databases;
use super::snapshot::{Snapshot, Wanted};
use crate::config::SqliteConfig;
use crate::error::{Result, path_text};
use crate::source::{ApplyOptions, ApplyPlan, Captured, Checked, Contents, Probe, Source, SourceContext, UndoStep};

/// The databases that a component names.
#[derive(Debug)]
pub struct SqliteSource {
    config: SqliteConfig,
}

impl SqliteSource {
    /// What the configuration names.
    #[must_use]
    pub fn new(config: SqliteConfig) -> Self {
        Self { config }
    }
}

impl Source for SqliteSource {
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe> {
        let mut probe = Probe::default();
        for database in databases(&self.config.path)? {
            let path = path_text(&database.path);
            match Snapshot::open(&database.path, Wanted { scratch: context.scratch, facts: false, recover: false }) {
                Ok(s) => probe.finds.push(format!("{path}: {} bytes in journal mode {}", s.bytes(), s.mode())),
                Err(e) => probe.missing.push(e.one_line()),
            }
        }
        Ok(probe)
    }

    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        Ok(Captured::Objects(Box::new(Capture::new(databases(&self.config.path)?, context))))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        Ok(Box::new(Plan::new(&self.config.path, contents, options, context)?))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        apply::check(contents, context)
    }

    fn undo(&self, steps: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        apply::undo(steps)
    }

    fn forget(&self, steps: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        apply::forget(steps)
    }
}
