//! The command line of `ccbackup` as types.
//!
//! Names of verbs and flags are a contract. Values are parsed here once; what is wrong with them is a usage error,
//! exit code 2. The environment is not read here: `Context` lets it stand in for flags that were not given.

#[cfg(test)]
mod tests;
mod values;
mod verbs;

use clap::{Parser, Subcommand};

use crate::cli::{Global, Program};

pub use values::{BackupRef, ComponentPath, Tag};
pub use verbs::{
    Cat, Check, Completions, Create, Demo, Diff, Find, Init, Key, KeyAction, KeyExport, KeyGenerate, List, Ls, Man,
    Restore, Show, Verify,
};

const EXAMPLES: &str = "\
Examples:
  ccbackup create --encrypt              back up what is found here, make keys on first use
  ccbackup verify --all                  check every backup, without a key
  ccbackup restore --target /tmp/out     restore the latest backup into a folder
  ccbackup restore --apply --dry-run     what it would do to the living services

Exit codes:
  0 done, 1 failed, 2 usage, 3 done with problems, 4 damage found, 5 refused, 130/143 interrupted";

/// Backs up self-hosted stacks into plain tar + zstd + age files, and restores them
///
/// A backup is a folder of tar.zst.age files with SHA256SUMS and an OpenSSH signature. It can be checked without a key
/// and restored with standard tools alone; each backup carries a restore.sh that does so.
#[derive(Clone, Debug, Parser)]
#[command(name = "ccbackup", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub global: Global,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub command: Command,
}

/// The verbs of `ccbackup`.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "each verb is documented at its own type, where clap takes its help from")]
pub enum Command {
    Init(Init),
    Create(Box<Create>),
    List(List),
    Show(Show),
    Ls(Ls),
    Diff(Diff),
    Find(Find),
    Cat(Cat),
    Verify(Verify),
    Restore(Box<Restore>),
    Check(Check),
    Key(Key),
    Demo(Demo),
    Completions(Completions),
    Man(Man),
}

impl Program for Cli {
    fn global(&self) -> &Global {
        &self.global
    }
}
