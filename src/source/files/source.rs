//! Kind `files`: trees of this host.

use std::path::Path;

use super::apply::{self, Plan};
use crate::config::{FilesConfig, SqliteReading};
use crate::error::{Context as _, Result, path_text};
use crate::source::{
    ApplyOptions, ApplyPlan, Captured, Checked, Contents, Probe, Source, SourceContext, Tree, UndoStep,
};

/// Files and folders of this host.
#[derive(Debug)]
pub struct FilesSource {
    config: FilesConfig,
}

impl FilesSource {
    /// What the configuration names.
    #[must_use]
    pub fn new(config: FilesConfig) -> Self {
        Self { config }
    }
}

impl Source for FilesSource {
    fn probe(&self, _: &SourceContext<'_>) -> Result<Probe> {
        let mut probe = Probe::default();
        for path in &self.config.paths {
            path.symlink_metadata().at("cannot stat", path)?;
            probe.finds.push(path_text(path).into_owned());
        }
        Ok(probe)
    }

    fn tree(&self) -> Option<Tree> {
        let FilesConfig { paths, rules, sqlite } = self.config.clone();
        Some(Tree { paths, rules, databases: sqlite == SqliteReading::Online })
    }

    fn capture<'a>(&'a self, _: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        Ok(Captured::Tree(self.tree().unwrap_or_default()))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        Ok(Box::new(Plan::new(&self.tree().unwrap_or_default(), contents, options, context)?))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        apply::check(&self.tree().unwrap_or_default(), contents, context)
    }

    fn undo(&self, steps: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        apply::undo(steps)
    }

    fn forget(&self, steps: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        apply::forget(steps)
    }
}
