//! Pages that have to be copied at once because a writer waits: in memory as long as they are few, above that in a file
//! without a name, sealed with a key that only this process has.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a sealed block.
const BLOCK: usize = 1 << 20;
const TAG: usize = 16;

/// Up to this many bytes stay in memory.
pub(crate) const MEMORY_BYTES: u64 = 32 << 20;

/// A copy that can be read at any place.
pub(crate) enum Hold {
    /// In memory.
    Memory(Vec<u8>),
    /// In a sealed file.
    Sealed(Sealed),
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({} bytes)", self.bytes())
    }
}

impl Hold {
    /// Copies `bytes` bytes, which `read_at` gives.
    pub(crate) fn fill(
        bytes: u64,
        memory_bytes: u64,
        scratch: &Path,
        mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<Self> {
        if bytes <= memory_bytes {
            let mut all = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
            for (at, part) in (0..).step_by(BLOCK).zip(all.chunks_mut(BLOCK)) {
                read_at(part, at)?;
            }
            return Ok(Self::Memory(all));
        }
        let mut sealed = Sealed::create_in(scratch)?;
        let mut block = Vec::with_capacity(BLOCK + TAG);
        while sealed.bytes < bytes {
            let length = (bytes - sealed.bytes).min(BLOCK as u64);
            block.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
            read_at(&mut block, sealed.bytes)?;
            sealed.push(&mut block)?;
        }
        Ok(Self::Sealed(sealed))
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Memory(all) => all.len() as u64,
            Self::Sealed(sealed) => sealed.bytes,
        }
    }

    /// Reads some bytes at `offset`; 0 at the end.
    pub(crate) fn read_at(&mut self, part: &mut [u8], offset: u64) -> io::Result<usize> {
        let (from, inside) = match self {
            Self::Memory(all) => (all.as_slice(), usize::try_from(offset).map_err(io::Error::other)?),
            Self::Sealed(sealed) => {
                let inside = usize::try_from(offset % BLOCK as u64).map_err(io::Error::other)?;
                (sealed.block(offset / BLOCK as u64)?, inside)
            }
        };
        let from = from.get(inside..).unwrap_or_default();
        let n = part.len().min(from.len());
        part[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }
}

/// A sealed copy.
pub(crate) struct Sealed {
    file: File,
    key: LessSafeKey,
    bytes: u64,
    /// The block that was read last, and its number.
    last: (u64, Vec<u8>),
}

impl Sealed {
    fn create_in(folder: &Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(io::Error::other)?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(io::Error::other)?;
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { file, key: LessSafeKey::new(key), bytes: 0, last: (u64::MAX, Vec::new()) })
    }

    /// Appends a block, which is full unless it is the last.
    fn push(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        let number = self.bytes.div_ceil(BLOCK as u64);
        let length = block.len() as u64;
        self.key.seal_in_place_append_tag(nonce(number), Aad::empty(), block).map_err(io::Error::other)?;
        self.file.write_all_at(block, number * (BLOCK + TAG) as u64)?;
        self.bytes += length;
        Ok(())
    }

    fn block(&mut self, number: u64) -> io::Result<&[u8]> {
        if self.last.0 != number {
            let left = self.bytes.saturating_sub(number.saturating_mul(BLOCK as u64)).min(BLOCK as u64);
            self.last.0 = u64::MAX;
            if left == 0 {
                return Ok(&[]);
            }
            let stored = usize::try_from(left).map_err(io::Error::other)? + TAG;
            self.last.1.resize(stored, 0);
            self.file.read_exact_at(&mut self.last.1, number * (BLOCK + TAG) as u64)?;
            let refused = |_| io::Error::new(io::ErrorKind::InvalidData, "a temporary file was changed by somebody");
            let plain = self.key.open_in_place(nonce(number), Aad::empty(), &mut self.last.1).map_err(refused)?.len();
            self.last.1.truncate(plain);
            self.last.0 = number;
        }
        Ok(&self.last.1)
    }
}

/// The key seals one copy, each block once.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_comes_back_from_memory_and_from_a_sealed_file_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (0..(2_u32 << 20) + 12_345).map(|n| (n % 251) as u8).collect();
        for memory in [u64::MAX, 0] {
            let mut hold = Hold::fill(all.len() as u64, memory, dir.path(), |part, at| {
                let at = usize::try_from(at).unwrap();
                part.copy_from_slice(&all[at..at + part.len()]);
                Ok(())
            })
            .unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            let mut back = Vec::new();
            let mut part = [0; 7777];
            loop {
                let n = hold.read_at(&mut part, back.len() as u64).unwrap();
                if n == 0 {
                    break;
                }
                back.extend_from_slice(&part[..n]);
            }
            assert!(back == all, "{memory}");
            if let Hold::Sealed(sealed) = &mut hold {
                let mut raw = vec![0; 1 << 20];
                sealed.file.read_exact_at(&mut raw, 0).unwrap();
                assert!(!raw.windows(64).any(|w| w == &all[..64]));
                sealed.file.write_all_at(&[raw[5] ^ 1], 5).unwrap();
                sealed.last.0 = u64::MAX;
                assert!(hold.read_at(&mut part, 0).is_err());
            }
        }
    }
}
