//! What the two sorts of files of a store hold.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;

use flate2::read::GzDecoder;

use super::gob::{Fault, Gob};
use crate::model::{Digest, Hasher};

/// Largest file that is decoded, as it lies there and decompressed, in bytes. Texts of contextd are at most some KiB.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// How compressed files begin, whatever their names say.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// A text with the vector that stands for its meaning. Texts are bytes: Go does not ask that they be UTF-8.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Distinct in its collection.
    pub id: Vec<u8>,
    /// Names and values.
    pub metadata: BTreeMap<Vec<u8>, Vec<u8>>,
    /// As many numbers as the model has dimensions.
    pub embedding: Vec<f32>,
    /// The text.
    pub content: Vec<u8>,
}

/// What a collection knows of itself, `00000000.gob`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The collection's name.
    pub name: Vec<u8>,
    /// Names and values.
    pub metadata: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Why a file of a store cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// It has no bytes: its writer was cut off before the first.
    Empty,
    /// It ends too early: its writer was cut off.
    Truncated,
    /// It is something else, or was damaged.
    Malformed(&'static str),
    /// It is, or becomes, larger than [`MAX_FILE_BYTES`].
    TooLarge,
    /// The system did not give its bytes.
    Unread,
}

impl Unreadable {
    /// A stable name for documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "too-large",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Truncated => f.write_str("it is truncated"),
            Self::Malformed(what) => write!(f, "it is no gob: {what}"),
            Self::TooLarge => write!(f, "it is larger than {} MiB", MAX_FILE_BYTES >> 20),
            Self::Unread => f.write_str("it could not be read"),
        }
    }
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Empty => Self::Empty,
            Fault::Truncated => Self::Truncated,
            Fault::Malformed(what) => Self::Malformed(what),
        }
    }
}

impl Document {
    /// Reads the bytes of a document's file, compressed or not.
    pub fn decode(file: &[u8]) -> Result<Self, Unreadable> {
        let plain = decompressed(file)?;
        let gob = Gob::parse(plain.as_deref().unwrap_or(file))?;
        if !gob.has_any(&[b"ID", b"Metadata", b"Embedding", b"Content"]) {
            return Err(Unreadable::Malformed("it holds no document"));
        }
        let mut document = Self::default();
        gob.each_field(|name, value| {
            match name {
                b"ID" => document.id = value.string()?.to_vec(),
                b"Metadata" => document.metadata = value.strings()?,
                b"Embedding" => document.embedding = value.floats()?,
                b"Content" => document.content = value.string()?.to_vec(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(document)
    }

    /// Digest of the numbers alone, each as its four bytes, the lowest first.
    #[must_use]
    pub fn embedding_digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        self.embedding.iter().for_each(|number| hasher.update(&number.to_le_bytes()));
        hasher.finish()
    }

    /// Digest of all it says, however it was written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        add(&mut hasher, &self.id);
        add_map(&mut hasher, &self.metadata);
        hasher.update(&(self.embedding.len() as u64).to_le_bytes());
        self.embedding.iter().for_each(|number| hasher.update(&number.to_le_bytes()));
        add(&mut hasher, &self.content);
        hasher.finish()
    }
}

impl Metadata {
    /// Reads the bytes of `00000000.gob`, compressed or not.
    pub fn decode(file: &[u8]) -> Result<Self, Unreadable> {
        let plain = decompressed(file)?;
        let gob = Gob::parse(plain.as_deref().unwrap_or(file))?;
        if !gob.has_any(&[b"Name", b"Metadata"]) {
            return Err(Unreadable::Malformed("it holds no metadata of a collection"));
        }
        let mut metadata = Self::default();
        gob.each_field(|name, value| {
            match name {
                b"Name" => metadata.name = value.string()?.to_vec(),
                b"Metadata" => metadata.metadata = value.strings()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(metadata)
    }

    /// Digest of all it says, however it was written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        add(&mut hasher, &self.name);
        add_map(&mut hasher, &self.metadata);
        hasher.finish()
    }
}

fn add(hasher: &mut Hasher, text: &[u8]) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text);
}

fn add_map(hasher: &mut Hasher, map: &BTreeMap<Vec<u8>, Vec<u8>>) {
    hasher.update(&(map.len() as u64).to_le_bytes());
    for (key, value) in map {
        add(hasher, key);
        add(hasher, value);
    }
}

/// What a compressed file holds, to its last byte and checksum; none if it is not compressed.
fn decompressed(file: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
    if file.len() as u64 > MAX_FILE_BYTES {
        return Err(Unreadable::TooLarge);
    }
    if !file.starts_with(GZIP_MAGIC) {
        return Ok(None);
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(file).take(MAX_FILE_BYTES + 1).read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() as u64 > MAX_FILE_BYTES => Err(Unreadable::TooLarge),
        Ok(_) => Ok(Some(plain)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Unreadable::Truncated),
        Err(_) => Err(Unreadable::Malformed("its compression is damaged")),
    }
}
