//! Sealing: what stands between stored bytes and the zstd frames (FORMAT.md §8).
//!
//! Three seals: age, AES-256-GCM with a raw key, none. Both ciphers cut the plaintext into chunks of 64 KiB that are
//! encrypted one by one (`stream`), so any place can be opened alone and from any thread. The header comes first and
//! carries what a key holder needs to find the payload's key (`header`).
//!
//! Invariant: no byte of plaintext leaves [`SealedReader`] before its chunk was authenticated, and a file that was cut
//! is refused when it is opened.

mod block;
mod header;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use block::BlockCipher;
pub use reader::SealedReader;
pub use writer::{SealWriter, Sealer};
