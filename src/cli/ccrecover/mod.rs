//! `ccrecover`: its verbs are listed, and refused until they are built.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::{Global, Program, Rest};

/// Brings a whole site back in seven steps, and rehearses that (not built yet)
///
/// Until then `ccbackup restore` brings files back into a folder, and the restore.sh of every backup does so without
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "ccrecover", version, max_term_width = 110)]
pub struct Recover {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub global: Global,
    /// Folder of the backups (not built yet)
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<OsString>,
    /// Backup to recover from (not built yet)
    #[arg(long, value_name = "ID")]
    pub backup: Option<OsString>,
    /// Show what would be done (not built yet)
    #[arg(long)]
    pub dry_run: bool,
    /// Answer every question with yes (not built yet)
    #[arg(long)]
    pub force: bool,
    /// Continue a recovery (not built yet)
    #[arg(long)]
    pub resume: bool,
    /// Repair a recovery that failed (not built yet)
    #[arg(long)]
    pub repair: bool,
    /// Forget a recovery that was begun (not built yet)
    #[arg(long)]
    pub reset: bool,
    /// Show how far a recovery is (not built yet)
    #[arg(long)]
    pub status: bool,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub verb: Option<RecoverVerb>,
}

/// Verbs of `ccrecover`.
#[derive(Clone, Debug, Subcommand)]
pub enum RecoverVerb {
    /// Show the seven steps for this site (not built yet)
    Plan(Rest),
    /// Undo a recovery (not built yet)
    Rollback(Rest),
    /// Rehearse a recovery in a scratch place (not built yet)
    Drill(Rest),
    /// List recoveries and drills (not built yet)
    History(Rest),
}

impl Program for Recover {
    fn global(&self) -> &Global {
        &self.global
    }
}
