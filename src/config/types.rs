//! What `ccbackup.toml` says, section by section.

use std::path::PathBuf;

use serde::Serialize;

use super::values::{Cipher, ComponentKind, Percent, SignerRef};
use crate::model::escape_path;

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

/// `[defaults]`: what holds for every component, those of `--path` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// What is left out everywhere. Already part of every [`ComponentConfig::rules`].
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

/// One `[[component]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComponentConfig {
    /// A valid component name, distinct in a configuration.
    pub name: String,
    /// What captures it.
    pub kind: ComponentKind,
    /// Files and folders, absolute, at least one. Each lies under its last name in the backup.
    #[serde(serialize_with = "serialize_paths")]
    pub paths: Vec<PathBuf>,
    /// What is left out.
    pub rules: ExcludeRules,
    /// What a complete capture looks like; it changes nothing that is captured.
    #[serde(skip)]
    pub expect: Expect,
}

fn serialize_paths<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| escape_path(path.as_os_str().as_encoded_bytes())))
}

/// `expect = { … }`: what is missing, empty or shrunken is a problem of the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Fewer entries than this are a problem.
    pub min_entries: Option<u64>,
    /// A component that lost more than this part of its bytes since the last backup is a problem.
    pub max_shrink: Option<Percent>,
}
