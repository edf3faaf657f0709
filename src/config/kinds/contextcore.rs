//! `kind = "contextcore"`: the state of ContextCore.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::section::KindSection;
use crate::config::text::quote;
use crate::error::Result;

/// Where ContextCore keeps it; most of it knows no other place.
const DEFAULT_HOME: &str = "~/.contextcore";

/// Keys of `kind = "contextcore"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContextcoreConfig {
    /// The folder of ContextCore, absolute.
    pub home: PathBuf,
}

impl ContextcoreConfig {
    pub(super) const KEYS: &'static [&'static str] = &["home"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        Ok(Self { home: section.path_or("home", DEFAULT_HOME)? })
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        Ok(vec![("home".to_owned(), quote(&path(&self.home)?))])
    }
}
