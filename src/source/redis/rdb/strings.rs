//! Lengths and strings of the RDB format, and LZF.

use std::io::Read;

use super::input::{Input, Sink};
use crate::error::{Error, Kind, Result};

/// How far LZF looks back.
const LZF_WINDOW: usize = 8192;
/// Bytes that LZF gives away at once.
const LZF_BLOCK: usize = 64 * 1024;

/// A length as it was read, with the bytes that said it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    pub(super) value: u64,
    /// `value` names an encoding, not a length.
    pub(super) special: bool,
    raw: [u8; 9],
    raw_length: usize,
}

impl Length {
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw[..self.raw_length]
    }
}

/// The bytes of a length, as Redis writes them.
pub(in crate::source::redis) fn put_length(length: u64, sink: &mut dyn Sink) -> Result<()> {
    if let Ok(short) = u8::try_from(length)
        && short < 64
    {
        sink.put(&[short])
    } else if let Ok(short) = u16::try_from(length)
        && short < 1 << 14
    {
        sink.put(&(short | 0x4000).to_be_bytes())
    } else if let Ok(long) = u32::try_from(length) {
        sink.put(&[0x80])?;
        sink.put(&long.to_be_bytes())
    } else {
        sink.put(&[0x81])?;
        sink.put(&length.to_be_bytes())
    }
}

/// A string as Redis writes it without compression: a small integer if it is the text of one.
pub(in crate::source::redis) fn put_string(text: &[u8], sink: &mut dyn Sink) -> Result<()> {
    match small_integer(text) {
        Some(number) => {
            if let Ok(n) = i8::try_from(number) {
                sink.put(&[0xc0])?;
                sink.put(&n.to_le_bytes())
            } else if let Ok(n) = i16::try_from(number) {
                sink.put(&[0xc1])?;
                sink.put(&n.to_le_bytes())
            } else {
                sink.put(&[0xc2])?;
                sink.put(&number.to_le_bytes())
            }
        }
        None => {
            put_length(text.len() as u64, sink)?;
            sink.put(text)
        }
    }
}

fn small_integer(text: &[u8]) -> Option<i32> {
    if text.is_empty() || text.len() > 11 {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    let number: i32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl<R: Read> Input<R> {
    /// A length, or the name of an encoding.
    pub(super) fn length_or_encoding(&mut self) -> Result<Length> {
        let first = self.byte()?;
        let mut raw = [0; 9];
        raw[0] = first;
        let (value, special, raw_length) = match (first >> 6, first) {
            (0, _) => (u64::from(first & 63), false, 1),
            (1, _) => {
                raw[1] = self.byte()?;
                (u64::from(first & 63) << 8 | u64::from(raw[1]), false, 2)
            }
            (3, _) => (u64::from(first & 63), true, 1),
            (_, 0x80) => {
                let bytes: [u8; 4] = self.array()?;
                raw[1..5].copy_from_slice(&bytes);
                (u64::from(u32::from_be_bytes(bytes)), false, 5)
            }
            (_, 0x81) => {
                let bytes: [u8; 8] = self.array()?;
                raw[1..9].copy_from_slice(&bytes);
                (u64::from_be_bytes(bytes), false, 9)
            }
            _ => return Err(self.damaged(&format!("a length begins with the byte {first:#04x}"))),
        };
        Ok(Length { value, special, raw, raw_length })
    }

    /// A length; an encoding is an error.
    pub(in crate::source::redis) fn length(&mut self) -> Result<u64> {
        let length = self.length_or_encoding()?;
        if length.special {
            return Err(self.damaged("the encoding of a string stands where a length belongs"));
        }
        Ok(length.value)
    }

    /// The content of a string, at most `limit` bytes.
    pub(in crate::source::redis) fn string(&mut self, what: &str, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Limited { bytes: Vec::new(), limit, what };
        self.content(&mut bytes)?;
        Ok(bytes.bytes)
    }

    /// Hands the content of a string on, decoded; its length is not known before.
    pub(super) fn content(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let length = self.length_or_encoding()?;
        if !length.special {
            return self.copy(length.value, sink);
        }
        match length.value {
            0 => sink.put(i8::from_le_bytes(self.array()?).to_string().as_bytes()),
            1 => sink.put(i16::from_le_bytes(self.array()?).to_string().as_bytes()),
            2 => sink.put(i32::from_le_bytes(self.array()?).to_string().as_bytes()),
            3 => {
                let (packed, plain) = (self.length()?, self.length()?);
                self.lzf(packed, plain, sink)
            }
            other => Err(self.damaged(&format!("a string has the encoding {other}"))),
        }
    }

    /// Hands a string on as it is in the RDB, but for compression when `plain` is asked for.
    pub(super) fn encoded(&mut self, plain: bool, sink: &mut dyn Sink) -> Result<()> {
        let length = self.length_or_encoding()?;
        if !length.special {
            if plain {
                put_length(length.value, sink)?;
            } else {
                sink.put(length.raw())?;
            }
            return self.copy(length.value, sink);
        }
        match length.value {
            number @ 0..=2 => {
                sink.put(length.raw())?;
                self.copy(1 << number, sink)
            }
            3 => {
                let (packed, whole) = (self.length_or_encoding()?, self.length_or_encoding()?);
                if packed.special || whole.special {
                    return Err(self.damaged("the encoding of a string stands where a length belongs"));
                }
                if plain {
                    put_length(whole.value, sink)?;
                    return self.lzf(packed.value, whole.value, sink);
                }
                sink.put(length.raw())?;
                sink.put(packed.raw())?;
                sink.put(whole.raw())?;
                self.copy(packed.value, sink)
            }
            other => Err(self.damaged(&format!("a string has the encoding {other}"))),
        }
    }

    /// Expands `packed` bytes of LZF to exactly `plain` bytes.
    fn lzf(&mut self, packed: u64, plain: u64, sink: &mut dyn Sink) -> Result<()> {
        let bad = "a compressed string does not expand to its length";
        let (mut left, mut given) = (packed, 0_u64);
        // What was given already but may be referred to, and what was not given yet (from `fresh` on).
        let (mut window, mut fresh) = (Vec::with_capacity(LZF_BLOCK), 0);
        while left > 0 {
            let control = usize::from(self.byte()?);
            left -= 1;
            let start = window.len();
            if control < 32 {
                let count = control as u64 + 1;
                left = left.checked_sub(count).ok_or_else(|| self.damaged(bad))?;
                self.copy(count, &mut window)?;
            } else {
                let mut count = control >> 5;
                if count == 7 {
                    left = left.checked_sub(1).ok_or_else(|| self.damaged(bad))?;
                    count += usize::from(self.byte()?);
                }
                left = left.checked_sub(1).ok_or_else(|| self.damaged(bad))?;
                let back = ((control & 31) << 8 | usize::from(self.byte()?)) + 1;
                let first = start.checked_sub(back).ok_or_else(|| self.damaged(bad))?;
                // What is copied may be what was just put there.
                for from in first..first + count + 2 {
                    window.push(window[from]);
                }
            }
            given += (window.len() - start) as u64;
            if given > plain {
                return Err(self.damaged(bad));
            }
            if window.len() >= LZF_BLOCK {
                sink.put(&window[fresh..])?;
                window.drain(..window.len() - LZF_WINDOW);
                fresh = window.len();
            }
        }
        sink.put(&window[fresh..])?;
        if given == plain { Ok(()) } else { Err(self.damaged(bad)) }
    }

    /// An error about what was just read.
    pub(in crate::source::redis) fn damaged(&self, what: &str) -> Error {
        Error::new(Kind::Incomplete, format!("the RDB is damaged before byte {}: {what}", self.position()))
    }
}

struct Limited<'a> {
    bytes: Vec<u8>,
    limit: u64,
    what: &'a str,
}

impl Sink for Limited<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            let (what, limit) = (self.what, self.limit);
            return Err(Error::new(Kind::Incomplete, format!("{what} is longer than {limit} bytes")));
        }
        self.bytes.put(bytes)
    }
}
