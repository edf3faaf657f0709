//! Arguments of `ccbackup cat`; the comments are its help texts.

use clap::Args;

use super::values::{BackupRef, ComponentPath, component_path};

/// Write the content of one file to stdout
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ccbackup cat latest configs/configs/app.yaml > app.yaml")]
pub struct Cat {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID")]
    pub id: BackupRef,
    /// The file; its path as it is, or escaped as `ls` prints it
    #[arg(value_name = "COMPONENT/PATH", value_parser = component_path())]
    pub path: ComponentPath,
}
