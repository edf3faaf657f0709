//! The value of one key, walked to its end: every encoding that Redis up to 8 writes.
//!
//! The canonical form of a value is equal for equal data, whichever process wrote it: strings are not compressed, and the members
//! of sets and hashes, which lie in the order of a hash table with a new seed in every process, are sorted. (Sorted sets, lists
//! and streams lie in an order of their own; small sets and hashes in that of insertion, which stays.)

use std::io::Read;
use std::ops::Range;

use super::input::{Input, Sink};
use crate::error::{Error, Kind, Result};

/// Members of a table are sorted in memory up to this sum of bytes; a larger table stays in the order in which it came.
const SORTED_BYTES: usize = 16 << 20;

/// In which form a value is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::redis) enum Form {
    /// Byte for byte as it is in the RDB.
    AsItIs,
    /// The same bytes for the same data.
    Canonical,
}

/// Types of values (`RDB_TYPE_…`).
pub(super) mod types {
    pub(in super::super) const STRING: u8 = 0;
    pub(in super::super) const LIST: u8 = 1;
    pub(in super::super) const SET: u8 = 2;
    pub(in super::super) const ZSET: u8 = 3;
    pub(in super::super) const HASH: u8 = 4;
    pub(in super::super) const ZSET_2: u8 = 5;
    pub(in super::super) const MODULE_PRE_GA: u8 = 6;
    pub(in super::super) const MODULE_2: u8 = 7;
    pub(in super::super) const HASH_ZIPMAP: u8 = 9;
    pub(in super::super) const LIST_ZIPLIST: u8 = 10;
    pub(in super::super) const SET_INTSET: u8 = 11;
    pub(in super::super) const ZSET_ZIPLIST: u8 = 12;
    pub(in super::super) const HASH_ZIPLIST: u8 = 13;
    pub(in super::super) const LIST_QUICKLIST: u8 = 14;
    pub(in super::super) const STREAM: u8 = 15;
    pub(in super::super) const HASH_LISTPACK: u8 = 16;
    pub(in super::super) const ZSET_LISTPACK: u8 = 17;
    pub(in super::super) const LIST_QUICKLIST_2: u8 = 18;
    pub(in super::super) const STREAM_2: u8 = 19;
    pub(in super::super) const SET_LISTPACK: u8 = 20;
    pub(in super::super) const STREAM_3: u8 = 21;
    pub(in super::super) const HASH_TTL_PRE_GA: u8 = 22;
    pub(in super::super) const HASH_LISTPACK_TTL_PRE_GA: u8 = 23;
    pub(in super::super) const HASH_TTL: u8 = 24;
    pub(in super::super) const HASH_LISTPACK_TTL: u8 = 25;
}

/// One value on its way from `input` to `sink`.
pub(super) struct Walk<'a, R> {
    input: &'a mut Input<R>,
    sink: &'a mut dyn Sink,
    canonical: bool,
    /// Members stayed in the order in which they came, because there were too many bytes of them.
    unsorted: bool,
}

/// Hands the value of `kind` on; whether it is in an order that changes with every process.
pub(super) fn walk<R: Read>(input: &mut Input<R>, kind: u8, form: Form, sink: &mut dyn Sink) -> Result<bool> {
    let mut walk = Walk { input, sink, canonical: form == Form::Canonical, unsorted: false };
    walk.value(kind)?;
    Ok(walk.unsorted)
}

/// Passes over what a module wrote; `sink` takes it as it is.
pub(super) fn walk_module<R: Read>(input: &mut Input<R>, sink: &mut dyn Sink) -> Result<()> {
    Walk { input, sink, canonical: false, unsorted: false }.module()
}

impl<R: Read> Walk<'_, R> {
    fn value(&mut self, kind: u8) -> Result<()> {
        #[allow(clippy::wildcard_imports, reason = "the numbers of all types, of which this takes every one")]
        use types::*;
        match kind {
            STRING
            | HASH_ZIPMAP
            | LIST_ZIPLIST
            | SET_INTSET
            | ZSET_ZIPLIST
            | HASH_ZIPLIST
            | HASH_LISTPACK
            | ZSET_LISTPACK
            | SET_LISTPACK
            | HASH_LISTPACK_TTL_PRE_GA => self.string(),
            HASH_LISTPACK_TTL => {
                self.bytes(8)?;
                self.string()
            }
            LIST | LIST_QUICKLIST => {
                for _ in 0..self.count()? {
                    self.string()?;
                }
                Ok(())
            }
            LIST_QUICKLIST_2 => {
                for _ in 0..self.count()? {
                    let container = self.count()?;
                    if !matches!(container, 1 | 2) {
                        return Err(self.input.damaged(&format!("a list has a node of the form {container}")));
                    }
                    self.string()?;
                }
                Ok(())
            }
            SET => self.table(false, 1),
            HASH => self.table(false, 2),
            HASH_TTL => {
                self.bytes(8)?;
                self.table(true, 2)
            }
            HASH_TTL_PRE_GA => self.table(true, 2),
            ZSET => {
                for _ in 0..self.count()? {
                    self.string()?;
                    let length = self.input.byte()?;
                    self.sink.put(&[length])?;
                    if length < 253 {
                        self.bytes(length.into())?;
                    }
                }
                Ok(())
            }
            ZSET_2 => {
                for _ in 0..self.count()? {
                    self.string()?;
                    self.bytes(8)?;
                }
                Ok(())
            }
            STREAM | STREAM_2 | STREAM_3 => self.stream(kind),
            MODULE_2 => {
                self.count()?;
                self.module()
            }
            MODULE_PRE_GA => Err(unknown("a value of a module in a form of before Redis 4")),
            other => Err(unknown(&format!("the type of value {other}"))),
        }
    }

    fn bytes(&mut self, count: u64) -> Result<()> {
        self.input.copy(count, self.sink)
    }

    fn string(&mut self) -> Result<()> {
        self.input.encoded(self.canonical, self.sink)
    }

    /// A number in the form of lengths.
    fn count(&mut self) -> Result<u64> {
        let length = self.input.length_or_encoding()?;
        if length.special {
            return Err(self.input.damaged("the encoding of a string stands where a number belongs"));
        }
        self.sink.put(length.raw())?;
        Ok(length.value)
    }

    fn stream(&mut self, kind: u8) -> Result<()> {
        for _ in 0..self.count()? {
            self.string()?; // the id of the first entry
            self.string()?; // entries
        }
        self.counts(3)?; // length, last id
        if kind >= types::STREAM_2 {
            self.counts(5)?; // first id, largest id deleted, entries ever added
        }
        for _ in 0..self.count()? {
            self.string()?; // the group's name
            self.counts(2)?; // last id delivered
            if kind >= types::STREAM_2 {
                self.counts(1)?; // entries read
            }
            for _ in 0..self.count()? {
                self.bytes(16 + 8)?; // id, time of delivery
                self.counts(1)?; // deliveries
            }
            for _ in 0..self.count()? {
                self.string()?; // the consumer's name
                self.bytes(if kind >= types::STREAM_3 { 16 } else { 8 })?; // seen, active
                for _ in 0..self.count()? {
                    self.bytes(16)?;
                }
            }
        }
        Ok(())
    }

    fn counts(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.count()?;
        }
        Ok(())
    }

    fn module(&mut self) -> Result<()> {
        loop {
            match self.count()? {
                0 => return Ok(()),
                1 | 2 => self.counts(1)?,
                3 => self.bytes(4)?,
                4 => self.bytes(8)?,
                5 => self.string()?,
                other => return Err(self.input.damaged(&format!("a module wrote something of the sort {other}"))),
            }
        }
    }

    /// Members in an order that the hash table of one process gave them.
    fn table(&mut self, ttl: bool, strings: usize) -> Result<()> {
        let count = self.count()?;
        let canonical = self.canonical;
        let mut held = Held { sink: &mut *self.sink, bytes: Vec::new(), through: !canonical };
        let mut members: Vec<(Range<usize>, usize)> = Vec::new();
        for _ in 0..count {
            let start = held.bytes.len();
            let mut walk = Walk { input: &mut *self.input, sink: &mut held, canonical, unsorted: false };
            if ttl {
                walk.counts(1)?;
            }
            let prefix = if ttl { held.bytes.len() } else { start };
            for _ in 0..strings {
                self.input.encoded(canonical, &mut held)?;
            }
            if held.through {
                members = Vec::new();
            } else {
                members.push((start..held.bytes.len(), prefix));
                if members.len() * size_of::<(Range<usize>, usize)>() > SORTED_BYTES {
                    held.give_up()?;
                }
            }
        }
        if held.through {
            self.unsorted = canonical;
            return Ok(());
        }
        let bytes = held.bytes;
        members.sort_unstable_by(|(a, key_a), (b, key_b)| bytes[*key_a..a.end].cmp(&bytes[*key_b..b.end]));
        members.into_iter().try_for_each(|(range, _)| self.sink.put(&bytes[range]))
    }
}

/// Holds the members of a table until all are there, or until there are too many: then all go on as they came.
struct Held<'a> {
    sink: &'a mut dyn Sink,
    bytes: Vec<u8>,
    through: bool,
}

impl Held<'_> {
    fn give_up(&mut self) -> Result<()> {
        self.through = true;
        self.sink.put(&std::mem::take(&mut self.bytes))
    }
}

impl Sink for Held<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.through && self.bytes.len() + bytes.len() > SORTED_BYTES {
            self.give_up()?;
        }
        if self.through { self.sink.put(bytes) } else { self.bytes.put(bytes) }
    }
}

fn unknown(what: &str) -> Error {
    Error::new(Kind::Version, format!("the RDB holds {what}, which this program cannot read"))
        .hint("a newer version of this program may know it")
}
