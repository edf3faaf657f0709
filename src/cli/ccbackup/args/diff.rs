//! Arguments of `ccbackup diff`; the comments are its help texts.

use clap::Args;

use super::values::BackupRef;

/// Show what differs between two backups
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup diff 20260117 20260118
  ccbackup diff 20260117              against the latest")]
pub struct Diff {
    /// The earlier backup
    #[arg(value_name = "A")]
    pub a: BackupRef,
    /// The later backup
    #[arg(value_name = "B", default_value = BackupRef::LATEST)]
    pub b: BackupRef,
}
