//! The command line of `ccbackup` as types.
//!
//! Names of verbs and flags are a contract. Values are parsed here once; what is wrong with them is a usage error,
//! exit code 2. The environment is not read here: `Context` lets it stand in for flags that were not given.

mod cat;
mod cli;
mod completions;
mod create;
mod demo;
mod diff;
mod find;
mod init;
mod key;
mod list;
mod ls;
mod man;
mod restore;
mod show;
#[cfg(test)]
mod tests;
mod values;
mod verify;

pub use cat::Cat;
pub use cli::{Cli, Command};
pub use completions::Completions;
pub use create::Create;
pub use demo::Demo;
pub use diff::Diff;
pub use find::Find;
pub use init::Init;
pub use key::{Key, KeyAction, KeyExport, KeyGenerate};
pub use list::List;
pub use ls::Ls;
pub use man::Man;
pub use restore::Restore;
pub use show::Show;
pub use values::{BackupRef, ComponentPath, Tag};
pub use verify::Verify;
