//! `kind = "sqlite"`: databases in files of this host.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::section::KindSection;
use crate::config::text::{list, quote};
use crate::error::Result;
use crate::model::escape_path;

/// Keys of `kind = "sqlite"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SqliteConfig {
    /// Globs, absolute, at least one; each is a valid one. `*` does not match `/`, `**` does.
    #[serde(serialize_with = "serialize_patterns")]
    pub path: Vec<PathBuf>,
}

impl SqliteConfig {
    pub(super) const KEYS: &'static [&'static str] = &["path"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        let path = section.globs("path")?;
        if path.is_empty() {
            return Err(section.lacks("path"));
        }
        Ok(Self { path })
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        let paths = self.path.iter().map(|p| path(p)).collect::<Result<Vec<_>>>()?;
        let value = match paths.as_slice() {
            [one] => quote(one),
            many => list(many.iter().map(String::as_str)),
        };
        Ok(vec![("path".to_owned(), value)])
    }
}

fn serialize_patterns<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| escape_path(path.as_os_str().as_encoded_bytes())))
}
