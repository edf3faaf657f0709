//! What each kind of component is told by the configuration: one file a kind, parsed once, unknown keys refused.

mod chromem;
mod command;
mod contextcore;
mod files;
mod postgres;
mod redis;
mod redis_address;
mod section;
mod sqlite;

use serde::Serialize;

pub use chromem::ChromemConfig;
pub use command::CommandConfig;
pub use contextcore::ContextcoreConfig;
pub use files::{FilesConfig, SqliteReading};
pub use postgres::{Databases, PostgresConfig, PostgresUrl};
pub use redis::RedisConfig;
pub use redis_address::Address as RedisAddress;
pub(super) use section::{KindSection, argv, exclude_rules};
pub use sqlite::SqliteConfig;

use crate::error::{Error, Result};

/// What captures a component, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceConfig {
    /// Files and folders of this host.
    Files(FilesConfig),
    /// SQLite databases.
    Sqlite(SqliteConfig),
    /// Databases of a PostgreSQL server.
    Postgres(Box<PostgresConfig>),
    /// A Redis server, or a cluster of them.
    Redis(Box<RedisConfig>),
    /// The vectorstore of contextd.
    Chromem(ChromemConfig),
    /// The state of ContextCore.
    Contextcore(ContextcoreConfig),
    /// Whatever a program gives.
    Command(CommandConfig),
}

/// No paths yet.
impl Default for SourceConfig {
    fn default() -> Self {
        Self::Files(FilesConfig::default())
    }
}

impl SourceConfig {
    /// The words of all kinds that are built.
    pub const KINDS: [&'static str; 7] = ["files", "sqlite", "postgres", "redis", "chromem", "contextcore", "command"];

    /// The word in `kind = "…"` and in manifests.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::Chromem(_) => "chromem",
            Self::Contextcore(_) => "contextcore",
            Self::Command(_) => "command",
        }
    }

    /// The keys that only this kind knows.
    pub(super) fn keys(kind: &str) -> &'static [&'static str] {
        match kind {
            "files" => FilesConfig::KEYS,
            "sqlite" => SqliteConfig::KEYS,
            "postgres" => PostgresConfig::KEYS,
            "redis" => RedisConfig::KEYS,
            "chromem" => ChromemConfig::KEYS,
            "contextcore" => ContextcoreConfig::KEYS,
            "command" => CommandConfig::KEYS,
            _ => &[],
        }
    }

    /// Reads the keys of `kind`, which is one of [`Self::KINDS`].
    pub(super) fn read(kind: &str, section: &KindSection<'_>) -> Result<Self> {
        match kind {
            "files" => FilesConfig::read(section).map(Self::Files),
            "sqlite" => SqliteConfig::read(section).map(Self::Sqlite),
            "postgres" => Ok(Self::Postgres(Box::new(PostgresConfig::read(section)?))),
            "redis" => Ok(Self::Redis(Box::new(RedisConfig::read(section)?))),
            "chromem" => ChromemConfig::read(section).map(Self::Chromem),
            "contextcore" => ContextcoreConfig::read(section).map(Self::Contextcore),
            "command" => CommandConfig::read(section).map(Self::Command),
            _ => Err(Error::usage(format!("kind `{kind}` is not built"))),
        }
    }

    /// `key = value` lines of a new configuration, values in TOML. `path` writes a path the shortest way.
    pub(super) fn render(&self, path: &dyn Fn(&std::path::Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        match self {
            Self::Files(config) => config.render(path),
            Self::Sqlite(config) => config.render(path),
            Self::Postgres(config) => config.render(path),
            Self::Redis(config) => config.render(path),
            Self::Chromem(config) => config.render(path),
            Self::Contextcore(config) => config.render(path),
            Self::Command(config) => Ok(config.render()),
        }
    }
}
