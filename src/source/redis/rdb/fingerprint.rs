//! A digest of what a value means, whatever encoding holds it: for comparing values of servers with other limits, other versions,
//! or other hash seeds.
//!
//! Sets, hashes and sorted sets add up the digests of their members, so that no order and no memory is needed.

use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::input::{Input, Nowhere, Sink};
use super::packed;
#[allow(clippy::wildcard_imports, reason = "the numbers of all types, of which this takes nearly every one")]
use super::value::types::*;
use super::value::{Form, walk};
use crate::error::{Error, Result};

/// The longest collection that lies in one string.
const MAX_PACKED: u64 = 64 << 20;

/// The digest of the value of `kind` at which `input` stands. `lowest` is the oldest type of the values that are compared: what it
/// does not hold does not count.
pub(in crate::source::redis) fn fingerprint<R: Read>(input: &mut Input<R>, kind: u8, lowest: u8) -> Result<[u8; 32]> {
    let mut value = Value { input, class: b'?', digest: Sha256::new(), sum: [0; 4], members: 0 };
    value.take(kind, lowest)?;
    let mut digest = Sha256::new();
    digest.update([value.class]);
    digest.update(value.members.to_le_bytes());
    value.sum.iter().for_each(|part| digest.update(part.to_le_bytes()));
    digest.update(value.digest.finalize());
    Ok(digest.finalize().into())
}

struct Value<'a, R> {
    input: &'a mut Input<R>,
    class: u8,
    /// What comes in an order.
    digest: Sha256,
    /// What comes in none.
    sum: [u64; 4],
    members: u64,
}

struct Hashing<'a>(&'a mut Sha256);

impl Sink for Hashing<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.update(bytes);
        Ok(())
    }
}

impl<R: Read> Value<'_, R> {
    fn take(&mut self, kind: u8, lowest: u8) -> Result<()> {
        match kind {
            STRING => {
                self.class = b's';
                let part = self.part()?;
                self.digest.update(part);
            }
            LIST | LIST_QUICKLIST | LIST_QUICKLIST_2 | LIST_ZIPLIST => self.list(kind)?,
            SET => {
                self.class = b'S';
                for _ in 0..self.input.length()? {
                    let member = self.part()?;
                    self.member(&[&member]);
                }
            }
            SET_INTSET | SET_LISTPACK => {
                self.class = b'S';
                let blob = self.blob()?;
                let members = if kind == SET_INTSET { packed::intset(&blob)? } else { packed::listpack(&blob)? };
                members.iter().for_each(|member| self.member(&[&part_of(member)]));
            }
            ZSET | ZSET_2 | ZSET_LISTPACK | ZSET_ZIPLIST => self.sorted_set(kind)?,
            STREAM | STREAM_2 | STREAM_3 => self.stream(kind, lowest)?,
            HASH | HASH_TTL | HASH_TTL_PRE_GA => self.hash_table(kind)?,
            HASH_LISTPACK | HASH_ZIPLIST | HASH_ZIPMAP | HASH_LISTPACK_TTL | HASH_LISTPACK_TTL_PRE_GA => {
                self.packed_hash(kind)?;
            }
            _ => {
                self.class = b'm';
                walk(self.input, kind, Form::AsItIs, &mut Hashing(&mut self.digest))?;
            }
        }
        Ok(())
    }

    /// The digest of a string.
    fn part(&mut self) -> Result<[u8; 32]> {
        let mut digest = Sha256::new();
        self.input.content(&mut Hashing(&mut digest))?;
        Ok(digest.finalize().into())
    }

    fn blob(&mut self) -> Result<Vec<u8>> {
        self.input.string("a collection in one string", MAX_PACKED)
    }

    fn member(&mut self, parts: &[&[u8]]) {
        let mut digest = Sha256::new();
        parts.iter().for_each(|part| digest.update(part));
        let digest: [u8; 32] = digest.finalize().into();
        let mut carry = false;
        for (sum, bytes) in self.sum.iter_mut().zip(digest.as_chunks::<8>().0) {
            let (added, over) = sum.overflowing_add(u64::from_le_bytes(*bytes));
            let (added, again) = added.overflowing_add(carry.into());
            (*sum, carry) = (added, over || again);
        }
        self.members += 1;
    }

    fn list(&mut self, kind: u8) -> Result<()> {
        self.class = b'l';
        if kind == LIST_ZIPLIST {
            let elements = packed::ziplist(&self.blob()?)?;
            self.elements(&elements);
            return Ok(());
        }
        for _ in 0..self.input.length()? {
            let plain = match kind {
                LIST => true,
                LIST_QUICKLIST => false,
                _ => self.input.length()? == 1,
            };
            if plain {
                let part = self.part()?;
                self.digest.update(part);
                self.members += 1;
            } else {
                let blob = self.blob()?;
                let elements = if kind == LIST_QUICKLIST { packed::ziplist(&blob)? } else { packed::listpack(&blob)? };
                self.elements(&elements);
            }
        }
        Ok(())
    }

    fn elements(&mut self, elements: &[Vec<u8>]) {
        elements.iter().for_each(|element| self.digest.update(part_of(element)));
        self.members += elements.len() as u64;
    }

    fn sorted_set(&mut self, kind: u8) -> Result<()> {
        self.class = b'z';
        if matches!(kind, ZSET_LISTPACK | ZSET_ZIPLIST) {
            let blob = self.blob()?;
            let elements = if kind == ZSET_LISTPACK { packed::listpack(&blob)? } else { packed::ziplist(&blob)? };
            for pair in pairs(&elements, 2, self.input)? {
                let score = score(&pair[1]).ok_or_else(|| self.input.damaged("a score is no number"))?;
                self.member(&[&part_of(&pair[0]), &score.to_le_bytes()]);
            }
            return Ok(());
        }
        for _ in 0..self.input.length()? {
            let member = self.part()?;
            let score = if kind == ZSET_2 {
                f64::from_le_bytes(self.input.array()?)
            } else {
                match self.input.byte()? {
                    253 => f64::NAN,
                    254 => f64::INFINITY,
                    255 => f64::NEG_INFINITY,
                    length => {
                        let mut text = Vec::new();
                        self.input.copy(length.into(), &mut text)?;
                        score(&text).ok_or_else(|| self.input.damaged("a score is no number"))?
                    }
                }
            };
            self.member(&[&member, &score.to_le_bytes()]);
        }
        Ok(())
    }

    fn hash_table(&mut self, kind: u8) -> Result<()> {
        self.class = b'h';
        let first = if kind == HASH_TTL { i64::from_le_bytes(self.input.array()?) } else { 1 };
        for _ in 0..self.input.length()? {
            let ttl = if kind == HASH { 0 } else { self.input.length()? };
            let (field, value) = (self.part()?, self.part()?);
            let expires = if ttl == 0 { 0 } else { first.wrapping_add_unsigned(ttl).wrapping_sub(1) };
            self.field(&field, &value, expires);
        }
        Ok(())
    }

    fn packed_hash(&mut self, kind: u8) -> Result<()> {
        self.class = b'h';
        if kind == HASH_LISTPACK_TTL {
            self.input.copy(8, &mut Nowhere)?;
        }
        let blob = self.blob()?;
        let elements = match kind {
            HASH_ZIPLIST => packed::ziplist(&blob)?,
            HASH_ZIPMAP => packed::zipmap(&blob)?,
            _ => packed::listpack(&blob)?,
        };
        let width = if matches!(kind, HASH_LISTPACK_TTL | HASH_LISTPACK_TTL_PRE_GA) { 3 } else { 2 };
        for parts in pairs(&elements, width, self.input)? {
            let expires = match parts.get(2) {
                None => 0,
                Some(text) => str::from_utf8(text)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| self.input.damaged("the expiry of a field is no number"))?,
            };
            self.field(&part_of(&parts[0]), &part_of(&parts[1]), expires);
        }
        Ok(())
    }

    fn field(&mut self, field: &[u8], value: &[u8], expires: i64) {
        if expires == 0 { self.member(&[field, value]) } else { self.member(&[field, value, &expires.to_le_bytes()]) }
    }

    fn stream(&mut self, kind: u8, lowest: u8) -> Result<()> {
        self.class = b'x';
        let all = lowest >= STREAM_2;
        let nodes = self.number(true)?;
        for _ in 0..nodes {
            let (id, entries) = (self.part()?, self.part()?);
            self.digest.update(id);
            self.digest.update(entries);
        }
        for number in 0..if kind >= STREAM_2 { 8 } else { 3 } {
            self.number(number < 3 || all)?;
        }
        for _ in 0..self.number(true)? {
            let name = self.part()?;
            self.digest.update(name);
            for number in 0..if kind >= STREAM_2 { 3 } else { 2 } {
                self.number(number < 2 || all)?;
            }
            for _ in 0..self.number(true)? {
                self.input.copy(16 + 8, &mut Hashing(&mut self.digest))?;
                self.number(true)?;
            }
            for _ in 0..self.number(true)? {
                let name = self.part()?;
                self.digest.update(name);
                // When the consumer was seen changes whenever it looks.
                self.input.copy(if kind >= STREAM_3 { 16 } else { 8 }, &mut Nowhere)?;
                for _ in 0..self.number(true)? {
                    self.input.copy(16, &mut Hashing(&mut self.digest))?;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, counts: bool) -> Result<u64> {
        let number = self.input.length()?;
        if counts {
            self.digest.update(number.to_le_bytes());
        }
        Ok(number)
    }
}

fn part_of(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

fn pairs<'a, R: Read>(
    elements: &'a [Vec<u8>],
    width: usize,
    input: &Input<R>,
) -> Result<std::slice::ChunksExact<'a, Vec<u8>>, Error> {
    let chunks = elements.chunks_exact(width);
    if chunks.remainder().is_empty() { Ok(chunks) } else { Err(input.damaged("a member has no value")) }
}

fn score(text: &[u8]) -> Option<f64> {
    str::from_utf8(text).ok()?.parse().ok()
}
