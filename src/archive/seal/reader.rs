//! Reads any part of a sealed file, from many threads (FORMAT.md §8).
//!
//! Invariant: `size` and every byte handed out are authenticated. The last chunk is opened first: it carries the flag
//! that says where the payload ends, so a file that was cut is refused before anything else is read. Only a file that is
//! known to be damaged is read without that, see [`SealedReader::salvage`].

use std::fmt;
use std::sync::Arc;

use super::header;
use super::stream::{CHUNK, Cipher, Layout, SEALED_CHUNK};
use crate::archive::stored::ReadAt;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::model::Sealing;

/// An open sealed file.
pub struct SealedReader {
    stored: Arc<dyn ReadAt>,
    name: String,
    /// Plaintext bytes.
    size: u64,
    payload: Payload,
}

enum Payload {
    Plain,
    Sealed {
        cipher: Cipher,
        /// Where the payload begins in the stored file.
        start: u64,
        layout: Layout,
    },
}

impl SealedReader {
    /// Opens the header with one of `keys` and authenticates the last chunk. `sealing` is the manifest's; `name` is
    /// for errors only.
    ///
    /// Fails with [`crate::Kind::NoKey`] if no key of that sort is given, [`crate::Kind::WrongKey`] if none fits, and
    /// [`crate::Kind::Damage`] if the file is damaged or cut.
    pub fn open(stored: Arc<dyn ReadAt>, sealing: &Sealing, keys: &Keys, name: &str) -> Result<Self> {
        let reader = Self::salvage(stored, sealing, keys, name)?;
        reader.check_end()?;
        Ok(reader)
    }

    /// As [`Self::open`], but does not ask whether the end is there: for what is left of a damaged file, where something
    /// else tells which bytes are right.
    pub fn salvage(stored: Arc<dyn ReadAt>, sealing: &Sealing, keys: &Keys, name: &str) -> Result<Self> {
        let (start, cipher) = match sealing {
            Sealing::None => {
                return Ok(Self { size: stored.size(), stored, name: name.to_owned(), payload: Payload::Plain });
            }
            Sealing::Age { recipients } => header::open_age(&*stored, recipients, keys, name)?,
            Sealing::Aes256Gcm { key_id } => header::open_aes(&*stored, key_id, keys, name)?,
        };
        let payload = stored.size().saturating_sub(start);
        let layout = Layout::of(payload)
            .ok_or_else(|| Error::damage(format!("{name} was cut: no payload is {payload} bytes long")))?;
        Ok(Self {
            size: layout.plaintext,
            stored,
            name: name.to_owned(),
            payload: Payload::Sealed { cipher, start, layout },
        })
    }

    fn check_end(&self) -> Result<()> {
        let Payload::Sealed { cipher, start, layout } = &self.payload else { return Ok(()) };
        let last = layout.chunks - 1;
        // Both products are below the payload's length.
        let (at, plaintext_before) = (last * SEALED_CHUNK as u64, last * CHUNK as u64);
        let mut chunk = vec![0; usize::try_from(self.stored.size() - start - at).unwrap_or(SEALED_CHUNK)];
        header::read(&*self.stored, &mut chunk, start + at, &self.name)?;
        cipher.open(last, true, &mut chunk).map(drop).map_err(|_| {
            let name = &self.name;
            Error::damage(format!("{name} was cut or its end is damaged, from byte {plaintext_before} of the content"))
        })
    }

    /// Length of the plaintext in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Replaces `buffer` by `length` bytes of plaintext from `offset`; reads and opens only the chunks that hold them.
    /// The buffer grows to the stored size of those chunks and can be used again. It is empty after a failure.
    ///
    /// A range beyond the end is [`crate::Kind::Damage`], since ranges come from an index.
    pub fn read_at(&self, offset: u64, buffer: &mut Vec<u8>, length: usize) -> Result<()> {
        let result = self.fill(offset, buffer, length);
        if result.is_err() {
            buffer.clear();
        }
        result
    }

    fn fill(&self, offset: u64, buffer: &mut Vec<u8>, length: usize) -> Result<()> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size).ok_or_else(|| {
            let (name, size) = (&self.name, self.size);
            Error::damage(format!("{name} holds {size} bytes, and {length} bytes from {offset} were asked for"))
        })?;
        if length == 0 {
            buffer.clear();
            return Ok(());
        }
        match &self.payload {
            Payload::Plain => {
                buffer.resize(length, 0);
                header::read(&*self.stored, buffer, offset, &self.name)
            }
            Payload::Sealed { cipher, start, layout } => {
                let chunk = CHUNK as u64;
                let chunks = offset / chunk..end.div_ceil(chunk);
                self.fill_sealed(cipher, *start, layout, &chunks, buffer)?;
                let skip = usize::try_from(offset % chunk).unwrap_or(0);
                buffer.copy_within(skip..skip + length, 0);
                buffer.truncate(length);
                Ok(())
            }
        }
    }

    /// Reads `chunks`, which exist, at once, opens them in place and moves them together.
    fn fill_sealed(
        &self,
        cipher: &Cipher,
        start: u64,
        layout: &Layout,
        chunks: &std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let from = start + chunks.start * SEALED_CHUNK as u64;
        let until = (start + chunks.end * SEALED_CHUNK as u64).min(self.stored.size());
        let length = usize::try_from(until - from)
            .map_err(|_| Error::failed(format!("{} bytes of {} do not fit into memory", until - from, self.name)))?;
        buffer.resize(length, 0);
        header::read(&*self.stored, buffer, from, &self.name)?;
        let (mut at, mut kept) = (0, 0);
        for number in chunks.clone() {
            let stored = &mut buffer[at..length.min(at + SEALED_CHUNK)];
            let step = stored.len();
            let opened = cipher.open(number, number + 1 == layout.chunks, stored).map_err(|_| {
                let (name, chunks, byte) = (&self.name, layout.chunks, start + number * SEALED_CHUNK as u64);
                let range = format!("bytes {byte} to {}", byte + step as u64);
                Error::damage(format!("{name} is damaged in {range}: chunk {number} of {chunks} fails its check"))
            })?;
            buffer.copy_within(at..at + opened, kept);
            (at, kept) = (at + step, kept + opened);
        }
        buffer.truncate(kept);
        Ok(())
    }
}

impl fmt::Debug for SealedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedReader").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}
