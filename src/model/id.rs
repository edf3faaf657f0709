//! Names of backups.

use std::fmt;
use std::str::FromStr;

use super::text::serde_as_text;
use super::time::Moment;
use crate::error::{Error, Hint, Result};

/// Name of a backup and of its folder: a UTC second, `20260117-143000`, with `-2`, `-3`, … when that second is taken.
///
/// Invariant: matches that shape, so it is a safe file name. Age order is the manifest's sequence number, not this.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId {
    /// The text with zeros after it, which keep its order. Every line of an index has two of them: no allocation.
    text: [u8; MAX_BYTES],
    length: u8,
}

/// A second, a dash and nine digits.
const MAX_BYTES: usize = 25;

impl BackupId {
    /// The name for a moment; `collision` 1 has no suffix.
    pub fn at(moment: Moment, collision: u32) -> Result<Self> {
        let time = jiff::Timestamp::from_second(moment.unix_seconds())
            .map_err(|e| Error::failed(format!("the clock's time {moment} has no date")).because(e))?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        let stem = time.strftime("%Y%m%d-%H%M%S").to_string();
        if collision <= 1 { stem.parse() } else { format!("{stem}-{collision}").parse() }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // What `from_str` let in is ASCII.
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }

    /// The number after the second; 1 when there is none.
    #[must_use]
    pub fn collision(&self) -> u32 {
        self.as_str().get(16..).map_or(1, |digits| digits.parse().unwrap_or(u32::MAX))
    }

    /// The moment in the name.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let seconds = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", &self.as_str()[..15])
            .and_then(|t| t.to_zoned(jiff::tz::TimeZone::UTC))
            .map_or(0, |z| z.timestamp().as_second());
        Moment::from_unix_seconds(seconds)
    }
}

impl FromStr for BackupId {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let bytes = s.as_bytes();
        let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|b| b.iter().all(u8::is_ascii_digit));
        let stem = digits(0..8) && bytes.get(8) == Some(&b'-') && digits(9..15);
        let suffix = match bytes.get(15) {
            None => true,
            Some(b'-') => {
                (17..=MAX_BYTES).contains(&bytes.len())
                    && digits(16..bytes.len())
                    && bytes[16] != b'0'
                    && &bytes[16..] != b"1"
            }
            Some(_) => false,
        };
        if stem && suffix {
            let mut text = [0; MAX_BYTES];
            text[..bytes.len()].copy_from_slice(bytes);
            Ok(Self { text, length: bytes.len().try_into().unwrap_or(u8::MAX) })
        } else {
            Err(Error::usage(format!("{s:?} is not a backup id")).hint(Hint::ListIds))
        }
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(BackupId);
