//! The bytes of one archive: tar members inside zstd frames inside a seal (FORMAT.md §5, §8).
//!
//! Everything here works on bytes that somebody hands in; it does not know repositories or file systems. What is read
//! is untrusted: every length is checked against the file before it is used for an allocation.

pub mod frame;
mod reader;
pub mod seal;
mod spool;
mod stored;
pub mod tar;
mod write_behind;
mod writer;

pub use reader::{FramedReader, Scratch};
pub use spool::{Spool, SpoolReader};
pub use stored::{ReadAt, StoredFile};
pub use writer::{FramedWriter, Written};
