//! Configuration: `ccbackup.toml` as types, where it is found, what `init` finds and how it is written.
//!
//! A leaf: it reads the files it is pointed to and nothing else. Folders that come from the environment (home, XDG) are
//! passed in by `cli`. After loading every path is absolute and every value is within its bounds; a configuration that
//! breaks a rule is refused as a whole, with file and line. Secrets are never repeated in an error.

mod discover;
mod load;
mod near;
mod render;
mod section;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use discover::discover;
pub use load::{FILE_NAME, Lookup, MAX_CONFIG_BYTES, load, parse, resolve_path};
pub(crate) use load::{check_file_name, check_glob, resolve_location};
pub use near::nearest;
pub use render::{Rendering, render};

use crate::error::{Error, Result};

/// Everything `ccbackup.toml` says. The default is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The file this was read from; none when there is no file.
    pub file: Option<PathBuf>,
    /// `[repository]`
    pub repository: RepositoryConfig,
    /// `[encryption]`
    pub encryption: EncryptionConfig,
    /// `[trust]`
    pub trust: TrustConfig,
    /// `[defaults]`
    pub defaults: Defaults,
    /// `[[component]]`, in the order of the file. Names are valid and distinct.
    pub components: Vec<ComponentConfig>,
}

/// `[repository]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Folder of the repository, absolute.
    pub location: Option<PathBuf>,
}

/// `[encryption]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Public keys as written; `keys` parses them.
    pub recipients: Vec<String>,
    /// How new backups are sealed.
    pub cipher: Option<Cipher>,
    /// zstd level, 1 to 19.
    pub level: Option<i32>,
}

/// `[trust]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// Signers whose backups are accepted.
    pub signers: Vec<SignerRef>,
}

/// `[defaults]`: what holds for every component, those of `--path` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Globs that are excluded everywhere. Already part of every [`ComponentConfig::exclude`].
    pub exclude: Vec<String>,
    /// Whether what caches hold is left out. Already part of every [`ComponentConfig::exclude_caches`].
    pub exclude_caches: bool,
    /// Names that mark folders whose contents are left out. Already part of every
    /// [`ComponentConfig::exclude_if_present`].
    pub exclude_if_present: Vec<String>,
    /// Whether mount points are left out. Already part of every [`ComponentConfig::one_file_system`].
    pub one_file_system: bool,
    /// Number of worker threads, 1 to 256.
    pub threads: Option<usize>,
}

/// One `[[component]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentConfig {
    /// A valid component name, distinct in a configuration.
    pub name: String,
    /// What captures it.
    pub kind: ComponentKind,
    /// Files and folders, absolute, at least one.
    pub paths: Vec<PathBuf>,
    /// Globs of what is left out; each is a valid glob.
    pub exclude: Vec<String>,
    /// Leave out what is in folders that are caches by their `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out what is in folders that hold one of these; each is a plain file name.
    pub exclude_if_present: Vec<String>,
    /// Leave out what lies on other file systems.
    pub one_file_system: bool,
    /// What a complete capture looks like.
    pub expect: Expect,
}

/// Kinds of components that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ComponentKind {
    /// Files and folders of this host.
    Files,
}

impl ComponentKind {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::Files];

    /// The word in `kind = "…"` and in manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
        }
    }
}

/// `expect = { … }`: what is missing, empty or shrunken is a problem of the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Fewer entries than this are a problem.
    pub min_entries: Option<u64>,
    /// A component that lost more than this part of its bytes since the last backup is a problem.
    pub max_shrink: Option<Percent>,
}

/// How a backup is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// age, to recipients.
    Age,
    /// AES-256-GCM, with a key file.
    Aes256Gcm,
    /// Not at all.
    None,
}

impl Cipher {
    /// The words of all ciphers, the default first.
    pub const NAMES: [&'static str; 3] = ["age", "aes-256-gcm", "none"];
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "age",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::None => "none",
        })
    }
}

impl FromStr for Cipher {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "age" => Ok(Self::Age),
            "aes-256-gcm" => Ok(Self::Aes256Gcm),
            "none" => Ok(Self::None),
            _ => Err(Error::usage(format!("{text:?} is not a cipher; there are {}", Self::NAMES.join(", ")))),
        }
    }
}

/// A part of a whole, kept as hundredths of a percent: 0 to 10 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// The number, 0.0 to 100.0.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// That part of `whole`, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        // At most `whole`, so it always fits.
        u64::try_from(u128::from(whole) * u128::from(self.0) / 10_000).unwrap_or(whole)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.as_f64())
    }
}

impl FromStr for Percent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("{text:?} is not a percentage like \"5%\", from 0% to 100%"));
        let number = text.strip_suffix('%').ok_or_else(bad)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str, most: usize| (1..=most).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 3) || !digits(fraction, 2) {
            return Err(bad());
        }
        let whole: u32 = whole.parse().map_err(|_| bad())?;
        let hundredths: u32 = format!("{fraction:0<2}").parse().map_err(|_| bad())?;
        u16::try_from(whole * 100 + hundredths).ok().filter(|n| *n <= 10_000).map(Self).ok_or_else(bad)
    }
}

/// A trusted signer: the key itself, or a file that holds keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerRef {
    /// An OpenSSH public key, `ssh-ed25519 AAAA…`.
    Key(String),
    /// A file of public keys or of `allowed_signers` lines, absolute.
    File(PathBuf),
}

impl SignerRef {
    /// Tells keys from files; relative files lie under `folder`, `~/` under `home`.
    pub fn parse(text: &str, folder: &Path, home: Option<&Path>) -> Result<Self> {
        if text.starts_with("ssh-") && text.contains(' ') {
            return Ok(Self::Key(text.to_owned()));
        }
        resolve_path(text, folder, home).map(Self::File)
    }
}

/// Refuses a secret key where a public one belongs, without repeating it.
pub fn check_recipient(text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::usage("a recipient is empty"));
    }
    let head = text.trim_start().to_ascii_uppercase();
    if head.starts_with("AGE-SECRET-KEY-") || head.starts_with("AGE-PLUGIN-") || head.contains("PRIVATE KEY") {
        return Err(Error::usage("a recipient holds a secret key, a public one is expected (not shown here)")
            .hint("take the `age1…` line that belongs to it, and treat the secret key as known to others"));
    }
    Ok(())
}
