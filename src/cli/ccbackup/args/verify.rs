//! Arguments of `ccbackup verify`; the comments are its help texts.

use clap::Args;

use super::values::BackupRef;
use crate::config::Percent;

/// Check a backup and all it depends on
///
/// Without a key: signature, SHA256SUMS and the whole chain. With --deep every file is decrypted and hashed again.
/// Anything missing, changed, unsigned or wrongly signed is damage: exit code 4, with what to do next.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup verify                   the latest backup, without a key
  ccbackup verify --all --deep      every byte of everything
  ccbackup verify --deep --sample 5%")]
pub struct Verify {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST, conflicts_with = "all")]
    pub id: BackupRef,
    /// Every backup of the repository
    #[arg(long)]
    pub all: bool,
    /// Decrypt and hash every file again; needs a key
    #[arg(long)]
    pub deep: bool,
    /// Check only this part, chosen at random
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<Percent>,
}
