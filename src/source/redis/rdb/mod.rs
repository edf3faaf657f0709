//! The RDB format, versions 1 to 12, as Redis up to 8 and Valkey 7.2 and 8 write it: read as a stream, to its very end.
//!
//! Invariant: nothing is believed. Lengths allocate nothing before their bytes have come, an opcode or a type that is not known
//! is an error, and the end is the opcode of the end with the checksum after it, wherever that lies in the stream.

mod crc64;
mod fingerprint;
mod input;
mod module_type;
mod packed;
mod reader;
mod strings;
mod value;

#[cfg(test)]
pub(super) mod tests;

pub(super) use crc64::crc64;
pub(super) use fingerprint::fingerprint;
pub(super) use input::{Input, Sink};
pub(super) use module_type::type_name;
pub(super) use reader::{Checksum, Item, RdbReader, RecordHead};
pub(super) use strings::{put_length, put_string};
pub(super) use value::Form;

/// The type of a value that a module brings; it begins with the id of its type.
pub(super) const MODULE_VALUE: u8 = value::types::MODULE_2;
