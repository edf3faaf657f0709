//! Arguments of `ccbackup create`; the comments are its help texts.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::values::{Tag, cipher, component_name, file_name, glob, level};
use crate::config::{Cipher, check_recipient};
use crate::error::{Error, Result};

/// Make a backup
///
/// Full the first time, then incremental: what is unchanged is referenced, not read. Exit code 0 means that every
/// expected component is present, complete and checked; 3 that the backup was made with problems, listed at the end.
/// What --exclude and its like leave out, in every component of the run, is counted and listed by `show`; it is no problem.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup create --encrypt                    everything of ccbackup.toml, or what is found here
  ccbackup create --encrypt --path /srv/app    one folder, no configuration needed
  ccbackup create --component configs --full   one component, without earlier backups
  ccbackup create --dry-run                    show what would be done")]
pub struct Create {
    /// Encrypt; makes keys on first use
    #[arg(long)]
    pub encrypt: bool,
    /// Public key that can open the backup: age1…, ssh-ed25519 or ssh-rsa; may be repeated
    #[arg(long, value_name = "AGE")]
    pub recipient: Vec<String>,
    /// How to seal the backup
    #[arg(long, value_name = "CIPHER", value_parser = cipher(Cipher::NAMES))]
    pub cipher: Option<Cipher>,
    /// zstd level, 1 to 19
    #[arg(long, value_name = "N", value_parser = level)]
    pub level: Option<i32>,
    /// Depend on no earlier backup
    #[arg(long)]
    pub full: bool,
    /// Only this component; may be repeated
    #[arg(long, value_name = "NAME", value_parser = component_name)]
    pub component: Vec<String>,
    /// Back up this file or folder as the component `files`, without configuration; may be repeated
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "component")]
    pub path: Vec<PathBuf>,
    /// Leave out what matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob())]
    pub exclude: Vec<String>,
    /// Leave out what is in caches: folders with a CACHEDIR.TAG
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out what is in folders that hold a file of this name; may be repeated
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub exclude_if_present: Vec<String>,
    /// Leave out what lies on other file systems
    #[arg(long)]
    pub one_file_system: bool,
    /// Read every file again, also those that look unchanged
    #[arg(long)]
    pub rehash: bool,
    /// Label of the backup, kept in clear text; may be repeated
    #[arg(long, value_name = "K=V")]
    pub tag: Vec<Tag>,
    /// Take over a repository that another host wrote, or begin with one that was not at this place before
    #[arg(long)]
    pub adopt: bool,
    /// Show what would be done, touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Create {
    /// Refuses flags that contradict each other, and secret keys among the recipients.
    pub fn check(&self) -> Result<()> {
        self.recipient.iter().try_for_each(|recipient| check_recipient(recipient))?;
        let contradiction = match self.cipher {
            Some(Cipher::None) if self.encrypt => "--encrypt and --cipher none contradict each other",
            Some(Cipher::None | Cipher::Aes256Gcm) if !self.recipient.is_empty() => {
                "--recipient needs the cipher age, another --cipher was given"
            }
            _ => return Ok(()),
        };
        Err(Error::usage(contradiction))
    }
}
