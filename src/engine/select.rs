//! Selections: which components and entries a verb is about.

use crate::error::Result;
use crate::model::EntryPath;
use crate::source::files::Exclude;

/// Globs over paths inside components, as `--include` and `--exclude` give them. The patterns are those of excludes.
#[derive(Debug)]
pub struct Selection {
    include: Option<Exclude>,
    exclude: Exclude,
}

impl Selection {
    /// Everything that `include` matches (all, if empty) and `exclude` does not; a folder stands for all in it.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let include = if include.is_empty() { None } else { Some(Exclude::new(include)?) };
        Ok(Self { include, exclude: Exclude::new(exclude)? })
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// Whether an entry is selected.
    #[must_use]
    pub fn matches(&self, path: &EntryPath, is_dir: bool) -> bool {
        self.include.as_ref().is_none_or(|i| i.matches_or_parent(path, is_dir))
            && (self.exclude.is_empty() || !self.exclude.matches_or_parent(path, is_dir))
    }
}
