//! A backup and all it depends on, opened for reading: who trusts the first trusts the rest, because digests bind them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::archive::FramedReader;
use crate::error::{Error, Kind, Result};
use crate::index::{IndexFiles, Inventory};
use crate::keys::Keys;
use crate::model::{BackupId, ComponentRecord, Dependency, Digest, IndexRecord, archive_file_name, index_file_name};
use crate::repo::Repository;
use crate::repo::backup::{Backup, Trust, parse_sums};
use crate::threads;

/// A backup whose signature holds, and its dependencies.
#[derive(Debug)]
pub struct Chain {
    /// The backup itself.
    pub backup: Backup,
    repo: Repository,
    others: BTreeMap<BackupId, Option<Sums>>,
    keys: Keys,
}

/// The digests of a backup's files. A dependency has none when its `SHA256SUMS` is not the one that was meant. Every
/// segment and all content is bound by digests of its own, so nothing that is damaged in it costs more than itself: its
/// signature and manifest are not even looked at. A chain has one seal, see FORMAT.md §4.
type Sums = BTreeMap<String, Digest>;

fn sums_of(repo: &Repository, dependency: &Dependency) -> Option<Sums> {
    let sums = repo.sums(&dependency.id).ok().filter(|bytes| Digest::of(bytes) == dependency.sums_sha256);
    sums.and_then(|bytes| parse_sums(&bytes).ok())
}

impl Chain {
    /// Opens a backup and every backup it depends on. What is missing or damaged of those is noticed by whoever needs it.
    pub fn open(repo: &Repository, id: &BackupId, trust: &Trust, keys: Keys) -> Result<Arc<Self>> {
        let backup = Backup::open(repo, id, trust).map_err(of_repository)?;
        let others = backup.manifest.depends_on.iter().map(|d| (d.id.clone(), sums_of(repo, d))).collect();
        Ok(Arc::new(Self { backup, repo: repo.clone(), others, keys }))
    }

    /// What is wrong with the repository's own record; nothing here needs it.
    pub(super) fn repository_fault(&self) -> Option<&str> {
        self.repo.fault()
    }

    /// The digests of the files of one of the backups of the chain.
    fn sums(&self, id: &BackupId) -> Result<Option<&Sums>> {
        let own = &self.backup.manifest.id;
        if id == own {
            return Ok(Some(&self.backup.sums));
        }
        let unknown = || Error::damage(format!("the index of {own} refers to backup {id}, its manifest does not"));
        self.others.get(id).map(Option::as_ref).ok_or_else(unknown)
    }

    /// The record of a component.
    pub fn component(&self, name: &str) -> Result<&ComponentRecord> {
        self.backup.manifest.component(name).ok_or_else(|| {
            let names: Vec<_> = self.backup.manifest.components.iter().map(|c| c.name.as_str()).collect();
            Error::new(Kind::NotFound, format!("backup {} has no component {name:?}", self.backup.manifest.id))
                .hint(format!("it has: {}", names.join(", ")))
        })
    }

    /// The components that `names` picks, all if it is empty.
    pub fn components(&self, names: &[String]) -> Result<Vec<&ComponentRecord>> {
        if names.is_empty() {
            return Ok(self.backup.manifest.components.iter().collect());
        }
        names.iter().map(|n| self.component(n)).collect()
    }

    /// Opens the inventory of a component. The index file is compared with its signed digest first; where it is damaged
    /// its segment table must have the digest in the manifest, and then everything else that is undamaged can be read.
    pub fn inventory(self: &Arc<Self>, component: &str) -> Result<Inventory> {
        let record = &self.component(component)?.index;
        let id = self.backup.manifest.id.clone();
        self.repo.require_object(&id, &record.name)?;
        let fault = match self.repo.digest_object(&id, &record.name) {
            Ok(found) if found == record.sha256 => None,
            Ok(_) => {
                let shown = self.repo.object_text(&id, &record.name);
                Some(Error::damage(format!("{shown} does not match its signed digest")))
            }
            Err(e) => Some(of_repository(e)),
        };
        let name = format!("the index of {component} in backup {id}");
        let (component, is_damaged) = (component.to_owned(), fault.is_some());
        let files = Box::new(ChainIndexes { chain: self.clone(), component, is_damaged });
        let inventory = match (fault, &record.table) {
            (Some(fault), None) => return Err(fault),
            (Some(fault), Some(table)) => Inventory::open_by_table(&name, id, files, table).map_err(|e| {
                if e.is_damage() { e.within(format!("{}, nor can it be read in part", fault.one_line())) } else { e }
            })?,
            (None, _) => Inventory::open(&name, id, files)?,
        };
        self.check_table(&inventory, record).map_err(|e| e.within(format!("{name} is not what the manifest says")))?;
        Ok(inventory)
    }

    /// The segment table must be the one that the manifest is about (FORMAT.md §7).
    fn check_table(&self, inventory: &Inventory, record: &IndexRecord) -> Result<()> {
        let bad = |what: &str| Err(Error::damage(what));
        if record.table.as_ref().is_some_and(|table| table != inventory.table()) {
            return bad("its segment table is another");
        }
        let id = &self.backup.manifest.id;
        let (mut own, mut end) = (0, 0);
        for segment in inventory.segments() {
            if segment.backup != *id {
                self.sums(&segment.backup)?;
                continue;
            }
            if segment.offset != end {
                return bad("its own segments do not lie one after the other");
            }
            (own, end) = (own + 1, end.saturating_add(segment.length));
        }
        if (inventory.segments().len() as u64, own) != (record.segments, record.own_segments) {
            return bad("it has another number of segments");
        }
        Ok(())
    }

    /// The archives of a component, opened when they are first needed.
    #[must_use]
    pub fn archives(self: &Arc<Self>, component: &str) -> Archives {
        Archives { chain: self.clone(), component: component.to_owned(), opened: Mutex::default() }
    }

    /// Whether a file has the digest that the list of its backup binds.
    fn is_whole(&self, id: &BackupId, file_name: &str) -> bool {
        let Ok(sums) = self.sums(id) else { return false };
        let listed = sums.and_then(|s| s.get(file_name));
        self.repo.digest_object(id, file_name).is_ok_and(|found| listed == Some(&found))
    }

    /// Opens a file. `salvage`: of a damaged one what is left is good enough, because it is compared with digests.
    fn open_framed(&self, id: &BackupId, file_name: &str, salvage: bool) -> Result<FramedReader> {
        self.sums(id)?;
        let stored = Arc::new(self.repo.open_object(id, file_name).map_err(of_repository)?);
        let name = format!("{id}/{file_name}");
        let open = if salvage { FramedReader::salvage } else { FramedReader::open };
        open(stored, &self.backup.manifest.sealing, &self.keys, &name).map_err(|e| {
            // A damaged header looks as if it was made for another key.
            if e.kind() == Kind::WrongKey && !self.is_whole(id, file_name) {
                return Error::damage(format!("{name} does not match its signed digest, and no key opens it"));
            }
            e
        })
    }
}

/// What the system cannot read in a repository costs what needs it, as damage does.
fn of_repository(error: Error) -> Error {
    if error.kind() == Kind::Failed { error.of_kind(Kind::Unreadable) } else { error }
}

#[derive(Debug)]
struct ChainIndexes {
    chain: Arc<Chain>,
    component: String,
    /// The index file of the head has not its digest.
    is_damaged: bool,
}

impl IndexFiles for ChainIndexes {
    fn open_index(&self, backup: &BackupId) -> Result<FramedReader> {
        let name = index_file_name(&self.component, self.chain.backup.manifest.sealing.extension());
        let is_own = *backup == self.chain.backup.manifest.id;
        match self.chain.open_framed(backup, &name, is_own && self.is_damaged) {
            // Of other backups only segments are read, each by its digest.
            Err(e) if e.is_damage() && !is_own => self.chain.open_framed(backup, &name, true),
            opened => opened,
        }
    }
}

/// Volumes, or why they cannot be opened.
type Opened = BTreeMap<(BackupId, u32), Result<Arc<FramedReader>>>;

/// The archives of one component across a chain.
#[derive(Debug)]
pub struct Archives {
    chain: Arc<Chain>,
    component: String,
    opened: Mutex<Opened>,
}

impl Archives {
    /// A volume; an archive that cannot be opened is tried only once.
    pub fn open(&self, backup: &BackupId, volume: u32) -> Result<Arc<FramedReader>> {
        let mut opened = self.opened.lock().map_err(threads::died)?;
        let key = (backup.clone(), volume);
        opened.entry(key).or_insert_with(|| self.open_new(backup, volume).map(Arc::new)).clone()
    }

    fn open_new(&self, backup: &BackupId, volume: u32) -> Result<FramedReader> {
        let name = archive_file_name(&self.component, volume, self.chain.backup.manifest.sealing.extension());
        match self.chain.open_framed(backup, &name, false) {
            // What is left of it will do: all content is compared with its digest.
            Err(e) if e.is_damage() && !self.chain.is_whole(backup, &name) => {
                self.chain.open_framed(backup, &name, true).map_err(|_| e)
            }
            opened => opened,
        }
    }
}
