//! The command line of `ccbackup` as types.
//!
//! Names of verbs and flags are a contract. Values are parsed here once; what is wrong with them is a usage error,
//! exit code 2. The environment is not read here: `Context` lets it stand in for flags that were not given.

mod cli;
#[cfg(test)]
mod tests;
mod values;
mod verbs;

pub use cli::{Cli, Command};
pub use values::{BackupRef, ComponentPath, Tag};
pub use verbs::{
    Cat, Completions, Create, Demo, Diff, Find, Init, Key, KeyAction, KeyExport, KeyGenerate, List, Ls, Man, Restore,
    Show, Verify,
};
