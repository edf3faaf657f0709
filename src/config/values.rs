//! Values of a configuration that have a shape of their own; the command line takes them too.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

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

/// A time like `90s`, `30m`, `2h`, `1d`: a whole number and one unit, more than nothing and at most a year.
pub(crate) fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || Error::usage(format!("{text:?} is not a time like \"90s\", \"30m\", \"2h\" or \"1d\""));
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    let total = number.checked_mul(seconds).filter(|total| (1..=366 * 86_400).contains(total));
    total.map(Duration::from_secs).ok_or_else(bad)
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

/// An error when a glob cannot be read.
pub(crate) fn check_glob(text: &str) -> Result<()> {
    match globset::Glob::new(text) {
        Ok(_) if !text.is_empty() => Ok(()),
        Ok(_) => Err(Error::usage("a glob is empty")),
        Err(e) => Err(Error::usage(format!("{text:?} is not a glob: {}", e.kind()))),
    }
}

/// An error when this cannot be the name of a file in a folder.
pub(crate) fn check_file_name(text: &str) -> Result<()> {
    if matches!(text, "" | "." | "..") || text.len() > 255 || text.contains(['/', '\0']) {
        return Err(Error::usage(format!("{text:?} is not the name of a file"))
            .hint("a plain name like \".nobackup\", without a folder before it"));
    }
    Ok(())
}

/// The folder of a repository: a path, or a `file://` URL.
pub(crate) fn resolve_location(text: &str, folder: &Path, home: Option<&Path>) -> Result<PathBuf> {
    match text.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => resolve_path(path, folder, home),
        Some((scheme, _)) => {
            Err(Error::usage(format!("repositories at `{scheme}://` are not built yet; built: folders")))
        }
        None => resolve_path(text, folder, home),
    }
}

/// Makes a path absolute: `~/` stands for `home`, relative ones lie under `folder`. `.` parts are dropped, `..` stay.
pub(super) fn resolve_path(text: &str, folder: &Path, home: Option<&Path>) -> Result<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return Err(Error::usage(format!("{text:?} is not a path")));
    }
    let rest = if text == "~" { Some("") } else { text.strip_prefix("~/") };
    let path = match (rest, home) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        (Some(_), None) => {
            return Err(Error::usage(format!("{text:?} needs a home folder and there is none"))
                .hint("set HOME, or write the whole path"));
        }
        (None, _) => folder.join(text),
    };
    Ok(path.components().filter(|part| *part != Component::CurDir).collect())
}
