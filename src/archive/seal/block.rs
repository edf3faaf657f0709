//! Seals whole blocks for this process alone, with the cipher of the payload.

use super::stream::{BadTag, Cipher, TAG};
use crate::error::{Error, Result};

/// A cipher for numbered blocks; no number may be used twice.
pub(in crate::archive) struct BlockCipher(Cipher);

impl BlockCipher {
    /// Bytes after each block.
    pub(in crate::archive) const TAG_BYTES: usize = TAG;

    pub(in crate::archive) fn new(key: &[u8; 32]) -> Self {
        Self(Cipher::aes(key))
    }

    /// Encrypts block `number` in place and returns its tag.
    pub(in crate::archive) fn seal(&self, number: u64, block: &mut [u8]) -> Result<[u8; TAG]> {
        self.0.seal(number, false, block).map_err(|BadTag| Error::failed("a block cannot be sealed"))
    }

    /// Decrypts block `number`, with its tag after it, in place; returns the length of the plaintext.
    pub(in crate::archive) fn open(&self, number: u64, block: &mut [u8]) -> Result<usize> {
        self.0.open(number, false, block).map_err(|BadTag| Error::failed("a temporary file was changed by somebody"))
    }
}
