//! What `ccbackup.toml` says, section by section.

use std::path::PathBuf;

use serde::Serialize;

use super::kinds::{FilesConfig, SourceConfig};
use super::rules::Defaults;
use super::values::{Cipher, Percent, SignerRef};

/// Everything `ccbackup.toml` says. The default is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The file this was read from; none when there is no file.
    pub file: Option<PathBuf>,
    /// `[repository]`: its folder, absolute.
    pub location: Option<PathBuf>,
    /// `[encryption]`
    pub encryption: EncryptionConfig,
    /// `[trust]`: signers whose backups are accepted.
    pub signers: Vec<SignerRef>,
    /// `[defaults]`
    pub defaults: Defaults,
    /// `[[component]]`, in the order of the file. Names are valid and distinct.
    pub components: Vec<ComponentConfig>,
}

/// `[encryption]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Public keys as written; `keys` parses them.
    pub recipients: Vec<String>,
    /// How new backups are sealed.
    pub cipher: Option<Cipher>,
    /// zstd level, 1 to 19.
    pub level: Option<i32>,
}

/// One `[[component]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComponentConfig {
    /// A valid component name, distinct in a configuration.
    pub name: String,
    /// What captures it.
    pub source: SourceConfig,
    /// What a complete capture looks like; it changes nothing that is captured.
    #[serde(skip)]
    pub expect: Expect,
}

impl ComponentConfig {
    /// A component of kind `files`.
    #[must_use]
    pub fn of_files(name: &str, paths: Vec<PathBuf>) -> Self {
        let source = SourceConfig::Files(FilesConfig { paths, ..FilesConfig::default() });
        Self { name: name.to_owned(), source, ..Self::default() }
    }

    /// The roots of a component of kind `files`.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        if let SourceConfig::Files(files) = &self.source { &files.paths } else { &[] }
    }

    /// What a component of kind `files` captures; none for other kinds.
    pub fn files_mut(&mut self) -> Option<&mut FilesConfig> {
        if let SourceConfig::Files(files) = &mut self.source { Some(files) } else { None }
    }
}

/// `expect = { … }`: what is missing, empty or shrunken is a problem of the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Fewer entries than this are a problem.
    pub min_entries: Option<u64>,
    /// A component that lost more than this part of its bytes since the last backup is a problem.
    pub max_shrink: Option<Percent>,
}
