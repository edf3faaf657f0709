//! `kind = "files"`: trees of this host.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::section::KindSection;
use crate::config::rules::ExcludeRules;
use crate::config::text::{list, quote};
use crate::error::{Error, Result};
use crate::model::escape_path;

/// Keys of `kind = "files"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilesConfig {
    /// Files and folders, absolute, at least one. Each lies under its last name in the backup.
    #[serde(serialize_with = "serialize_paths")]
    pub paths: Vec<PathBuf>,
    /// What is left out.
    pub rules: ExcludeRules,
    /// How databases of SQLite that are in use are captured.
    pub sqlite: SqliteReading,
}

/// `sqlite = "…"`: how a database of SQLite that is in use is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SqliteReading {
    /// As one state, without the files that belong to it.
    #[default]
    Online,
    /// As any other file.
    Read,
}

impl std::str::FromStr for SqliteReading {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "online" => Ok(Self::Online),
            "read" => Ok(Self::Read),
            _ => Err(Error::usage(format!("`sqlite` is {text:?}, and must be \"online\" or \"read\""))),
        }
    }
}

impl FilesConfig {
    pub(super) const KEYS: &'static [&'static str] =
        &["paths", "exclude", "exclude_caches", "exclude_if_present", "one_file_system", "sqlite"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        let paths = section.paths("paths")?;
        if paths.is_empty() {
            return Err(section.lacks("paths"));
        }
        let sqlite = section.parsed("sqlite", str::parse)?.unwrap_or_default();
        Ok(Self { paths, rules: section.rules()?, sqlite })
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        let paths = self.paths.iter().map(|p| path(p)).collect::<Result<Vec<_>>>()?;
        let mut lines = vec![("paths".to_owned(), list(paths.iter().map(String::as_str)))];
        let ExcludeRules { exclude, exclude_caches, exclude_if_present, one_file_system } = &self.rules;
        for (key, globs) in [("exclude", exclude), ("exclude_if_present", exclude_if_present)] {
            if !globs.is_empty() {
                lines.push((key.to_owned(), list(globs.iter().map(String::as_str))));
            }
        }
        for (key, value) in [("exclude_caches", exclude_caches), ("one_file_system", one_file_system)] {
            if *value {
                lines.push((key.to_owned(), "true".to_owned()));
            }
        }
        if self.sqlite == SqliteReading::Read {
            lines.push(("sqlite".to_owned(), quote("read")));
        }
        Ok(lines)
    }
}

fn serialize_paths<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| escape_path(path.as_os_str().as_encoded_bytes())))
}
