//! The component as the engine sees it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::{self, Plan};
use super::programs::{capture, command};
use crate::config::CommandConfig;
use crate::error::Result;
use crate::model::EntryPath;
use crate::source::{
    ApplyOptions, ApplyPlan, Body, Captured, Checked, Contents, Facts, Object, Objects, Probe, Source, SourceContext,
    UndoStep,
};

/// Programs that give and take one object.
#[derive(Debug)]
pub struct CommandSource {
    config: CommandConfig,
}

impl CommandSource {
    /// What the configuration names.
    #[must_use]
    pub fn new(config: CommandConfig) -> Self {
        Self { config }
    }
}

impl Source for CommandSource {
    /// What a program would give is not asked for: only it knows what that takes.
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe> {
        let config = &self.config;
        let mut probe = Probe::default();
        for (key, argv) in [("capture", &config.capture), ("apply", &config.apply), ("check", &config.check)] {
            if argv.is_empty() {
                continue;
            }
            match command(argv, config, context).and_then(|command| command.find()) {
                Ok(program) => probe.finds.push(format!("{key}: {}", crate::error::path_text(&program))),
                Err(e) => probe.missing.push(format!("{key}: {}", e.one_line())),
            }
        }
        if config.apply.is_empty() {
            probe.finds.push("no `apply`: what is captured can be restored as a file only".to_owned());
        }
        Ok(probe)
    }

    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        Ok(Captured::Objects(Box::new(Capture { config: &self.config, context, bytes: None })))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        Ok(Box::new(Plan::new(&self.config, contents, options, context)?))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        plan::check(&self.config, contents, context)
    }

    fn undo(&self, steps: &[UndoStep], folder: &Path, context: &SourceContext<'_>) -> Result<()> {
        plan::undo(&self.config, steps, folder, context)
    }

    /// All that is kept lies in the folder.
    fn forget(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Ok(())
    }
}

/// A capture: the one object, then its size.
#[derive(Debug)]
struct Capture<'a> {
    config: &'a CommandConfig,
    context: &'a SourceContext<'a>,
    /// Of the object, once it was asked for.
    bytes: Option<Arc<AtomicU64>>,
}

impl Objects for Capture<'_> {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        if self.bytes.is_some() {
            return Ok(None);
        }
        let output = capture(self.config, self.context)?;
        self.bytes = Some(output.counter());
        let path = EntryPath::new(self.config.object.as_bytes())?;
        Ok(Some(Object::new(path, Body::Stream(Box::new(output)))))
    }

    fn finish(self: Box<Self>) -> Result<Facts> {
        let bytes = self.bytes.map_or(0, |bytes| bytes.load(Ordering::Relaxed));
        let counts = [("bytes".to_owned(), bytes)].into_iter().collect();
        Ok(Facts { counts, ..Facts::default() })
    }
}
