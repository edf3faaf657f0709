//! What the format asks of every JSON document beyond its grammar: no key comes twice in one object, at any depth.
//!
//! JSON parsers do not agree on which of two twins counts, and most say nothing of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::error::{Error, Result};

/// Refuses a document that is no JSON, or in which a key comes twice; `what` is its name for the error.
pub(super) fn check_twins(bytes: &[u8], what: &str) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::damage(format!("{what} is not UTF-8")).because(e))?;
    let read: serde_json::Result<Twinless> = serde_json::from_str(text);
    read.map(drop).map_err(|e| Error::damage(format!("{what} cannot be read")).because(e))
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

/// Any value in which no object has a key twice, and its keys if it is an object itself.
#[derive(Debug, Default)]
pub(super) struct Twinless {
    pub(super) keys: BTreeSet<String>,
}

impl<'de> Deserialize<'de> for Twinless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Twinless;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> std::result::Result<Twinless, E> {
        Ok(Twinless::default())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> std::result::Result<Twinless, E> {
        Ok(Twinless::default())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> std::result::Result<Twinless, E> {
        Ok(Twinless::default())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> std::result::Result<Twinless, E> {
        Ok(Twinless::default())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> std::result::Result<Twinless, E> {
        Ok(Twinless::default())
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<Twinless, E> {
        Ok(Twinless::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Twinless, A::Error> {
        while items.next_element::<Twinless>()?.is_some() {}
        Ok(Twinless::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Twinless, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Twinless>()?;
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} comes twice")));
            }
            keys.insert(key);
        }
        Ok(Twinless { keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_found_at_any_depth_and_however_it_is_written() {
        for good in ["{}", "[1,-2.5,true,null,\"x\"]", r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#] {
            check_twins(good.as_bytes(), "x").expect(good);
        }
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":{"a":1,"b":2,"a":1}}"#,
            r#"{"x":[0,{"a":1,"\u0061":1}]}"#,
            r#"{"":1,"":2}"#,
            "{} {}",
            "{",
            "",
        ] {
            assert!(check_twins(bad.as_bytes(), "x").is_err(), "{bad}");
        }
        assert!(check_twins(b"{\"a\":\"\xff\"}", "x").is_err());
        assert!(check_twins("[".repeat(100_000).as_bytes(), "x").is_err());
    }
}
