//! Times: those of files have nanoseconds and the decimal form of PAX and the index (FORMAT.md §7), those in documents are
//! whole seconds and RFC 3339 (FORMAT.md §4).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::Serializer;

use super::text::{push_number, serde_as_text};
use crate::error::{Error, Result};

/// A moment as whole seconds since 1970 (any sign) and nanoseconds (0 to 999 999 999) after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1 000 000 000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The next one.
    pub(crate) fn next(self) -> Self {
        match self.nanoseconds {
            999_999_999.. => Self { seconds: self.seconds.saturating_add(1), nanoseconds: 0 },
            n => Self { nanoseconds: n + 1, ..self },
        }
    }

    /// Appends the decimal form.
    pub(crate) fn push(self, out: &mut Vec<u8>) {
        let (whole, nanoseconds) = match (self.seconds, self.nanoseconds) {
            (s, n) if s < 0 && n > 0 => ((s + 1).unsigned_abs(), 1_000_000_000 - n),
            (s, n) => (s.unsigned_abs(), n),
        };
        if self.seconds < 0 {
            out.push(b'-');
        }
        push_number(out, whole);
        if nanoseconds > 0 {
            let end = out.len();
            push_number(out, 1_000_000_000 + u64::from(nanoseconds));
            out[end] = b'.'; // in place of the leading 1
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
    }

    /// Reads the only form that a time has in an index: the one that is written.
    pub fn parse_exact(text: &str) -> Result<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, f)| (whole, Some(f)));
        let exact = (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(|f| (1..=9).contains(&f.len()) && !f.ends_with('0'))
            && text != "-0";
        if exact { Self::parse(text) } else { Err(bad(text)) }
    }

    /// Reads a decimal number, `1700000000.5` or `-0.25`, with any number of digits: the archives of others have such.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || bad(text);
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let decimal = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !decimal(whole) || !decimal(fraction) {
            return Err(bad());
        }
        // With its sign, because the lowest number has no positive counterpart.
        let seconds: i64 = text[..text.len() - digits.len() + whole.len()].parse().map_err(|_| bad())?;
        let nanoseconds =
            fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        Ok(match (negative, nanoseconds) {
            (false, _) | (true, 0) => Self { seconds, nanoseconds },
            (true, _) => {
                Self { seconds: seconds.checked_sub(1).ok_or_else(bad)?, nanoseconds: 1_000_000_000 - nanoseconds }
            }
        })
    }
}

/// A second in UTC. Documents write it as exactly `YYYY-MM-DDTHH:MM:SSZ`, from 1970 on, and readers take no other form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

/// Not jiff's timestamps: those end a day before the year 9999 does.
const EPOCH: DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);

impl Moment {
    /// That many seconds after the beginning of 1970.
    #[must_use]
    pub fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the beginning of 1970.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0
    }

    /// The time between two moments, whichever is the later.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_secs(self.0.abs_diff(other.0))
    }

    /// So much earlier, in whole seconds.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(by.as_secs()))
    }
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::damage(format!("{:?} is not a time", text.chars().take(64).collect::<String>()));
        let shape = |(b, form): (u8, u8)| if form == b'0' { b.is_ascii_digit() } else { b == form };
        let form = b"0000-00-00T00:00:00Z";
        if text.len() != form.len() || !text.bytes().zip(*form).all(shape) {
            return Err(bad());
        }
        let part = |at: usize| text[at..at + 2].parse::<i8>().unwrap_or(-1);
        let year = text[..4].parse().unwrap_or(0);
        let moment = DateTime::new(year, part(5), part(8), part(11), part(14), part(17), 0);
        moment.ok().filter(|_| year >= 1970).map(|time| Self(time.duration_since(EPOCH).as_secs())).ok_or_else(bad)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(SignedDuration::from_secs(self.0)) {
            Ok(time) => write!(f, "{time}Z"),
            Err(_) => self.0.fmt(f),
        }
    }
}

serde_as_text!(Moment);

fn bad(text: &str) -> Error {
    Error::damage(format!("{:?} is not a time in seconds", text.chars().take(64).collect::<String>()))
}

/// A wall time in a report: seconds, to the thousandth.
pub(crate) fn serialize_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Moments that notes of this host keep as numbers.
pub(crate) mod unix_seconds {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Moment;

    pub(crate) fn serialize<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        moment.0.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        i64::deserialize(deserializer).map(Moment)
    }
}

/// The decimal form that PAX, `touch -d @…` and the index use.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.push(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_with_nanoseconds_come_back() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (-1, 750_000_000, "-0.25"),
            (-2, 0, "-2"),
            (-3, 1, "-2.999999999"),
            (1_700_000_000, 1, "1700000000.000000001"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MIN, 500_000_000, "-9223372036854775807.5"),
        ] {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::parse(text).expect("own form is read"), time);
            assert_eq!(Timestamp::parse_exact(text).expect("own form is read"), time);
        }
        for bad in ["", "-", "--1", "1e3", "1.x", "+1", "-+1", " 1", "99999999999999999999", "-9223372036854775808.5"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad:?}");
            assert!(Timestamp::parse_exact(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn documents_have_one_form_for_each_time() {
        for good in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(good.parse::<Moment>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "1969-12-31T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-12-31T23:59:60Z",
            "2024-01-01t00:00:00z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00+00:00",
            "2024-01-01T00:00:00.0Z",
            "2024-01-01T00:00:00",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:0\u{0661}",
        ] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_index_has_one_form_for_each_time_and_archives_of_others_have_more() {
        for other in ["01", "-0", "-01", "00.5", "1.", "1.0", "1.50", "-0.0", "1.0000000001", "0.1234567891"] {
            assert!(Timestamp::parse(other).is_ok(), "{other:?}");
            assert!(Timestamp::parse_exact(other).is_err(), "{other:?}");
        }
    }
}
