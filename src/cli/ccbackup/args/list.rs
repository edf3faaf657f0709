//! Arguments of `ccbackup list`; the comments are its help texts.

use clap::Args;

/// List all backups, oldest first
///
/// One line a backup: id, kind, parent, components, stored size, whether it is encrypted, when it was last verified.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup list
  ccbackup list --json | jq -r '.[-1].id'")]
pub struct List {}
