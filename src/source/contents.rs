//! What a source sees of a backup when it applies or checks: the entries of its component, verified while they are read.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::capture::Facts;
use crate::error::Result;
use crate::model::{Entry, EntryPath, Moment};

/// The entries of one component of one backup. What it gives is what was signed; what cannot be read whole is an error.
pub trait Contents: Sync + fmt::Debug {
    /// What the capture knew of the whole.
    fn facts(&self) -> &Facts;

    /// When the capture began.
    fn captured_from(&self) -> Moment;

    /// All entries in tree order. A lost part of the index is an error among them.
    fn entries(&self) -> Result<Box<dyn Iterator<Item = Result<Entry>> + '_>>;

    /// The entry of a path; none when there is none.
    fn find(&self, path: &EntryPath) -> Result<Option<Entry>>;

    /// The content of a regular file as a stream. Its end is reached only when the digest is right: what was read before must not
    /// count until then.
    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send + '_>>;

    /// The whole content of a regular file of at most `max_bytes`, compared with its digest.
    fn read(&self, entry: &Entry, max_bytes: u64) -> Result<Vec<u8>>;

    /// Restores all entries below `folder`, which is made and must be empty or not there, with all metadata. An error when
    /// anything did not come back whole.
    fn restore_into(&self, folder: &Path) -> Result<()>;
}
