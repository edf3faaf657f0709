//! Arguments of `ccbackup key`; the comments are its help texts.

use clap::{Args, Subcommand};

use super::values::cipher;
use crate::config::Cipher;

/// Make, list and export keys
///
/// Keys live in $CCBACKUP_HOME, else in ~/.config/ccbackup: identity.txt opens backups, signer signs them.
#[derive(Args, Clone, Debug)]
pub struct Key {
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the verb")]
    pub action: KeyAction,
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "each is documented at its own type, where clap takes its help from")]
pub enum KeyAction {
    Generate(KeyGenerate),
    /// List the keys of this host: kind, public half, file
    List,
    Export(KeyExport),
}

/// Make the keys that are missing; never replaces one
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup key generate
  ccbackup key generate --cipher aes-256-gcm")]
pub struct KeyGenerate {
    /// Cipher the key is for
    #[arg(long, value_name = "CIPHER", default_value = "age", value_parser = cipher(["age", "aes-256-gcm"]))]
    pub cipher: Cipher,
}

/// Print the public keys, or with --secret what must be kept off this machine
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup key export                            recipient and signer, for other hosts
  (umask 077; ccbackup key export --secret > /media/usb/ccbackup-keys.txt)")]
pub struct KeyExport {
    /// Print the secret keys; whoever has them can read every backup
    #[arg(long)]
    pub secret: bool,
}
