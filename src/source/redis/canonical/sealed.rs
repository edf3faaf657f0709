//! A scratch file that holds no clear text: it has no name, and each block is sealed by a key that only this process has.
//!
//! Invariant: a block is written once, so its number is a nonce that is used once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::{Context as _, Error, Result};
use crate::source::redis::rdb::Sink;

/// Clear bytes of a block.
const BLOCK: usize = 64 * 1024;
/// Bytes of its tag.
const TAG: usize = 16;

/// Where something lies in the file. It begins with a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::redis) struct Extent {
    pub(super) first: u64,
    pub(in crate::source::redis) length: u64,
}

/// The file. Extents are written one after the other.
pub(super) struct SealedFile {
    sealed: Arc<Sealed>,
    next: u64,
}

struct Sealed {
    file: File,
    key: LessSafeKey,
}

impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedFile of {} blocks", self.next)
    }
}

impl SealedFile {
    /// A new file below `folder`, without a name.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).at("cannot make a scratch file in", folder)?;
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|e| Error::failed("the system gives no random bytes").because(e))?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| Error::failed("no key for the scratch file"))?;
        Ok(Self { sealed: Arc::new(Sealed { file, key: LessSafeKey::new(key) }), next: 0 })
    }

    /// Begins an extent.
    pub(super) fn extent(&mut self) -> Writing<'_> {
        let first = self.next;
        Writing { file: self, first, length: 0, block: Vec::with_capacity(BLOCK + TAG) }
    }

    /// Reads an extent.
    pub(super) fn read(&self, extent: Extent) -> ExtentReader {
        ExtentReader {
            sealed: Arc::clone(&self.sealed),
            next: extent.first,
            left: extent.length,
            block: Vec::new(),
            at: 0,
        }
    }
}

/// An extent that is being written.
pub(super) struct Writing<'a> {
    file: &'a mut SealedFile,
    first: u64,
    length: u64,
    block: Vec<u8>,
}

impl Writing<'_> {
    /// All was written.
    pub(super) fn end(mut self) -> Result<Extent> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        Ok(Extent { first: self.first, length: self.length })
    }

    fn flush(&mut self) -> Result<()> {
        let number = self.file.next;
        let sealed = &self.file.sealed;
        let tag = sealed.key.seal_in_place_separate_tag(nonce(number), Aad::empty(), &mut self.block);
        let tag = tag.map_err(|_| Error::failed("cannot seal a block of the scratch file"))?;
        self.block.extend_from_slice(tag.as_ref());
        sealed.file.write_all_at(&self.block, offset(number)).doing("cannot write to the scratch file")?;
        self.block.clear();
        self.file.next += 1;
        Ok(())
    }
}

impl Sink for Writing<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }
}

/// An extent from its front to its back.
pub(in crate::source::redis) struct ExtentReader {
    sealed: Arc<Sealed>,
    next: u64,
    /// Bytes that were not yet taken into `block`.
    left: u64,
    block: Vec<u8>,
    at: usize,
}

impl fmt::Debug for ExtentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtentReader with {} bytes left", self.left)
    }
}

impl Read for ExtentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            if self.left == 0 {
                return Ok(0);
            }
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(BLOCK);
            self.block.resize(length + TAG, 0);
            self.sealed.file.read_exact_at(&mut self.block, offset(self.next))?;
            let opened = self.sealed.key.open_in_place(nonce(self.next), Aad::empty(), &mut self.block);
            if opened.is_err() {
                return Err(io::Error::other(Error::failed("the scratch file was changed by somebody else")));
            }
            self.block.truncate(length);
            (self.at, self.next, self.left) = (0, self.next + 1, self.left - length as u64);
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn offset(number: u64) -> u64 {
    number * (BLOCK + TAG) as u64
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_and_is_not_in_the_file_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = SealedFile::create(folder.path()).unwrap();
        let contents: Vec<Vec<u8>> = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7]
            .iter()
            .map(|length| (0..*length).map(|n| b"CANARY-"[n % 7]).collect())
            .collect();
        let mut extents = Vec::new();
        for content in &contents {
            let mut writing = file.extent();
            content.chunks(1000).for_each(|chunk| writing.put(chunk).unwrap());
            extents.push(writing.end().unwrap());
        }
        for (content, extent) in contents.iter().zip(&extents).rev() {
            let mut back = Vec::new();
            file.read(*extent).read_to_end(&mut back).unwrap();
            assert!(back == *content, "{} bytes", content.len());
        }
        let mut raw = vec![0; offset(file.next) as usize];
        let count = file.sealed.file.read_at(&mut raw, 0).unwrap();
        assert!(count > 3 * BLOCK && !raw.windows(14).any(|w| w == b"CANARY-CANARY-"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
    }
}
