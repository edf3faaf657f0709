//! Bytes that have to wait on the disk until it is known what comes before them, without ever lying there in clear.
//!
//! Blocks are sealed with a key that only this process has and go one after the other into a file without a name, so that
//! nothing is left of them when the process ends, however it ends.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::seal::BlockCipher;
use crate::error::{Context as _, Error, Result};

const CANNOT_WRITE: &str = "cannot write a temporary file";
const CANNOT_READ: &str = "cannot read a temporary file";

/// A spool that is being written.
pub struct Spool {
    file: BufWriter<File>,
    cipher: BlockCipher,
    /// Length of each block, without its tag.
    lengths: Vec<u32>,
    buffer: Vec<u8>,
}

impl Spool {
    /// An empty one in the file system of `folder`.
    pub fn create_in(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).at("cannot make a temporary file in", folder)?;
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|e| Error::failed("the system gives no random bytes").because(e))?;
        let cipher = BlockCipher::new(&key);
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), cipher, lengths: Vec::new(), buffer: Vec::new() })
    }

    /// Appends a block of less than 4 GiB.
    pub fn push(&mut self, block: &[u8]) -> Result<()> {
        let length = u32::try_from(block.len()).map_err(|_| Error::failed("a block of 4 GiB does not fit a spool"))?;
        self.buffer.clear();
        self.buffer.extend_from_slice(block);
        let tag = self.cipher.seal(self.lengths.len() as u64, &mut self.buffer)?;
        self.file.write_all(&self.buffer).and_then(|()| self.file.write_all(&tag)).doing(CANNOT_WRITE)?;
        self.lengths.push(length);
        Ok(())
    }

    /// Ends it, to be read from its beginning.
    pub fn read(self) -> Result<SpoolReader> {
        let mut file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error).doing(CANNOT_WRITE)?;
        file.rewind().doing(CANNOT_READ)?;
        let file = BufReader::with_capacity(1 << 20, file);
        Ok(SpoolReader { file, cipher: self.cipher, lengths: self.lengths.into_iter(), number: 0 })
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({} blocks)", self.lengths.len())
    }
}

/// A spool that is being read.
pub struct SpoolReader {
    file: BufReader<File>,
    cipher: BlockCipher,
    lengths: std::vec::IntoIter<u32>,
    number: u64,
}

impl SpoolReader {
    /// The next block into `out`, which is cleared first; false after the last.
    pub fn next_block(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        let Some(length) = self.lengths.next() else { return Ok(false) };
        let stored = length as usize + BlockCipher::TAG_BYTES;
        out.resize(stored, 0);
        self.file.read_exact(out).doing(CANNOT_READ)?;
        let plain = self.cipher.open(self.number, out)?;
        out.truncate(plain);
        self.number += 1;
        Ok(true)
    }
}

impl std::fmt::Debug for SpoolReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SpoolReader(at block {})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_comes_back_and_lies_nowhere_in_clear_or_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create_in(dir.path()).unwrap();
        let blocks = [b"canary-4711".to_vec(), Vec::new(), vec![7; 3 << 20]];
        for block in &blocks {
            spool.push(block).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut raw = spool.file.get_ref().try_clone().unwrap();
        spool.file.flush().unwrap();
        let mut stored = Vec::new();
        raw.rewind().unwrap();
        raw.read_to_end(&mut stored).unwrap();
        assert!(stored.len() > 3 << 20 && !stored.windows(11).any(|w| w == b"canary-4711"));
        let mut reader = spool.read().unwrap();
        let mut block = Vec::new();
        for expected in &blocks {
            assert!(reader.next_block(&mut block).unwrap() && block == *expected);
        }
        assert!(!reader.next_block(&mut block).unwrap());
    }

    #[test]
    fn a_block_that_was_changed_on_the_disk_is_refused() {
        use std::os::unix::fs::FileExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create_in(dir.path()).unwrap();
        spool.push(&[1; 1000]).unwrap();
        spool.file.flush().unwrap();
        spool.file.get_ref().write_at(b"x", 500).unwrap();
        let refused = spool.read().unwrap().next_block(&mut Vec::new()).unwrap_err();
        assert!(refused.one_line().contains("temporary file"), "{refused}");
    }
}
