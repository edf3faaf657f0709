//! `kind = "chromem"`: the vectorstore of contextd.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::section::KindSection;
use crate::config::text::quote;
use crate::error::Result;

/// Where contextd keeps it unless it is told otherwise.
const DEFAULT_PATH: &str = "~/.config/contextd/vectorstore";

/// Keys of `kind = "chromem"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChromemConfig {
    /// The folder of the store, absolute.
    pub path: PathBuf,
}

impl ChromemConfig {
    pub(super) const KEYS: &'static [&'static str] = &["path"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        Ok(Self { path: section.path_or("path", DEFAULT_PATH)? })
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        Ok(vec![("path".to_owned(), quote(&path(&self.path)?))])
    }
}
