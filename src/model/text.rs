//! Numbers and texts in lines. `std::fmt` and a JSON library would take longer for them than compression.

use std::borrow::Cow;

/// Lets serde write a type as its `Display` does and read it as its `FromStr` does.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use serde_as_text;

/// Appends decimal digits.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Doubles backslashes.
pub(crate) fn double_backslashes(escaped: &str) -> Cow<'_, str> {
    if escaped.contains('\\') { Cow::Owned(escaped.replace('\\', "\\\\")) } else { Cow::Borrowed(escaped) }
}

/// Undoes the doubling of backslashes. None where there is another JSON escape, or a control character.
pub(super) fn single_backslashes(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c < ' ' || (c == '\\' && chars.next() != Some('\\')) {
            return None;
        }
        out.push(c);
    }
    Some(out)
}
