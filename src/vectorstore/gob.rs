//! Reads one value of Go's `encoding/gob` from memory.
//!
//! A stream describes its own types, under numbers that depend on the process that wrote it; so fields are found by
//! name and every number is looked up. Each element of a value takes at least one byte, so a count is refused before
//! anything is allocated if the rest of its message is shorter; nothing nests deeper than [`MAX_DEPTH`].

use std::collections::BTreeMap;
use std::fmt;

/// Most levels of types inside types.
const MAX_DEPTH: u32 = 64;
/// The first number that a stream may give to a type of its own; below are those that all streams share.
const FIRST_OWN_TYPE: i64 = 16;

const BOOL: i64 = 1;
const INT: i64 = 2;
const UINT: i64 = 3;
const FLOAT: i64 = 4;
const BYTES: i64 = 5;
const STRING: i64 = 6;
const COMPLEX: i64 = 7;
const INTERFACE: i64 = 8;

/// Why bytes are not a gob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// There are none.
    Empty,
    /// They end too early.
    Truncated,
    /// They contradict themselves.
    Malformed(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("holds no bytes"),
            Self::Truncated => f.write_str("ends too early"),
            Self::Malformed(what) => write!(f, "is no gob: {what}"),
        }
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// A struct whose types are known and whose fields are still to be read.
#[derive(Debug)]
pub(super) struct Gob<'a> {
    types: Types,
    id: i64,
    body: Reader<'a>,
}

type Types = BTreeMap<i64, Wire>;

/// A type as a stream describes it.
#[derive(Debug)]
enum Wire {
    Array {
        element: i64,
        length: u64,
    },
    Slice(i64),
    Map {
        key: i64,
        element: i64,
    },
    Struct(Vec<(Vec<u8>, i64)>),
    /// What a type of Go wrote of itself.
    Opaque,
}

impl<'a> Gob<'a> {
    /// Reads the types before the first value, which must be a struct. What follows that value is not looked at, as Go
    /// does not look at it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Fault::Empty);
        }
        let mut stream = Reader { rest: bytes };
        let mut types = Types::new();
        loop {
            let length = stream.uint()?;
            let mut message = Reader { rest: stream.take(length)? };
            if length == 0 {
                return Err(Fault::Malformed("a message is empty"));
            }
            // Inside of a message that is there as a whole, an end that comes too early is a contradiction.
            let id = message.int().map_err(inside)?;
            if id >= 0 {
                return match types.get(&id) {
                    Some(Wire::Struct(_)) => Ok(Self { types, id, body: message }),
                    _ => Err(Fault::Malformed("its value is no struct")),
                };
            }
            let id = id.checked_neg().filter(|id| *id >= FIRST_OWN_TYPE);
            let id = id.ok_or(Fault::Malformed("a type has a number that is not its own"))?;
            let wire = message.wire_type().map_err(inside)?;
            if !message.rest.is_empty() {
                return Err(Fault::Malformed("more follows a type"));
            }
            if types.insert(id, wire).is_some() {
                return Err(Fault::Malformed("a type comes twice"));
            }
        }
    }

    /// Whether the struct can have one of these fields; Go refuses one that has none.
    pub(super) fn has_any(&self, names: &[&[u8]]) -> bool {
        let Some(Wire::Struct(fields)) = self.types.get(&self.id) else { return false };
        fields.iter().any(|(name, _)| names.contains(&name.as_slice()))
    }

    /// Hands over the fields that are there, by name. What is not read is checked and passed over.
    pub(super) fn each_field(self, mut field: impl FnMut(&[u8], &mut Value<'_, 'a>) -> Result<()>) -> Result<()> {
        let Self { types, id, mut body } = self;
        let Some(Wire::Struct(fields)) = types.get(&id) else { return Err(Fault::Malformed("its value is no struct")) };
        let read = body.fields(fields.len(), |reader, at| {
            let (name, id) = &fields[at];
            let mut value = Value { types: &types, id: *id, reader, read: false };
            field(name, &mut value)?;
            if value.read { Ok(()) } else { value.reader.skip(&types, *id, 0) }
        });
        read.map_err(inside)
    }
}

fn inside(fault: Fault) -> Fault {
    if fault == Fault::Truncated { Fault::Malformed("a message is shorter than what it holds") } else { fault }
}

/// The value of a field; read once, or not.
#[derive(Debug)]
pub(super) struct Value<'r, 'a> {
    types: &'r Types,
    id: i64,
    reader: &'r mut Reader<'a>,
    read: bool,
}

impl<'a> Value<'_, 'a> {
    /// A string; Go does not ask that it be UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a [u8]> {
        self.expect(self.id == STRING)?;
        self.reader.counted()
    }

    /// A `[]float32`.
    pub(super) fn floats(&mut self) -> Result<Vec<f32>> {
        let types = self.types;
        self.expect(matches!(types.get(&self.id), Some(Wire::Slice(FLOAT))))?;
        let count = self.reader.count(1)?;
        (0..count).map(|_| self.reader.float32()).collect()
    }

    /// A `map[string]string`; of a key that comes twice the last counts.
    pub(super) fn strings(&mut self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let types = self.types;
        self.expect(matches!(types.get(&self.id), Some(Wire::Map { key: STRING, element: STRING })))?;
        let count = self.reader.count(2)?;
        (0..count).map(|_| Ok((self.reader.counted()?.to_vec(), self.reader.counted()?.to_vec()))).collect()
    }

    fn expect(&mut self, right: bool) -> Result<()> {
        if self.read || !right {
            return Err(Fault::Malformed("a field has another type than expected"));
        }
        self.read = true;
        Ok(())
    }
}

#[derive(Debug)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| Fault::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A byte below 128, or the negated number of bytes that follow, the highest first.
    fn uint(&mut self) -> Result<u64> {
        match self.byte()? {
            small @ 0..=0x7f => Ok(u64::from(small)),
            negated => {
                let length = u64::from(negated.wrapping_neg());
                if length > 8 {
                    return Err(Fault::Malformed("a number is longer than 8 bytes"));
                }
                Ok(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
        }
    }

    /// The lowest bit says that the others are to be flipped.
    fn int(&mut self) -> Result<i64> {
        let bits = self.uint()?;
        let half = (bits >> 1).cast_signed();
        Ok(if bits & 1 == 1 { !half } else { half })
    }

    /// The bits of a float64 in reversed order of bytes; Go refuses what a float32 cannot hold.
    fn float32(&mut self) -> Result<f32> {
        let number = f64::from_bits(self.uint()?.swap_bytes());
        if number.is_finite() && number.abs() > f64::from(f32::MAX) {
            return Err(Fault::Malformed("a number is too large for a float32"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "Go narrows it in the same way")]
        Ok(number as f32)
    }

    fn counted(&mut self) -> Result<&'a [u8]> {
        let length = self.uint()?;
        self.take(length)
    }

    /// A number of elements of at least `bytes` bytes each.
    fn count(&mut self, bytes: u64) -> Result<u64> {
        let count = self.uint()?;
        let room = self.rest.len() as u64 / bytes;
        if count > room { Err(Fault::Truncated) } else { Ok(count) }
    }

    /// The fields of a struct: how far each is from the one before, and its value; 0 ends them.
    fn fields(&mut self, known: usize, mut field: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        let mut next = 0_u64;
        loop {
            let step = self.uint()?;
            if step == 0 {
                return Ok(());
            }
            let at = next.checked_add(step - 1).and_then(|at| usize::try_from(at).ok());
            let at = at.filter(|at| *at < known).ok_or(Fault::Malformed("a field is none of its type"))?;
            field(self, at)?;
            next = at as u64 + 1;
        }
    }

    /// The description of a type.
    fn wire_type(&mut self) -> Result<Wire> {
        let mut wire = None;
        self.fields(7, |reader, sort| {
            let (mut element, mut key, mut length, mut members) = (0, 0, 0, Vec::new());
            reader.fields(3, |reader, at| {
                match (sort, at) {
                    (_, 0) => return reader.common(),
                    (0 | 1, 1) => element = reader.int()?,
                    (0, 2) => length = reader.int()?,
                    (2, 1) => members = reader.members()?,
                    (3, 1) => key = reader.int()?,
                    (3, 2) => element = reader.int()?,
                    _ => return Err(Fault::Malformed("a type has a field that is unknown")),
                }
                Ok(())
            })?;
            let described = match sort {
                0 => Wire::Array {
                    element,
                    length: u64::try_from(length).map_err(|_| Fault::Malformed("an array has a negative length"))?,
                },
                1 => Wire::Slice(element),
                2 => Wire::Struct(members),
                3 => Wire::Map { key, element },
                _ => Wire::Opaque,
            };
            if wire.replace(described).is_some() {
                return Err(Fault::Malformed("a type is described twice"));
            }
            Ok(())
        })?;
        wire.ok_or(Fault::Malformed("a type is not described"))
    }

    /// Name and number of a type, which are not needed.
    fn common(&mut self) -> Result<()> {
        self.fields(2, |reader, at| if at == 0 { reader.counted().map(drop) } else { reader.int().map(drop) })
    }

    /// The fields of a struct type: their names and types.
    fn members(&mut self) -> Result<Vec<(Vec<u8>, i64)>> {
        let count = self.count(1)?;
        let mut members = Vec::new();
        for _ in 0..count {
            let mut member = (Vec::new(), 0);
            self.fields(2, |reader, at| {
                if at == 0 {
                    member.0 = reader.counted()?.to_vec();
                } else {
                    member.1 = reader.int()?;
                }
                Ok(())
            })?;
            members.push(member);
        }
        Ok(members)
    }

    /// Passes over a value of any type. Takes at least one byte.
    fn skip(&mut self, types: &Types, id: i64, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Fault::Malformed("types lie too deep in each other"));
        }
        let depth = depth + 1;
        match id {
            BOOL | INT | UINT | FLOAT => return self.uint().map(drop),
            BYTES | STRING => return self.counted().map(drop),
            COMPLEX => return self.uint().and_then(|_| self.uint()).map(drop),
            INTERFACE => {
                // The name of its type, and unless it is nil the number of that type and the length of the value. Go may
                // break such a value over messages to describe a new type; chromem-go has none, and it is refused.
                if !self.counted()?.is_empty() {
                    if self.int()? < 0 {
                        return Err(Fault::Malformed("a type is described inside of a value"));
                    }
                    self.counted()?;
                }
                return Ok(());
            }
            _ => {}
        }
        match types.get(&id).ok_or(Fault::Malformed("a type is not described"))? {
            Wire::Opaque => self.counted().map(drop),
            Wire::Slice(element) => {
                let count = self.count(1)?;
                (0..count).try_for_each(|_| self.skip(types, *element, depth))
            }
            Wire::Array { element, length } => {
                let count = self.count(1)?;
                if count != *length {
                    return Err(Fault::Malformed("an array has another length than its type"));
                }
                (0..count).try_for_each(|_| self.skip(types, *element, depth))
            }
            Wire::Map { key, element } => {
                let count = self.count(2)?;
                (0..count).try_for_each(|_| {
                    self.skip(types, *key, depth)?;
                    self.skip(types, *element, depth)
                })
            }
            Wire::Struct(members) => self.fields(members.len(), |reader, at| reader.skip(types, members[at].1, depth)),
        }
    }
}

#[cfg(test)]
#[path = "gob_tests.rs"]
mod tests;
