//! What `ccbackup.toml` says, section by section.

use std::path::PathBuf;

use super::values::{Cipher, ComponentKind, Percent, SignerRef};

/// Everything `ccbackup.toml` says. The default is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The file this was read from; none when there is no file.
    pub file: Option<PathBuf>,
    /// `[repository]`
    pub repository: RepositoryConfig,
    /// `[encryption]`
    pub encryption: EncryptionConfig,
    /// `[trust]`
    pub trust: TrustConfig,
    /// `[defaults]`
    pub defaults: Defaults,
    /// `[[component]]`, in the order of the file. Names are valid and distinct.
    pub components: Vec<ComponentConfig>,
}

/// `[repository]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Folder of the repository, absolute.
    pub location: Option<PathBuf>,
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

/// `[trust]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// Signers whose backups are accepted.
    pub signers: Vec<SignerRef>,
}

/// `[defaults]`: what holds for every component, those of `--path` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Globs that are excluded everywhere. Already part of every [`ComponentConfig::exclude`].
    pub exclude: Vec<String>,
    /// Whether what caches hold is left out. Already part of every [`ComponentConfig::exclude_caches`].
    pub exclude_caches: bool,
    /// Names that mark folders whose contents are left out. Already part of every
    /// [`ComponentConfig::exclude_if_present`].
    pub exclude_if_present: Vec<String>,
    /// Whether mount points are left out. Already part of every [`ComponentConfig::one_file_system`].
    pub one_file_system: bool,
    /// Number of worker threads, 1 to 256.
    pub threads: Option<usize>,
}

/// One `[[component]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentConfig {
    /// A valid component name, distinct in a configuration.
    pub name: String,
    /// What captures it.
    pub kind: ComponentKind,
    /// Files and folders, absolute, at least one.
    pub paths: Vec<PathBuf>,
    /// Globs of what is left out; each is a valid glob.
    pub exclude: Vec<String>,
    /// Leave out what is in folders that are caches by their `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out what is in folders that hold one of these; each is a plain file name.
    pub exclude_if_present: Vec<String>,
    /// Leave out what lies on other file systems.
    pub one_file_system: bool,
    /// What a complete capture looks like.
    pub expect: Expect,
}

/// `expect = { … }`: what is missing, empty or shrunken is a problem of the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Fewer entries than this are a problem.
    pub min_entries: Option<u64>,
    /// A component that lost more than this part of its bytes since the last backup is a problem.
    pub max_shrink: Option<Percent>,
}
