//! Arguments of `ccbackup show`; the comments are its help texts.

use clap::Args;

use super::values::BackupRef;

/// Show what a backup holds
///
/// Kind, parent, what it depends on, sealing, signer, tags, and every component with its sizes. Needs no key.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup show
  ccbackup show 20260117-143000")]
pub struct Show {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST)]
    pub id: BackupRef,
}
