//! Arguments of `ccbackup find`; the comments are its help texts.

use clap::Args;

use super::values::glob;

/// Find entries in all backups
///
/// Prints each version of a matching entry once, with the first and last backup that hold it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup find '*.env'
  ccbackup find 'grafana/**/*.yaml'")]
pub struct Find {
    /// What to look for
    #[arg(value_name = "GLOB", value_parser = glob())]
    pub glob: String,
}
