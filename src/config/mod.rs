//! Configuration: `ccbackup.toml` as types, where it is found, what `init` finds and how it is written.
//!
//! A leaf: it reads the files it is pointed to and nothing else. Folders that come from the environment (home, XDG) are
//! passed in by `cli`. After loading every path is absolute and every value is within its bounds; a configuration that
//! breaks a rule is refused as a whole, with file and line. Secrets are never repeated in an error.

mod compose;
mod discover;
mod kinds;
mod listening;
mod load;
mod near;
mod render;
mod rules;
mod section;
mod survey;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_kinds;
mod text;
mod types;
mod values;

pub use discover::discover;
pub use kinds::{
    ChromemConfig, CommandConfig, ContextcoreConfig, Databases, FilesConfig, PostgresConfig, PostgresUrl, RedisAddress,
    RedisConfig, SourceConfig, SqliteConfig, SqliteReading,
};
pub use load::{FILE_NAME, Lookup, load, parse};
pub use render::{Rendering, render};
pub use rules::{Defaults, ExcludeRules};
pub use survey::{Surroundings, Survey, survey};
pub use types::{ComponentConfig, Config, EncryptionConfig, Expect, Hooks};
pub use values::{Cipher, Percent, SignerRef, check_recipient};
pub(crate) use values::{check_file_name, check_glob, resolve_location};
