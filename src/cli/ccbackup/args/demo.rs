//! Arguments of `ccbackup demo`; the comments are its help texts.

use clap::Args;

/// Back up, damage, verify and restore a small sample in a scratch folder
///
/// Shows in a minute what the program does, and removes everything at the end.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ccbackup demo --keep")]
pub struct Demo {
    /// Keep the scratch folder and say where it is
    #[arg(long)]
    pub keep: bool,
}
