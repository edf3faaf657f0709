//! Flags that every program takes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::error::{Error, Result};

/// Flags that may stand anywhere on the command line.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [env: CCBACKUP_CONFIG]
    ///
    /// Without it: ./ccbackup.toml, then ccbackup/ccbackup.toml in $XDG_CONFIG_HOME, then /etc/ccbackup/ccbackup.toml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the repository [env: CCBACKUP_REPO]
    ///
    /// Wins over the configuration. Without either it is ./backups.
    #[arg(long, global = true, value_name = "DIR")]
    pub repo: Option<OsString>,
    /// Secret key file to open backups with; may be repeated [env: CCBACKUP_IDENTITY]
    ///
    /// The variable may name several, with `:` between them. Without either it is identity.txt in $CCBACKUP_HOME or
    /// ~/.config/ccbackup.
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Trusted signer: an `ssh-ed25519 …` public key, or a file of them; may be repeated
    ///
    /// Only backups of these signers and those of the configuration are accepted.
    #[arg(long, global = true, value_name = "KEY|FILE")]
    pub signer: Vec<OsString>,
    /// Accept backups without a signature of a trusted signer
    #[arg(long, global = true)]
    pub allow_unsigned: bool,
    /// Print exactly one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Write progress as JSON lines to stderr
    #[arg(long, global = true)]
    pub json_progress: bool,
    /// Write no notes and no progress; warnings and errors stay
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Worker threads, 1 to 256 [default: one a processor]
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Read at most this many bytes per second: 800K, 50M, 1.5G
    ///
    /// `create` is held to it where it reads files, `verify` and `restore` where they read archives.
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub limit_rate: Option<u64>,
    /// Niceness to run with, 0 to 19 [default: 10 for create and verify without a terminal, else as it is]
    ///
    /// On disks whose scheduler knows priorities it also lowers that of reading and writing.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=19))]
    pub nice: Option<u8>,
}

fn threads(text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|n| (1..=256).contains(n));
    number.ok_or_else(|| Error::usage("expected a number from 1 to 256"))
}

/// Bytes per second, with K, M or G for powers of 1024.
fn rate(text: &str) -> Result<u64> {
    let bad = || Error::usage("expected bytes per second, such as 800K, 50M or 1.5G");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let tenths = fraction.parse::<u64>().ok().filter(|_| fraction.len() == 1).ok_or_else(bad)?;
    let rate = whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(tenths * factor / 10));
    rate.filter(|rate| *rate > 0).ok_or_else(bad)
}
