//! The payload: age's STREAM with ChaCha20-Poly1305 or AES-256-GCM (FORMAT.md §8).
//!
//! Chunks of 64 KiB of plaintext, each followed by a tag of 16 bytes. The nonce is the chunk's number as 11 bytes, big
//! endian, and one byte that is 1 for the last chunk only. The last chunk may be short; it is empty only if the whole
//! payload is empty, and a payload of whole chunks marks its last full one.
//!
//! Invariant: a key seals one payload only, so no nonce is used twice.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Plaintext bytes of a full chunk.
pub(super) const CHUNK: usize = 64 * 1024;
/// Bytes of the tag after every chunk.
pub(super) const TAG: usize = 16;
/// Stored bytes of a full chunk.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;

/// The tag of a chunk is not the one its bytes ask for.
#[derive(Debug)]
pub(super) struct BadTag;

/// A payload's cipher, ready with its key, which is wiped when it is dropped.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    /// age's own, ChaCha20-Poly1305.
    pub(super) fn chacha(key: &[u8; 32]) -> Self {
        Self::new(&CHACHA20_POLY1305, key)
    }

    /// AES-256-GCM.
    pub(super) fn aes(key: &[u8; 32]) -> Self {
        Self::new(&AES_256_GCM, key)
    }

    fn new(algorithm: &'static Algorithm, key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both take keys of 32 bytes")))
    }

    /// Encrypts chunk `number` in place and returns its tag.
    pub(super) fn seal(&self, number: u64, last: bool, chunk: &mut [u8]) -> Result<[u8; TAG], BadTag> {
        let tag = self.0.seal_in_place_separate_tag(nonce(number, last), Aad::empty(), chunk).map_err(|_| BadTag)?;
        tag.as_ref().try_into().map_err(|_| BadTag)
    }

    /// Checks and decrypts chunk `number`, with its tag after it, in place; returns the length of the plaintext.
    pub(super) fn open(&self, number: u64, last: bool, chunk: &mut [u8]) -> Result<usize, BadTag> {
        self.0.open_in_place(nonce(number, last), Aad::empty(), chunk).map(|plain| plain.len()).map_err(|_| BadTag)
    }
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// How a payload of a known stored length is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Number of chunks, at least 1.
    pub(super) chunks: u64,
    /// Plaintext bytes of all chunks.
    pub(super) plaintext: u64,
}

impl Layout {
    /// `None` if no payload has this stored length.
    pub(super) fn of(stored: u64) -> Option<Self> {
        let chunks = stored.div_ceil(SEALED_CHUNK as u64);
        let plaintext = stored.checked_sub(chunks.checked_mul(TAG as u64)?)?;
        // Without its tag, a last chunk after others must hold something; a tag alone would be a second form of the
        // payload that ends one chunk earlier.
        let before = chunks.checked_sub(1)?.checked_mul(CHUNK as u64)?;
        let fits = if chunks == 1 { plaintext >= before } else { plaintext > before };
        fits.then_some(Self { chunks, plaintext })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_exists_only_for_lengths_that_a_writer_can_make() {
        let layout = |chunks, plaintext| Some(Layout { chunks, plaintext });
        let (chunk, sealed) = (CHUNK as u64, SEALED_CHUNK as u64);
        assert_eq!(Layout::of(0), None);
        assert_eq!(Layout::of(15), None);
        assert_eq!(Layout::of(16), layout(1, 0));
        assert_eq!(Layout::of(17), layout(1, 1));
        assert_eq!(Layout::of(sealed), layout(1, chunk));
        for short in 1..=16 {
            assert_eq!(Layout::of(sealed + short), None, "{short}");
        }
        assert_eq!(Layout::of(sealed + 17), layout(2, chunk + 1));
        assert_eq!(Layout::of(2 * sealed), layout(2, 2 * chunk));
        assert!(Layout::of(u64::MAX).is_some_and(|l| l.plaintext < u64::MAX));
    }

    #[test]
    fn a_chunk_opens_only_at_its_own_place() {
        for cipher in [Cipher::chacha(&[7; 32]), Cipher::aes(&[7; 32])] {
            let mut chunk = *b"twelve bytes________________";
            let tag = cipher.seal(1, false, &mut chunk[..12]).unwrap();
            chunk[12..].copy_from_slice(&tag);
            for (number, last) in [(0, false), (2, false), (1, true)] {
                assert!(cipher.open(number, last, &mut chunk.clone()).is_err());
            }
            assert!(cipher.open(1, false, &mut [0; 15]).is_err());
            assert_eq!(cipher.open(1, false, &mut chunk).unwrap(), 12);
            assert_eq!(&chunk[..12], b"twelve bytes");
        }
    }
}
