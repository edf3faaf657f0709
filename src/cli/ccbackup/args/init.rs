//! Arguments of `ccbackup init`; the comments are its help texts.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Look around, write ccbackup.toml, create keys
///
/// Finds compose files, .env, config folders, data folders and vectorstores, writes a commented configuration for them,
/// creates the identity and the signer, and says what must be kept off this machine.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup init --dry-run        show the configuration, write nothing
  ccbackup init --dir /srv/app   look around there")]
pub struct Init {
    /// Folder to look around and to write ccbackup.toml to
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Replace a configuration that is there; keys are never replaced
    #[arg(long)]
    pub force: bool,
    /// Show what would be written, touch nothing
    #[arg(long)]
    pub dry_run: bool,
}
