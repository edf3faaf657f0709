//! Reads the content of many entries at once, each frame only once, by all cores.
//!
//! Entries come in path order; those whose bytes lie in the same frame are handed to a worker together. Large files and
//! files in several pieces are streams of their own. What the content is for is the sink's business.

mod frame;
mod read;
mod reader;
mod streams;

pub(super) use frame::{Frame, check_digest};
pub(super) use read::{Sink, read_all};
pub(super) use reader::ContentReader;
pub(super) use streams::Streams;
