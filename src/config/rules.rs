//! What is left out, and what else holds for every component.

use serde::Serialize;

/// `[defaults]`: what holds for every component, those of `--path` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// What is left out everywhere. Already part of the rules of every component.
    pub rules: ExcludeRules,
    /// Number of worker threads, 1 to 256.
    pub threads: Option<usize>,
}

/// What is left out of a component because somebody wants it so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExcludeRules {
    /// Globs; each is a valid one.
    pub exclude: Vec<String>,
    /// What is in folders that are caches by their `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// What is in folders that hold one of these; each is a plain file name.
    pub exclude_if_present: Vec<String>,
    /// What lies on other file systems.
    pub one_file_system: bool,
}
