//! From a configuration to its source: the one place that names all kinds.

use super::chromem::ChromemSource;
use super::command::CommandSource;
use super::contextcore::ContextcoreSource;
use super::files::FilesSource;
use super::postgres::PostgresSource;
use super::redis::RedisSource;
use super::seam::Source;
use super::sqlite::SqliteSource;
use crate::config::SourceConfig;

/// The source that a configuration describes. Nothing is asked or opened yet.
pub fn open(config: &SourceConfig) -> Box<dyn Source> {
    match config {
        SourceConfig::Files(config) => Box::new(FilesSource::new(config.clone())),
        SourceConfig::Sqlite(config) => Box::new(SqliteSource::new(config.clone())),
        SourceConfig::Command(config) => Box::new(CommandSource::new(config.clone())),
        SourceConfig::Postgres(config) => Box::new(PostgresSource::new(config.as_ref().clone())),
        SourceConfig::Redis(config) => Box::new(RedisSource::new(config.as_ref().clone())),
        SourceConfig::Chromem(config) => Box::new(ChromemSource::new(config.clone())),
        SourceConfig::Contextcore(config) => Box::new(ContextcoreSource::new(config.clone())),
    }
}
