//! What an apply is asked for, and of which services.

use crate::config::ComponentConfig;
use crate::source::{self, Source};

/// What to apply, and how.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// Components; all if empty.
    pub components: Vec<String>,
    /// Replace what is there and differs.
    pub overwrite: bool,
    /// Worker threads.
    pub threads: usize,
}

/// Everything, replacing nothing, by all processors.
impl Default for ApplyRequest {
    fn default() -> Self {
        Self { components: Vec::new(), overwrite: false, threads: crate::threads::available() }
    }
}

/// The services of this host, as the configuration describes them.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// Components, in their order.
    pub configs: &'a [ComponentConfig],
    /// Opens the source of one; a test may open another than the real one.
    pub open: &'a dyn Fn(&ComponentConfig) -> Box<dyn Source>,
}

impl<'a> Services<'a> {
    /// With their real sources.
    #[must_use]
    pub fn new(configs: &'a [ComponentConfig]) -> Self {
        Self { configs, open: &|config| source::open(&config.source) }
    }

    /// The configuration of a component of this kind, or why there is none.
    pub(super) fn find(&self, name: &str, kind: &str) -> std::result::Result<&'a ComponentConfig, String> {
        match self.configs.iter().find(|config| config.name == name) {
            Some(config) if config.source.kind() == kind => Ok(config),
            Some(config) => {
                Err(format!("the backup has it as kind {kind}, the configuration as {}", config.source.kind()))
            }
            None => Err("the configuration has no component of this name".to_owned()),
        }
    }
}

impl std::fmt::Debug for Services<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.configs.iter().map(|config| &config.name)).finish()
    }
}
