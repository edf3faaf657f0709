//! Arguments of `ccbackup ls`; the comments are its help texts.

use clap::Args;

use super::values::{BackupRef, glob};

/// List the entries of a backup
///
/// Prints COMPONENT/PATH for every entry, sorted. Names with unusual bytes are escaped.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup ls -l
  ccbackup ls latest '*.yaml'")]
pub struct Ls {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST)]
    pub id: BackupRef,
    /// Only entries that match
    #[arg(value_name = "GLOB", value_parser = glob())]
    pub glob: Option<String>,
    /// With mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
}
