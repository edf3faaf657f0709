//! What the format asks of every JSON document beyond its grammar: no key comes twice in one object, at any depth.
//!
//! JSON parsers do not agree on which of two twins counts, and most say nothing of them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::Deserializer;

use super::text::single_backslashes;
use crate::error::{Error, Result};

/// Most levels of objects and arrays in a document or line.
const MAX_DEPTH: u32 = 127;

/// JSON for people: indented, with a final newline.
pub(crate) fn pretty_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::failed("cannot write JSON").because(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Refuses a document that is no JSON, or in which a key comes twice; `what` is its name for the error.
pub(super) fn check_twins(bytes: &[u8], what: &str) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::damage(format!("{what} is not UTF-8")).because(e))?;
    let mut walk = Walk { rest: text, compact: false };
    let read = walk.value(1).and(if walk.rest.is_empty() { Ok(()) } else { Err(Fault::NoJson) });
    read.map_err(|fault| match fault {
        Fault::NoJson => Error::damage(format!("{what} is no JSON at byte {}", text.len() - walk.rest.len())),
        Fault::Twin(key) => Error::damage(format!("{what} has the key {key:?} twice in one object")),
    })
}

/// The keys of an object as it stands in a line, `depth` levels deep: without white space, and with `\\\\` as the only
/// escape of its strings. None if that is not what it is, or a key comes twice at any depth.
pub(super) fn keys_of_compact_object(text: &str, depth: u32) -> Option<BTreeSet<String>> {
    let mut walk = Walk { rest: text, compact: true };
    let keys = walk.value(depth).ok()?;
    keys.filter(|_| walk.rest.is_empty())
}

/// A value that may be left out, but not be `null`: for `deserialize_with` beside `default`.
pub(super) fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A value that may be `null`, but not be left out: for `deserialize_with` without `default`.
pub(super) fn or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Reads any JSON, only to find what the format forbids.
struct Walk<'a> {
    rest: &'a str,
    /// As it is in lines.
    compact: bool,
}

enum Fault {
    NoJson,
    Twin(String),
}

impl Walk<'_> {
    /// Takes a value and the white space around it; gives the keys of an object.
    fn value(&mut self, depth: u32) -> std::result::Result<Option<BTreeSet<String>>, Fault> {
        self.space();
        let keys = match self.rest.bytes().next() {
            Some(b'{') if depth <= MAX_DEPTH => self.object(depth).map(Some),
            Some(b'[') if depth <= MAX_DEPTH => self.array(depth).map(|()| None),
            Some(b'"') => self.string().map(|_| None),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| None),
            _ => {
                let word = ["true", "false", "null"].iter().find_map(|word| self.rest.strip_prefix(word));
                self.rest = word.ok_or(Fault::NoJson)?;
                Ok(None)
            }
        };
        self.space();
        keys
    }

    fn space(&mut self) {
        if !self.compact {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        }
    }

    fn take(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, sign: char) -> std::result::Result<(), Fault> {
        if self.take(sign) { Ok(()) } else { Err(Fault::NoJson) }
    }

    fn object(&mut self, depth: u32) -> std::result::Result<BTreeSet<String>, Fault> {
        let mut keys = BTreeSet::new();
        self.expect('{')?;
        self.space();
        if self.take('}') {
            return Ok(keys);
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(':')?;
            self.value(depth + 1)?;
            if keys.contains(&key) {
                return Err(Fault::Twin(key));
            }
            keys.insert(key);
            if self.take('}') {
                return Ok(keys);
            }
            self.expect(',')?;
        }
    }

    fn array(&mut self, depth: u32) -> std::result::Result<(), Fault> {
        self.expect('[')?;
        self.space();
        if self.take(']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.take(']') {
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    fn string(&mut self) -> std::result::Result<String, Fault> {
        let body = self.rest.strip_prefix('"').ok_or(Fault::NoJson)?;
        let mut escaped = false;
        let end = body.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped && !self.compact;
            ends
        });
        let end = end.ok_or(Fault::NoJson)?;
        let text = if self.compact {
            single_backslashes(&body[..end])
        } else {
            serde_json::from_str(&self.rest[..end + 2]).ok()
        };
        let text = text.ok_or(Fault::NoJson)?;
        self.rest = &body[end + 1..];
        Ok(text)
    }

    fn number(&mut self) -> std::result::Result<(), Fault> {
        self.take('-');
        if !self.take('0') {
            self.digits()?;
        }
        if self.take('.') {
            self.digits()?;
        }
        if self.take('e') || self.take('E') {
            if !self.take('+') {
                self.take('-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> std::result::Result<(), Fault> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == self.rest.len() {
            return Err(Fault::NoJson);
        }
        self.rest = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_found_at_any_depth_and_however_it_is_written() {
        for good in [
            "{}",
            " [ 1 , -2.5e+3,true,null ,\"x\", {} , [ ] ]\n",
            r#"{"a":{"a":1e999},"b":[{"a":1},{"a":"\u00e4\ud83d\ude00\""}]}"#,
            "0",
        ] {
            check_twins(good.as_bytes(), "x").expect(good);
        }
        for bad in
            [r#"{"a":1,"a":1}"#, r#"{"x":{"a":1,"b":2,"a":1}}"#, r#"{"x":[0,{"a":1,"\u0061":1}]}"#, r#"{"":1,"":2}"#]
        {
            let error = check_twins(bad.as_bytes(), "x").expect_err(bad);
            assert!(error.one_line().contains("twice"), "{bad}: {}", error.one_line());
        }
        for bad in [
            "{} {}",
            "{",
            "",
            "[1,]",
            "{,}",
            "{\"a\":1,}",
            "[01]",
            "[+1]",
            "[1.]",
            "[.5]",
            "[1e]",
            "[-]",
            "[NaN]",
            "tru",
            "\u{feff}{}",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\n\"",
            "{a:1}",
            "{\"a\" 1}",
            "[\u{a0}1]",
        ] {
            assert!(check_twins(bad.as_bytes(), "x").is_err(), "{bad}");
        }
        assert!(check_twins(b"{\"a\":\"\xff\"}", "x").is_err());
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check_twins(nested(127).as_bytes(), "x").is_ok());
        assert!(check_twins(nested(128).as_bytes(), "x").is_err());
        assert!(check_twins("[".repeat(1_000_000).as_bytes(), "x").is_err());
    }

    proptest! {
        #[test]
        fn what_another_parser_takes_is_taken_and_nothing_else(
            text in r#"(\{("[a-c]":([0-9]{1,2}|"[ -~]{0,2}"|\[\]|\{\}),?){0,3}\}|[\[\]\{\}",:0-9eE+. truefalsn\\-]{0,12})"#,
        ) {
            let other: serde_json::Result<serde_json::Value> = serde_json::from_str(&text);
            match check_twins(text.as_bytes(), "x") {
                Ok(()) => prop_assert!(other.is_ok() || text.contains(['e', 'E']), "{}", text),
                // What follows after the twin was not looked at.
                Err(e) if e.one_line().contains("twice") => {}
                Err(_) => prop_assert!(other.is_err(), "{}", text),
            }
        }
    }
}
