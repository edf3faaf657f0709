//! Where stored bytes come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::page_cache;

/// Random access to stored bytes, from many threads at once.
pub trait ReadAt: Send + Sync + std::fmt::Debug {
    /// Length in bytes; does not change while it is open.
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset`, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A local file with the size it had when it was opened.
#[derive(Debug)]
pub struct StoredFile {
    file: File,
    size: u64,
}

impl StoredFile {
    /// Takes an open regular file.
    pub fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { size: meta.len(), file })
    }
}

impl ReadAt for StoredFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.size <= page_cache::KEPT_BYTES {
            self.file.read_exact_at(buffer, offset)
        } else {
            page_cache::read_once_exact_at(&self.file, buffer, offset)
        }
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
