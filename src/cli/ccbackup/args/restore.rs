//! Arguments of `ccbackup restore`; the comments are its help texts.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::values::{BackupRef, component_name, glob};
use crate::error::{Error, Result};

/// Restore a backup into a folder
///
/// Writes to DIR/COMPONENT/…, never outside DIR. A run that was cut short is continued. A folder that holds anything
/// else is refused with exit code 5, unless --overwrite says to rewrite what differs.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup restore --target /tmp/out
  ccbackup restore 20260117 --target /tmp/out --component configs --include '*.yaml'
  ccbackup restore --target /srv/app --overwrite --delete --dry-run")]
pub struct Restore {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST)]
    pub id: BackupRef,
    /// Folder to restore into; it is made when it is not there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub target: PathBuf,
    /// Only this component; may be repeated
    #[arg(long, value_name = "NAME", value_parser = component_name)]
    pub component: Vec<String>,
    /// Only what matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob())]
    pub include: Vec<String>,
    /// Leave out what matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob())]
    pub exclude: Vec<String>,
    /// Rewrite what differs from the backup
    #[arg(long)]
    pub overwrite: bool,
    /// Delete what the backup does not hold
    #[arg(long)]
    pub delete: bool,
    /// Answer every question with yes
    #[arg(long)]
    pub yes: bool,
    /// Show what would be done, touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Restore {
    /// Refuses flags that contradict each other.
    pub fn check(&self) -> Result<()> {
        if self.delete && !(self.include.is_empty() && self.exclude.is_empty()) {
            return Err(Error::usage("--delete cannot be combined with --include or --exclude")
                .hint("it would remove what was only not selected"));
        }
        Ok(())
    }
}
