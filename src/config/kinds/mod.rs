//! What each kind of component is told by the configuration: one file a kind, parsed once, unknown keys refused.

mod files;
mod postgres;
mod redis;
mod redis_address;
mod section;
mod sqlite;

use serde::Serialize;

pub use files::{FilesConfig, SqliteReading};
pub use postgres::{Databases, PostgresConfig, PostgresUrl};
pub use redis::RedisConfig;
pub use redis_address::Address as RedisAddress;
pub(super) use section::{KindSection, exclude_rules};
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
}

/// No paths yet.
impl Default for SourceConfig {
    fn default() -> Self {
        Self::Files(FilesConfig::default())
    }
}

impl SourceConfig {
    /// The words of all kinds that are built.
    pub const KINDS: [&'static str; 4] = ["files", "sqlite", "postgres", "redis"];

    /// The word in `kind = "…"` and in manifests.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
        }
    }

    /// The keys that only this kind knows.
    pub(super) fn keys(kind: &str) -> &'static [&'static str] {
        match kind {
            "files" => FilesConfig::KEYS,
            "sqlite" => SqliteConfig::KEYS,
            "postgres" => PostgresConfig::KEYS,
            "redis" => RedisConfig::KEYS,
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
        }
    }
}
