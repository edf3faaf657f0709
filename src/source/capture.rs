//! What a source gives when it captures: a tree that the engine walks, or objects one after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use crate::config::ExcludeRules;
use crate::error::Result;
use crate::model::{EntryPath, Problem, Timestamp};

/// A capture that has begun.
#[derive(Debug)]
pub enum Captured<'a> {
    /// Files and folders of this host.
    Tree(Tree),
    /// Named byte strings and streams.
    Objects(Box<dyn Objects + 'a>),
}

/// A tree to be walked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Files and folders, absolute. Each lies under its last name in the backup.
    pub paths: Vec<PathBuf>,
    /// What is left out.
    pub rules: ExcludeRules,
    /// A database of SQLite that is in use is captured as one state, without the files that belong to it.
    pub databases: bool,
}

/// Objects of a service, in tree order (FORMAT.md §6): as paths are compared, folders before what they hold. The engine adds the
/// folders itself.
pub trait Objects: Send + fmt::Debug {
    /// The next object; none after the last. A stream borrows the source: it is read to its end before the next object is
    /// asked for. An error fails the component.
    fn next(&mut self) -> Result<Option<Object<'_>>>;

    /// Called once, after the last object: last checks, and what the manifest says of the whole. An error fails the
    /// component.
    fn finish(self: Box<Self>) -> Result<Facts>;
}

/// One object. Equal content gives an equal line in the index whenever it is captured.
#[derive(Debug)]
pub struct Object<'a> {
    /// Its path in the component.
    pub path: EntryPath,
    /// The service's own time of the last change; none where it has none: then it is the time of the capture in which this
    /// content was first seen.
    pub modified: Option<Timestamp>,
    /// Permission bits, usually 0600.
    pub mode: u32,
    /// Numbers of user and group; none for those of this process.
    pub owner: Option<(u32, u32)>,
    /// Its bytes.
    pub body: Body<'a>,
}

impl<'a> Object<'a> {
    /// An object of the service, readable by its owner alone.
    #[must_use]
    pub fn new(path: EntryPath, body: Body<'a>) -> Self {
        Self { path, modified: None, mode: 0o600, owner: None, body }
    }
}

/// The bytes of an object.
pub enum Body<'a> {
    /// A document. Fits into memory: at most a few MiB.
    Bytes(Vec<u8>),
    /// A stream of unknown length. Its end (`Ok(0)`) is reached only when everything says that it is whole: exit status, end
    /// mark, our own parse. All else is an error, which fails the component; an [`Error`](crate::Error) inside of the
    /// `io::Error` is told as it is.
    Stream(Box<dyn Read + Send + 'a>),
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Numbers by name, as a manifest tells them.
pub type Counts = BTreeMap<String, u64>;

/// What is known of a component when its capture has ended. Goes into the manifest, which anybody can read: no names of what
/// is in it, no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Version of the service.
    pub version: Option<String>,
    /// What was counted: `databases`, `tables`, `rows`, `keys`, …
    pub counts: Counts,
    /// What else somebody wants to know on the worst day: positions in logs, ids, health.
    pub facts: BTreeMap<String, String>,
    /// What is not whole although the component did not fail.
    pub problems: Vec<Problem>,
}
