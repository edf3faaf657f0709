//! What a backup holds of Redis.

use std::path::Path;

use super::acl::{self, Users};
use super::canonical::{Gathered, MEMORY};
use super::cluster::Topology;
use super::rdb::{Input, RdbReader};
use super::settings::{self, Settings};
use crate::error::{Error, Kind, Result};
use crate::model::{Entry, EntryPath};
use crate::monitor::Monitor;
use crate::source::Contents;

/// Largest document.
const MAX_DOCUMENT: u64 = 64 << 20;

/// The objects of one server in a backup.
#[derive(Debug)]
pub(super) struct Part<'a> {
    contents: &'a dyn Contents,
    folder: String,
}

impl<'a> Part<'a> {
    /// Of each master that was captured; of the one server when it was no cluster.
    pub(super) fn all(contents: &'a dyn Contents) -> Result<Vec<Self>> {
        let part = |folder: String| Self { contents, folder };
        Ok(match topology(contents)? {
            Some(topology) => topology.masters.into_iter().map(|shard| part(format!("{}/", shard.folder))).collect(),
            None => vec![part(String::new())],
        })
    }

    fn find(&self, name: &str) -> Result<Option<Entry>> {
        self.contents.find(&EntryPath::new(format!("{}{name}", self.folder).into_bytes())?)
    }

    /// The entry of the RDB.
    pub(super) fn rdb(&self) -> Result<Entry> {
        let missing = || Error::new(Kind::Incomplete, format!("the backup holds no {}dump.rdb", self.folder));
        self.find("dump.rdb")?.ok_or_else(missing)
    }

    /// Reads the RDB to its end.
    pub(super) fn gather(&self, scratch: &Path, memory: usize, monitor: &dyn Monitor) -> Result<Gathered> {
        let about = || format!("the {}dump.rdb of the backup cannot be read", self.folder);
        let mut reader =
            RdbReader::new(Input::new(self.contents.open(&self.rdb()?)?)).map_err(|e| e.within(about()))?;
        let mut step = |_| monitor.check();
        let gathered = Gathered::read(&mut reader, scratch, memory, &mut step).map_err(|e| e.within(about()))?;
        // The end of the content is reached only when its digest is right.
        if !reader.into_rest().peek()?.is_empty() {
            return Err(Error::new(Kind::Incomplete, "something follows the RDB").within(about()));
        }
        Ok(gathered)
    }

    /// The users, if they were captured.
    pub(super) fn users(&self) -> Result<Option<Users>> {
        let Some(entry) = self.find("acl.txt")? else { return Ok(None) };
        let bytes = self.contents.read(&entry, MAX_DOCUMENT)?;
        acl::parse(&String::from_utf8_lossy(&bytes)).map(Some)
    }

    /// The settings, if they were captured.
    pub(super) fn settings(&self) -> Result<Option<Settings>> {
        let Some(entry) = self.find("config.json")? else { return Ok(None) };
        settings::parse(&self.contents.read(&entry, MAX_DOCUMENT)?).map(Some)
    }
}

/// The masters of the cluster that was captured; none when it was no cluster.
pub(super) fn topology(contents: &dyn Contents) -> Result<Option<Topology>> {
    let Some(entry) = contents.find(&EntryPath::new(b"cluster.json".as_slice())?)? else { return Ok(None) };
    let bytes = contents.read(&entry, MAX_DOCUMENT)?;
    let topology = serde_json::from_slice(&bytes);
    topology.map(Some).map_err(|e| Error::new(Kind::Incomplete, "cluster.json cannot be read").because(e))
}

/// Memory for the records of one of `parts`.
pub(super) fn memory(parts: usize) -> usize {
    (MEMORY / parts.max(1)).max(4 << 20)
}
