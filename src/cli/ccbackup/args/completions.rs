//! Arguments of `ccbackup completions`; the comments are its help texts.

use clap::Args;

/// Print completions for a shell
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ccbackup completions bash > ~/.local/share/bash-completion/completions/ccbackup")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
