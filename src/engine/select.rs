//! Selections: which components and entries a verb is about.

use crate::error::Result;
use crate::model::EntryPath;
use crate::source::files::Exclude;

/// Globs over paths inside components, as `--include` and `--exclude` give them. The patterns are those of excludes.
#[derive(Debug, Default)]
pub struct Selection {
    include: Option<Exclude>,
    exclude: Option<Exclude>,
}

impl Selection {
    /// Everything that `include` matches (all, if empty) and `exclude` does not; a folder stands for all in it.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let some = |globs: &[String]| if globs.is_empty() { Ok(None) } else { Exclude::new(globs).map(Some) };
        Ok(Self { include: some(include)?, exclude: some(exclude)? })
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether an entry is selected.
    #[must_use]
    pub fn matches(&self, path: &EntryPath, is_dir: bool) -> bool {
        self.include.as_ref().is_none_or(|i| i.matches_or_parent(path, is_dir))
            && !self.exclude.as_ref().is_some_and(|e| e.matches_or_parent(path, is_dir))
    }
}
