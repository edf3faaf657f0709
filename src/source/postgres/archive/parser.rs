//! The archive as a machine that is fed bytes, in pieces of any size.
//!
//! It changes one thing in them: the seven numbers of the time stamp become those of 1970-01-01, in place, so that equal
//! data are equal bytes.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::entry::{Entry, Field, text_of};
use super::rows::Rows;
use super::summary::{Stamp, Summary, Table, TableName};
use crate::error::{Error, Kind, Result};

/// An int: a sign and four bytes, the lowest first.
const INT_BYTES: usize = 5;
/// `PGDMP`, three bytes of version, sizes of an int and an offset, the format.
const MAGIC_BYTES: usize = 11;
/// Seven ints.
const STAMP_BYTES: usize = 7 * INT_BYTES;
/// A flag and eight bytes.
const OFFSET_BYTES: usize = 9;
/// Most entries of a table of contents: each large object is one, up to version 15 of the server.
const MAX_ENTRIES: i64 = 200_000_000;
/// Longest version or database name in the header.
const MAX_HEADER_TEXT: u64 = 64 << 10;
/// Minor versions of the format that are understood.
const MINORS: std::ops::RangeInclusive<u8> = 14..=16;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    Compression,
    Stamp,
    /// The length of a text of the header, and the text.
    HeaderLength(u8),
    HeaderText(u8),
    Count,
    /// A number, or the length of a text, of an entry.
    EntryInt(Field),
    EntryText {
        field: Field,
        left: u64,
        keep: bool,
    },
    Offset,
    BlockKind,
    BlockId {
        large: bool,
    },
    LargeNumber,
    ChunkLength {
        large: bool,
    },
    Chunk {
        large: bool,
        left: u64,
    },
}

/// Reads an archive that is fed to it.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    /// Bytes of the unit that is being read.
    unit: Vec<u8>,
    position: u64,
    entries_left: i64,
    entry: Entry,
    /// Entries whose data were promised and did not come yet. No name where it is not a table.
    awaited: BTreeMap<i64, Option<TableName>>,
    seen: BTreeSet<i64>,
    table: Option<TableName>,
    rows: Rows,
    large: Sha256,
    summary: Summary,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            state: State::Magic,
            unit: Vec::new(),
            position: 0,
            entries_left: 0,
            entry: Entry::default(),
            awaited: BTreeMap::new(),
            seen: BTreeSet::new(),
            table: None,
            rows: Rows::default(),
            large: Sha256::default(),
            summary: Summary::default(),
        }
    }
}

impl Parser {
    /// The next bytes; those of the time stamp are changed.
    pub(super) fn feed(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = self.step(rest).map_err(|e| e.within(format!("the archive at byte {}", self.position)))?;
            self.position += used as u64;
            rest = rest.get_mut(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// What it held; an error unless this is where an archive may end.
    pub(super) fn finish(self) -> Result<Summary> {
        let cut = |what: &str| {
            let at = self.position;
            Error::new(Kind::Incomplete, format!("the archive is cut: it ends at byte {at}, {what}"))
        };
        if self.position == 0 {
            return Err(Error::new(Kind::Incomplete, "the archive is empty: not one byte came"));
        }
        if self.state != State::BlockKind {
            return Err(cut("in the middle of an entry or a data block"));
        }
        match self.awaited.values().next() {
            None => Ok(self.summary),
            Some(first) => {
                let name =
                    first.as_ref().map_or("large objects".to_owned(), |(schema, name)| format!("{schema}.{name}"));
                let rest = self.awaited.len();
                Err(cut(&format!("and the data of {rest} tables did not come, those of {name} for one")))
            }
        }
    }

    /// Takes as much of `bytes`, at least one, as belongs to the unit that is being read.
    fn step(&mut self, bytes: &mut [u8]) -> Result<usize> {
        match self.state {
            State::Chunk { large, left } => self.chunk(bytes, large, left),
            State::EntryText { field, left, keep } => self.entry_text(bytes, field, left, keep),
            _ => {
                let need = self.unit_bytes().saturating_sub(self.unit.len());
                let used = need.min(bytes.len());
                let piece = bytes.get_mut(..used).unwrap_or_default();
                let begin = self.unit.len();
                self.unit.extend_from_slice(piece);
                if self.state == State::Stamp {
                    // Midnight of the first of January 1970: pg_restore asks for a day that exists.
                    for (i, byte) in (begin..).zip(piece) {
                        *byte = match i {
                            16 => 1,
                            26 => 70,
                            _ => 0,
                        };
                    }
                }
                if used == need {
                    let unit = std::mem::take(&mut self.unit);
                    self.unit(&unit)?;
                    self.unit = unit;
                    self.unit.clear();
                }
                Ok(used)
            }
        }
    }

    fn unit_bytes(&self) -> usize {
        match self.state {
            State::Magic => MAGIC_BYTES,
            State::Compression if self.summary.minor >= 15 => 1,
            State::Stamp => STAMP_BYTES,
            State::Offset => OFFSET_BYTES,
            State::BlockKind => 1,
            State::HeaderText(_) => usize::try_from(self.entries_left).unwrap_or_default(),
            _ => INT_BYTES,
        }
    }

    fn unit(&mut self, unit: &[u8]) -> Result<()> {
        self.state = match self.state {
            State::Magic => self.magic(unit)?,
            State::Compression => {
                if unit.iter().any(|byte| *byte != 0) {
                    return Err(Error::damage("its rows are compressed, but `-Z0` was asked for"));
                }
                State::Stamp
            }
            State::Stamp => {
                let (numbers, _) = unit.as_chunks::<INT_BYTES>();
                let mut stamp = Stamp::default();
                for (field, bytes) in stamp.fields.iter_mut().zip(numbers) {
                    *field = int(bytes)?;
                }
                self.summary.stamp = stamp;
                State::HeaderLength(0)
            }
            State::HeaderLength(which) => {
                let length = int(unit)?;
                if !(0..=MAX_HEADER_TEXT).contains(&u64::try_from(length).unwrap_or(u64::MAX)) {
                    return Err(Error::damage(format!("a text of {length} bytes in the header")));
                }
                // Not yet in use for entries.
                self.entries_left = length;
                if length == 0 { after_header_text(which) } else { State::HeaderText(which) }
            }
            State::HeaderText(which) => {
                let text = text_of(unit);
                match which {
                    0 => self.summary.database = text,
                    1 => self.summary.server = text,
                    _ => self.summary.tool = text,
                }
                after_header_text(which)
            }
            State::Count => {
                self.entries_left = int(unit)?;
                if !(1..=MAX_ENTRIES).contains(&self.entries_left) {
                    return Err(Error::damage(format!("a table of contents of {} entries", self.entries_left)));
                }
                State::EntryInt(Field::Id)
            }
            State::EntryInt(field) => self.entry_int(field, int(unit)?)?,
            State::Offset => {
                if !matches!(unit.first(), Some(1..=3)) {
                    return Err(Error::damage("an entry has an unknown kind of offset"));
                }
                self.entry_ends()?
            }
            State::BlockKind => match unit.first() {
                Some(1) => State::BlockId { large: false },
                Some(3) => State::BlockId { large: true },
                kind => {
                    let kind = kind.copied().unwrap_or_default();
                    return Err(Error::damage(format!("no data block of kind {kind} is known, or bytes were added")));
                }
            },
            State::BlockId { large } => self.block_begins(int(unit)?, large)?,
            State::LargeNumber => match int(unit)? {
                0 => State::BlockKind,
                number => {
                    self.large = Sha256::default();
                    self.large.update(number.to_le_bytes());
                    State::ChunkLength { large: true }
                }
            },
            State::ChunkLength { large } => match u64::try_from(int(unit)?) {
                Ok(0) => self.block_ends(large)?,
                Ok(left) => State::Chunk { large, left },
                Err(_) => return Err(Error::damage("a chunk of negative length")),
            },
            state @ (State::EntryText { .. } | State::Chunk { .. }) => state,
        };
        Ok(())
    }

    fn magic(&mut self, unit: &[u8]) -> Result<State> {
        let &[b'P', b'G', b'D', b'M', b'P', major, minor, _, int_bytes, offset_bytes, format] = unit else {
            return Err(Error::damage("it does not begin as an archive of pg_dump's custom format"));
        };
        if major != 1 || !MINORS.contains(&minor) {
            let text = format!("the archive has format {major}.{minor}; understood are 1.14 to 1.16");
            return Err(Error::new(Kind::Version, text).hint("servers 12 to 18 and their own tools make those"));
        }
        if (int_bytes, offset_bytes, format) != (4, 8, 1) {
            return Err(Error::damage("numbers of other sizes, or another format than the custom one"));
        }
        self.summary.minor = minor;
        Ok(State::Compression)
    }

    fn entry_int(&mut self, field: Field, number: i64) -> Result<State> {
        if field.is_number() {
            self.entry.number(field, number);
            return Ok(State::EntryInt(field.next(self.summary.minor)));
        }
        let length = match number {
            -1 => None,
            0.. => Some(u64::try_from(number).unwrap_or_default()),
            _ => return Err(Error::damage(format!("a text of {number} bytes in the table of contents"))),
        };
        self.entry.text_begins(field, length);
        match length {
            None if field == Field::Dependency => Ok(State::Offset),
            None | Some(0) => Ok(State::EntryInt(field.next(self.summary.minor))),
            Some(left) => Ok(State::EntryText { field, left, keep: self.entry.keep(field, left)? }),
        }
    }

    fn entry_text(&mut self, bytes: &mut [u8], field: Field, left: u64, keep: bool) -> Result<usize> {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let piece = bytes.get(..used).unwrap_or_default();
        self.entry.hash(field, piece);
        if keep {
            self.unit.extend_from_slice(piece);
        }
        let left = left - used as u64;
        self.state = if left > 0 {
            State::EntryText { field, left, keep }
        } else {
            if keep {
                self.entry.text(field, std::mem::take(&mut self.unit));
            }
            State::EntryInt(field.next(self.summary.minor))
        };
        Ok(used)
    }

    fn entry_ends(&mut self) -> Result<State> {
        let entry = std::mem::take(&mut self.entry);
        if entry.has_data {
            let table = (entry.kind != "BLOBS").then(|| (entry.namespace.clone(), entry.tag.clone()));
            if self.awaited.insert(entry.id, table).is_some() {
                return Err(Error::damage(format!("two entries have the number {}", entry.id)));
            }
        }
        self.summary.add(&entry)?;
        self.entries_left -= 1;
        Ok(if self.entries_left == 0 { State::BlockKind } else { State::EntryInt(Field::Id) })
    }

    fn block_begins(&mut self, id: i64, large: bool) -> Result<State> {
        let Some(table) = self.awaited.remove(&id) else {
            let seen = if self.seen.contains(&id) { "has two data blocks" } else { "is not one that has data" };
            return Err(Error::damage(format!("the entry {id} {seen}")));
        };
        self.seen.insert(id);
        if table.is_none() != large {
            return Err(Error::damage(format!("the data block of the entry {id} is of the wrong kind")));
        }
        self.table = table;
        self.rows = Rows::default();
        Ok(if large { State::LargeNumber } else { State::ChunkLength { large: false } })
    }

    fn chunk(&mut self, bytes: &mut [u8], large: bool, left: u64) -> Result<usize> {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let piece = bytes.get(..used).unwrap_or_default();
        if large {
            self.large.update(piece);
            self.summary.large_object_bytes += used as u64;
        } else {
            self.rows.feed(piece)?;
        }
        let left = left - used as u64;
        self.state = if left > 0 { State::Chunk { large, left } } else { State::ChunkLength { large } };
        Ok(used)
    }

    fn block_ends(&mut self, large: bool) -> Result<State> {
        if large {
            self.summary.large_objects += 1;
            self.summary.large_object_digest.add(&self.large.finalize_reset().into());
            return Ok(State::LargeNumber);
        }
        let (rows, bytes, digest) = std::mem::take(&mut self.rows).finish()?;
        if let Some(name) = self.table.take() {
            if self.summary.tables.contains_key(&name) {
                return Err(Error::damage(format!("the table {}.{} comes twice", name.0, name.1)));
            }
            self.summary.tables.insert(name, Table { rows, bytes, digest });
        }
        Ok(State::BlockKind)
    }
}

fn after_header_text(which: u8) -> State {
    if which == 2 { State::Count } else { State::HeaderLength(which + 1) }
}

fn int(bytes: &[u8]) -> Result<i64> {
    match *bytes {
        [sign @ (0 | 1), a, b, c, d] => {
            let number = i64::from(u32::from_le_bytes([a, b, c, d]));
            Ok(if sign == 1 { -number } else { number })
        }
        _ => Err(Error::damage("a number whose sign is neither plus nor minus")),
    }
}
