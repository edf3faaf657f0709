//! The command line of `ccbackup` as types.
//!
//! Names of verbs and flags are a contract. Values are parsed here once; what is wrong with them is a usage error,
//! exit code 2. The environment is not read here: `Context` lets it stand in for flags that were not given.

mod values;
mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

pub use values::{BackupRef, ComponentPath, Tag};
pub use verbs::{
    Cat, Completions, Create, Demo, Diff, Find, Init, Key, KeyAction, KeyExport, KeyGenerate, List, Ls, Man, Restore,
    Show, Verify,
};

const EXAMPLES: &str = "\
Examples:
  ccbackup create --encrypt              back up what is found here, make keys on first use
  ccbackup verify --all                  check every backup, without a key
  ccbackup restore --target /tmp/out     restore the latest backup into a folder

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

/// Flags that may stand anywhere on the command line.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [env: CCBACKUP_CONFIG]
    ///
    /// Without it: ./ccbackup.toml, then ccbackup/ccbackup.toml in $XDG_CONFIG_HOME, then /etc/ccbackup/ccbackup.toml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder of the repository [env: CCBACKUP_REPO]
    ///
    /// Wins over the configuration. Without either it is ./backups.
    #[arg(long, global = true, value_name = "DIR")]
    pub repo: Option<OsString>,

    /// Secret key file to open backups with; may be repeated [env: CCBACKUP_IDENTITY]
    ///
    /// The variable may name several, with `:` between them. Without either it is identity.txt in $CCBACKUP_HOME or
    /// ~/.config/ccbackup.
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Vec<PathBuf>,

    /// Trusted signer: an `ssh-ed25519 …` public key, or a file of them; may be repeated
    ///
    /// Only backups of these signers and those of the configuration are accepted.
    #[arg(long, global = true, value_name = "KEY|FILE")]
    pub signer: Vec<OsString>,

    /// Accept backups without a signature of a trusted signer
    #[arg(long, global = true)]
    pub allow_unsigned: bool,

    /// Print exactly one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,

    /// Write progress as JSON lines to stderr
    #[arg(long, global = true)]
    pub json_progress: bool,

    /// Write no notes and no progress; warnings and errors stay
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Worker threads, 1 to 256 [default: one a processor]
    #[arg(long, global = true, value_name = "N", value_parser = values::threads)]
    pub threads: Option<usize>,

    /// Read at most so many bytes a second: 800K, 50M, 1.5G
    ///
    /// `create` is held to it where it reads files, `verify` and `restore` where they read archives.
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub limit_rate: Option<u64>,

    /// Niceness to run with, 0 to 19 [default: 10 for create and verify without a terminal, else as it is]
    ///
    /// On disks whose scheduler knows priorities it also lowers that of reading and writing.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=19))]
    pub nice: Option<u8>,
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
    Key(Key),
    Demo(Demo),
    Completions(Completions),
    Man(Man),
}

impl Command {
    /// The verb as typed.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Create(_) => "create",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Ls(_) => "ls",
            Self::Diff(_) => "diff",
            Self::Find(_) => "find",
            Self::Cat(_) => "cat",
            Self::Verify(_) => "verify",
            Self::Restore(_) => "restore",
            Self::Key(_) => "key",
            Self::Demo(_) => "demo",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

#[cfg(test)]
mod tests;
