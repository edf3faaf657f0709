//! Reads the one form that lines of an index have: keys in order, nothing between them (FORMAT.md §7).
//!
//! Lines are JSON, but no JSON parser reads them: what has one form only is read in half the time, and two readers
//! cannot understand it in two ways.

use std::borrow::Cow;

use super::json::keys_of_compact_object;
use super::path::is_canonical;
use super::text::single_backslashes;
use crate::error::Error;

/// A line and how far it was read. What does not come next gives `None`; [`Scan::fault`] tells where that was.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    line: &'a [u8],
    rest: &'a str,
}

impl<'a> Scan<'a> {
    /// At the start of a line, with or without its newline. What is not UTF-8 has no place to go on from.
    pub(crate) fn new(line: &'a [u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Self { line, rest: std::str::from_utf8(line).unwrap_or_default() }
    }

    /// Damage: `what` is not in the form of the format.
    pub(crate) fn fault(&self, what: &str) -> Error {
        let at = self.line.len() - self.rest.len();
        let near = at.saturating_sub(60).min(self.line.len());
        let shown = String::from_utf8_lossy(&self.line[near..self.line.len().min(near + 120)]);
        let place = if std::str::from_utf8(self.line).is_err() {
            "is not UTF-8".to_owned()
        } else {
            format!("has at byte {at} something else than the format wants there")
        };
        Error::damage(format!("{what} {place}: …{shown:?}…"))
    }

    pub(crate) fn expect(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// A value after `key`, which must come next.
    pub(crate) fn after<T>(&mut self, key: &str, value: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        self.expect(key)?;
        value(self)
    }

    /// A value after `key`, if that comes next.
    pub(crate) fn optional<T>(&mut self, key: &str, value: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.expect(key).is_none() { Some(None) } else { value(self).map(Some) }
    }

    /// Text up to the quote that ends it, as it stands there.
    pub(crate) fn raw(&mut self) -> Option<&'a str> {
        let (text, rest) = self.rest.split_once('"')?;
        self.rest = rest;
        Some(text)
    }

    /// The same without the doubling of backslashes; none where there is another JSON escape, or a control character.
    pub(crate) fn text(&mut self) -> Option<Cow<'a, str>> {
        let before = self.rest;
        let text = self.raw()?;
        let plain = text.bytes().fold(true, |plain, b| plain & (b >= 0x20) & (b != b'\\'));
        let text = if plain { Some(Cow::Borrowed(text)) } else { single_backslashes(text).map(Cow::Owned) };
        if text.is_none() {
            self.rest = before;
        }
        text
    }

    /// Escaped text in the only form that it has.
    pub(crate) fn escaped(&mut self) -> Option<Cow<'a, str>> {
        let before = self.rest;
        let text = self.raw()?;
        // Nearly all texts are printable ASCII with nothing to escape.
        let plain = text.bytes().fold(true, |plain, b| plain & (b' '..0x7f).contains(&b) & (b != b'\\'));
        let plain = plain && !text.starts_with(['-', ' ']) && !text.ends_with(' ');
        let text = if plain {
            Some(Cow::Borrowed(text))
        } else {
            single_backslashes(text).filter(|t| is_canonical(t)).map(Cow::Owned)
        };
        if text.is_none() {
            self.rest = before;
        }
        text
    }

    /// A value in a string.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self) -> Option<T> {
        let before = self.rest;
        let value = self.raw()?.parse().ok();
        if value.is_none() {
            self.rest = before;
        }
        value
    }

    pub(crate) fn quoted<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.after("\"", Self::parsed)
    }

    /// Decimal digits without leading zeros.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let mut value = 0_u64;
        let mut digits = 0;
        for b in self.rest.bytes().take_while(u8::is_ascii_digit) {
            value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
            digits += 1;
        }
        let (number, rest) = self.rest.split_at(digits);
        if number.is_empty() || (number.starts_with('0') && digits > 1) {
            return None;
        }
        let value = T::try_from(value).ok()?;
        self.rest = rest;
        Some(value)
    }

    pub(crate) fn pair<A, B>(
        &mut self,
        first: impl Fn(&mut Self) -> Option<A>,
        second: impl Fn(&mut Self) -> Option<B>,
    ) -> Option<(A, B)> {
        self.expect("[")?;
        let a = first(self)?;
        self.expect(",")?;
        let b = second(self)?;
        self.expect("]")?;
        Some((a, b))
    }

    pub(crate) fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.expect("[")?;
        let mut items = Vec::new();
        if self.expect("]").is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.expect("]").is_some() {
                return Some(items);
            }
            self.expect(",")?;
        }
    }

    /// A list that is left out where it would be empty.
    pub(crate) fn filled_list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.list(item).filter(|items| !items.is_empty())
    }

    /// The end of the line.
    pub(crate) fn done(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// Nothing but the brace that ends an object whose known keys were read, and `closing` after it. Keys that are not
    /// known may come before the brace, each once, with values of any kind.
    pub(crate) fn end(&mut self, known: &[&str], closing: &str) -> Option<()> {
        let rest = self.rest.strip_suffix(closing)?;
        if rest != "}" {
            let object = format!("{{{}", rest.strip_prefix(',')?);
            let keys = keys_of_compact_object(&object, if closing.is_empty() { 1 } else { 2 })?;
            if keys.is_empty() || keys.iter().any(|key| known.contains(&key.as_str())) {
                return None;
            }
        }
        self.rest = "";
        Some(())
    }
}
