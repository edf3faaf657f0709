//! Values of the command line that have a shape of their own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};

use crate::config::{self, Cipher};
use crate::error::{Error, Result, path_text};
use crate::model::{EntryPath, is_component_name};

/// Names a backup: `latest`, `latest-good`, an id, a unique beginning of one, or a folder of an older layout. The repository resolves
/// it. Invariant: a harmless file name of 1 to 64 letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackupRef(String);

impl BackupRef {
    /// The newest backup.
    pub const LATEST: &'static str = "latest";
    /// The newest backup with all that was expected.
    pub const LATEST_GOOD: &'static str = "latest-good";

    /// The text as typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the newest backup with all that was expected is meant.
    #[must_use]
    pub fn is_latest_good(&self) -> bool {
        self.0 == Self::LATEST_GOOD
    }

    /// Whether the newest backup is meant.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.0 == Self::LATEST
    }
}

impl FromStr for BackupRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let older = text.strip_prefix("backup-").unwrap_or(text);
        let starts =
            older.starts_with(|c: char| c.is_ascii_digit()) || [Self::LATEST, Self::LATEST_GOOD].contains(&text);
        if starts && text.len() <= 64 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::usage(
                "not a backup: expected `latest`, `latest-good`, an id like 20260117-143000, or the beginning of one",
            ))
        }
    }
}

/// `COMPONENT/PATH`: an entry of a component, any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentPath {
    /// A valid component name.
    pub component: String,
    /// Path inside the component, as it was typed.
    pub path: EntryPath,
    /// What was typed, read as the escaped form in which paths are listed.
    pub unescaped: Option<EntryPath>,
}

pub(super) fn component_path() -> impl TypedValueParser<Value = ComponentPath> {
    OsStringValueParser::new().try_map(parse_component_path)
}

fn parse_component_path(text: OsString) -> Result<ComponentPath> {
    let bytes = text.into_vec();
    let bad = || Error::usage("expected COMPONENT/PATH, for example configs/configs/app.yaml");
    let slash = bytes.iter().position(|&b| b == b'/').ok_or_else(bad)?;
    let component = std::str::from_utf8(&bytes[..slash]).ok().filter(|name| is_component_name(name));
    let component = component.ok_or_else(bad)?.to_owned();
    let path = &bytes[slash + 1..];
    let escaped = std::str::from_utf8(path).ok().filter(|text| text.contains('\\'));
    let unescaped = escaped.and_then(|text| EntryPath::from_escaped(text).ok());
    Ok(ComponentPath { component, path: EntryPath::new(path)?, unescaped })
}

/// A label, `K=V`; it lies in the manifest in clear text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 1 to 64 letters, digits, `-`, `_` and `.`.
    pub key: String,
    /// At most 256 bytes without control characters.
    pub value: String,
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').ok_or_else(|| Error::usage("expected K=V"))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !(1..=64).contains(&key.len()) || !key.bytes().all(plain) {
            return Err(Error::usage("the key of a tag is 1 to 64 letters, digits, `-`, `_` and `.`"));
        }
        if value.len() > 256 || value.chars().any(char::is_control) {
            return Err(Error::usage("the value of a tag is at most 256 bytes without control characters"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

pub(super) fn component_name(text: &str) -> Result<String> {
    if is_component_name(text) {
        Ok(text.to_owned())
    } else {
        Err(Error::usage("a component name is 1 to 64 lower-case letters, digits, `-` and `_`"))
    }
}

pub(super) fn glob() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().try_map(|text| {
        let text = text.into_string().map_err(|text| {
            Error::usage(format!("the glob {} is not UTF-8; write `?` for such a byte", path_text(text.as_ref())))
        })?;
        config::check_glob(&text).map(|()| text)
    })
}

pub(super) fn cipher<const N: usize>(names: [&'static str; N]) -> impl TypedValueParser<Value = Cipher> {
    PossibleValuesParser::new(names).try_map(|text| text.parse::<Cipher>())
}

pub(super) fn file_name(text: &str) -> Result<String> {
    config::check_file_name(text).map(|()| text.to_owned())
}

pub(super) fn level(text: &str) -> Result<i32> {
    let number = text.parse().ok().filter(|n| (1..=19).contains(n));
    number.ok_or_else(|| Error::usage("expected a zstd level from 1 to 19"))
}
