//! Arguments of `ccbackup man`; the comments are its help texts.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Print the man page, or write one page a verb into a folder
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup man | man -l -
  ccbackup man --out ~/.local/share/man/man1")]
pub struct Man {
    /// Folder to write the pages to
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}
