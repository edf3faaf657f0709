//! One component of an opened chain, as its source sees it.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::durable::Disk;
use crate::engine::chain::{Archives, Chain};
use crate::engine::content::ContentReader;
use crate::engine::restore::restore_whole;
use crate::error::{Error, Result};
use crate::index::{Entries, Inventory};
use crate::model::{ComponentRecord, Entry, EntryKind, EntryPath, Moment};
use crate::monitor::Monitor;
use crate::source::{Contents, Facts};

/// The entries of one component of one backup.
pub struct ComponentContents<'a> {
    chain: Arc<Chain>,
    name: String,
    facts: Facts,
    captured_from: Moment,
    inventory: Inventory,
    archives: Archives,
    disk: Disk,
    threads: usize,
    monitor: &'a dyn Monitor,
}

impl<'a> ComponentContents<'a> {
    /// Opens a component. `threads` is how many restore a tree; `monitor` may stop every reader.
    pub fn open(chain: &Arc<Chain>, name: &str, disk: &Disk, threads: usize, monitor: &'a dyn Monitor) -> Result<Self> {
        let record = chain.component(name)?;
        Ok(Self {
            chain: chain.clone(),
            name: name.to_owned(),
            facts: facts(record),
            captured_from: record.captured_from,
            inventory: chain.inventory(name)?,
            archives: chain.archives(name),
            disk: disk.clone(),
            threads,
            monitor,
        })
    }

    /// The content of a file; a hard link leads to its first name.
    fn reader(&self, entry: &Entry) -> Result<ContentReader<'_>> {
        match &entry.kind {
            EntryKind::Hardlink { target } => {
                ContentReader::new(&self.archives, &self.inventory.first_name(&entry.path, target)?, self.monitor)
            }
            _ => ContentReader::new(&self.archives, entry, self.monitor),
        }
    }

    /// An error when it is known that lines of the index are lost.
    fn check_whole(&self) -> Result<()> {
        if !self.inventory.is_lossy() {
            return Ok(());
        }
        let losses = self.inventory.losses();
        let detail = losses.first().map_or("lines are lost", |loss| &loss.detail);
        let id = &self.chain.backup.manifest.id;
        Err(Error::damage(format!("the index of {} in backup {id} is not whole: {detail}", self.name)))
    }
}

/// What the manifest says of the source.
fn facts(record: &ComponentRecord) -> Facts {
    let known = record.source.clone().unwrap_or_default();
    Facts { version: known.version, counts: known.counts, facts: known.facts, problems: Vec::new() }
}

impl fmt::Debug for ComponentContents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentContents({} of {})", self.name, self.chain.backup.manifest.id)
    }
}

impl Contents for ComponentContents<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn captured_from(&self) -> Moment {
        self.captured_from
    }

    fn entries(&self) -> Result<Box<dyn Iterator<Item = Result<Entry>> + '_>> {
        self.check_whole()?;
        Ok(Box::new(WholeEntries { contents: self, entries: self.inventory.readable()?, ended: false }))
    }

    fn find(&self, path: &EntryPath) -> Result<Option<Entry>> {
        self.inventory.find(path)
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader(entry)?))
    }

    fn read(&self, entry: &Entry, max_bytes: u64) -> Result<Vec<u8>> {
        let mut reader = self.reader(entry)?;
        let size = reader.size();
        if size > max_bytes {
            let message = format!("{}/{} has {size} bytes, at most {max_bytes} are expected", self.name, entry.path);
            return Err(Error::failed(message));
        }
        let mut bytes = Vec::new();
        reader.read_all(&mut bytes)?;
        Ok(bytes)
    }

    fn restore_into(&self, folder: &Path) -> Result<()> {
        let Self { chain, name, inventory, disk, threads, monitor, .. } = self;
        restore_whole(chain, name, inventory, folder, disk, *threads, *monitor)
    }
}

/// All entries; that some are lost is an error, and the last item.
struct WholeEntries<'a> {
    contents: &'a ComponentContents<'a>,
    entries: Entries<'a>,
    ended: bool,
}

impl Iterator for WholeEntries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.entries.next();
        if let Err(error) = self.contents.check_whole() {
            self.ended = true;
            return Some(Err(error));
        }
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}
