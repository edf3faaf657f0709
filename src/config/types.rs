//! What `ccbackup.toml` says, section by section.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Programs that run around a capture.
    #[serde(skip)]
    pub hooks: Hooks,
    /// How long a capture may take, hooks not counted.
    #[serde(skip)]
    pub timeout: Option<Duration>,
    /// How often a capture that failed is tried again, at most 10 times.
    #[serde(skip)]
    pub retries: u32,
    /// The smaller, the earlier it is applied; 0 for who says nothing.
    #[serde(skip)]
    pub priority: i64,
    /// Components that must be there before this one is applied. All exist, and none needs itself, by whatever detour.
    #[serde(skip)]
    pub needs: Vec<String>,
}

/// Programs, each with its arguments, that run around the capture of a component; empty ones do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before it; when it fails, the component does.
    pub before: Vec<String>,
    /// After a capture that is whole.
    pub after: Vec<String>,
    /// After one that failed.
    pub on_failure: Vec<String>,
    /// Last, in any case.
    pub finally: Vec<String>,
}

impl Hooks {
    /// Each with its key.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &[String]); 4] {
        let Self { before, after, on_failure, finally } = self;
        [("before", before), ("after", after), ("on_failure", on_failure), ("finally", finally)]
    }
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
    /// Fewer bytes of content than this are a problem.
    pub min_bytes: Option<u64>,
    /// A component that lost more than this part of the median of its last five good captures is a problem.
    pub max_shrink: Option<Percent>,
    /// That nothing in it was changed for longer than this is a problem: whatever writes there has stopped.
    pub max_age: Option<Duration>,
}
