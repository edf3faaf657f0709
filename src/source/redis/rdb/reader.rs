//! The opcodes of an RDB: from its magic to the checksum at its end.

use std::io::Read;

use super::input::{Input, Sink};
use super::value::{Form, walk, walk_module};
use crate::error::{Error, Kind, Result};

/// Versions of the format that are read. (The versions from 80 on are those of Valkey 9, whose types have other numbers.)
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=12;
/// The longest key, function or auxiliary value that is taken. (Redis allows keys of 512 MiB.)
const MAX_NAME: u64 = 64 << 20;

const SLOT_INFO: u8 = 244;
const FUNCTION: u8 = 245;
const FUNCTION_PRE_GA: u8 = 246;
const MODULE_AUX: u8 = 247;
const IDLE: u8 = 248;
const FREQUENCY: u8 = 249;
const AUX: u8 = 250;
const RESIZE: u8 = 251;
const EXPIRES_MS: u8 = 252;
const EXPIRES: u8 = 253;
const SELECT: u8 = 254;
const END: u8 = 255;

/// What an RDB holds, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source::redis) enum Item {
    /// A value about the whole.
    Aux(Vec<u8>, Vec<u8>),
    /// The code of a library of functions.
    Function(Vec<u8>),
    /// What a module wrote beside the keys, opcode and all; whether it belongs after the keys.
    ModuleAux(Vec<u8>, bool),
    /// A key. Its value follows and is taken by [`RdbReader::value`].
    Record(RecordHead),
    /// The end; its checksum was compared.
    End(Checksum),
}

/// A key without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::redis) struct RecordHead {
    /// Number of the database.
    pub(in crate::source::redis) database: u32,
    /// The key.
    pub(in crate::source::redis) key: Vec<u8>,
    /// When it expires: milliseconds since 1970.
    pub(in crate::source::redis) expires: Option<i64>,
    /// `RDB_TYPE_…`
    pub(in crate::source::redis) kind: u8,
}

/// What the checksum at the end said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::redis) enum Checksum {
    /// It is that of the bytes.
    Right,
    /// The server writes none (`rdbchecksum no`), or the format is older than checksums.
    Off,
}

/// Reads one RDB. Where it ends is known only by reading it: what follows stays in the input.
#[derive(Debug)]
pub(in crate::source::redis) struct RdbReader<R> {
    input: Input<R>,
    version: u32,
    database: u32,
    /// The value of a record was not taken yet.
    pending: Option<u8>,
    ended: bool,
    /// Records came with what the eviction clock knows of them.
    clocks: bool,
}

impl<R: Read> RdbReader<R> {
    /// Reads the magic, at which `input` stands.
    pub(in crate::source::redis) fn new(mut input: Input<R>) -> Result<Self> {
        input.restart("the RDB");
        let magic: [u8; 9] = input.array()?;
        let (name, digits) = magic.split_at(5);
        let version = str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let Some(version) = version.and_then(|d| d.parse().ok()).filter(|_| name == b"REDIS") else {
            if magic.starts_with(b"VALKEY") {
                return Err(Error::new(
                    Kind::Version,
                    "the RDB is of Valkey 9 or newer, which this program cannot read",
                ));
            }
            return Err(Error::new(Kind::Incomplete, "what came does not begin as an RDB does"));
        };
        if !VERSIONS.contains(&version) {
            return Err(Error::new(
                Kind::Version,
                format!("the RDB has the version {version}; this program reads 1 to {}", VERSIONS.end()),
            ));
        }
        Ok(Self { input, version, database: 0, pending: None, ended: false, clocks: false })
    }

    /// The version of the format.
    pub(in crate::source::redis) fn version(&self) -> u32 {
        self.version
    }

    /// Whether records came with idle times or frequencies, which are left out: they change by themselves.
    pub(in crate::source::redis) fn has_clocks(&self) -> bool {
        self.clocks
    }

    /// Bytes read so far.
    pub(in crate::source::redis) fn position(&self) -> u64 {
        self.input.position()
    }

    /// What follows the RDB.
    pub(in crate::source::redis) fn into_rest(self) -> Input<R> {
        self.input
    }

    /// The next item. After the end there is none.
    pub(in crate::source::redis) fn next(&mut self) -> Result<Option<Item>> {
        if self.ended {
            return Ok(None);
        }
        if let Some(kind) = self.pending {
            return Err(Error::failed(format!("the value of a key of the type {kind} was not taken")));
        }
        let mut expires = None;
        loop {
            let opcode = self.input.byte()?;
            let item = match opcode {
                AUX => Item::Aux(self.input.string("a name", MAX_NAME)?, self.input.string("a value", MAX_NAME)?),
                FUNCTION => Item::Function(self.input.string("a library of functions", MAX_NAME)?),
                MODULE_AUX => self.module_aux()?,
                RESIZE => {
                    self.skip(2)?;
                    continue;
                }
                SLOT_INFO => {
                    self.skip(3)?;
                    continue;
                }
                SELECT => {
                    let number = self.input.length()?;
                    self.database = u32::try_from(number)
                        .ok()
                        .filter(|n| *n < 1 << 31)
                        .ok_or_else(|| self.input.damaged(&format!("a database has the number {number}")))?;
                    continue;
                }
                EXPIRES_MS => {
                    expires = Some(i64::from_le_bytes(self.input.array()?));
                    continue;
                }
                EXPIRES => {
                    expires = Some(i64::from(i32::from_le_bytes(self.input.array()?)) * 1000);
                    continue;
                }
                IDLE => {
                    self.clocks = true;
                    self.skip(1)?;
                    continue;
                }
                FREQUENCY => {
                    self.clocks = true;
                    self.input.byte()?;
                    continue;
                }
                END => {
                    self.ended = true;
                    Item::End(self.end()?)
                }
                FUNCTION_PRE_GA | 128.. => {
                    return Err(Error::new(
                        Kind::Version,
                        format!("the RDB holds the opcode {opcode}, which this program does not know"),
                    ));
                }
                kind => {
                    let key = self.input.string("a key", MAX_NAME)?;
                    self.pending = Some(kind);
                    return Ok(Some(Item::Record(RecordHead { database: self.database, key, expires, kind })));
                }
            };
            if expires.is_some() {
                return Err(self.input.damaged("a time of expiry belongs to no key"));
            }
            return Ok(Some(item));
        }
    }

    /// Hands on the value of the record that came last; whether it kept an order that changes with every process of the server.
    pub(in crate::source::redis) fn value(&mut self, form: Form, sink: &mut dyn Sink) -> Result<bool> {
        let kind = self.pending.take().ok_or_else(|| Error::failed("there is no key whose value could be taken"))?;
        walk(&mut self.input, kind, form, sink)
    }

    fn skip(&mut self, lengths: usize) -> Result<()> {
        for _ in 0..lengths {
            self.input.length()?;
        }
        Ok(())
    }

    fn module_aux(&mut self) -> Result<Item> {
        let mut bytes = Bounded(vec![MODULE_AUX]);
        let mut lengths = [0; 3];
        for length in &mut lengths {
            *length = self.input.length()?;
            super::strings::put_length(*length, &mut bytes)?;
        }
        let [_module, opcode, when] = lengths;
        if opcode != 2 {
            return Err(self.input.damaged("what a module wrote beside the keys does not say where it belongs"));
        }
        walk_module(&mut self.input, &mut bytes)?;
        Ok(Item::ModuleAux(bytes.0, when == 2))
    }

    fn end(&mut self) -> Result<Checksum> {
        if self.version < 5 {
            return Ok(Checksum::Off);
        }
        let computed = self.input.checksum();
        let stored = u64::from_le_bytes(self.input.array()?);
        if stored == 0 {
            Ok(Checksum::Off)
        } else if stored == computed {
            Ok(Checksum::Right)
        } else {
            Err(Error::new(
                Kind::Incomplete,
                format!("the RDB is damaged: its checksum is {stored:016x}, that of its bytes {computed:016x}"),
            ))
        }
    }
}

/// What a module wrote beside the keys stays in memory.
struct Bounded(Vec<u8>);

impl Sink for Bounded {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if (self.0.len() + bytes.len()) as u64 > MAX_NAME {
            return Err(Error::new(
                Kind::Incomplete,
                format!("a module wrote more than {MAX_NAME} bytes beside the keys"),
            ));
        }
        self.0.put(bytes)
    }
}
