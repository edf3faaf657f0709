//! A backup and all it depends on, opened for reading: who trusts the first trusts the rest, because digests bind them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::archive::FramedReader;
use crate::error::{Error, Kind, Result};
use crate::index::{IndexFiles, Inventory};
use crate::keys::Keys;
use crate::model::{BackupId, ComponentRecord, archive_file_name, index_file_name};
use crate::repo::Repository;
use crate::repo::backup::{Backup, Trust};
use crate::repo::publish::digest_file;

/// A backup whose signature holds, and its dependencies.
#[derive(Debug)]
pub struct Chain {
    /// The backup itself.
    pub backup: Backup,
    others: BTreeMap<BackupId, Backup>,
    keys: Keys,
}

impl Chain {
    /// Opens a backup and every backup it depends on. One that is missing or is not the one that was meant is damage.
    pub fn open(repo: &Repository, id: &BackupId, trust: &Trust, keys: Keys) -> Result<Arc<Self>> {
        let backup = Backup::open(repo, id, trust)?;
        let mut others = BTreeMap::new();
        // The digest in a signed manifest says more than a signature of its own would.
        let bound = Trust { signers: trust.signers.clone(), allow_unsigned: true };
        for dependency in &backup.manifest.depends_on {
            let missing = |what: &str| {
                Error::damage(format!("backup {id} depends on backup {}, which {what}", dependency.id))
                    .hint("`ccbackup verify --all` lists everything that is damaged and what can still be restored")
            };
            if !repo.root().join(dependency.id.as_str()).is_dir() {
                return Err(missing("is missing"));
            }
            let other = Backup::open(repo, &dependency.id, &bound)?;
            if other.sums_sha256 != dependency.sums_sha256 {
                return Err(missing("is not the one that it was built on"));
            }
            others.insert(dependency.id.clone(), other);
        }
        Ok(Arc::new(Self { backup, others, keys }))
    }

    /// One of the backups of the chain.
    pub fn get(&self, id: &BackupId) -> Result<&Backup> {
        if *id == self.backup.manifest.id {
            return Ok(&self.backup);
        }
        self.others.get(id).ok_or_else(|| {
            Error::damage(format!(
                "the index of {} refers to backup {id}, its manifest does not",
                self.backup.manifest.id
            ))
        })
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

    /// Opens the inventory of a component. The index file is compared with its signed digest first.
    pub fn inventory(self: &Arc<Self>, component: &str) -> Result<Inventory> {
        let record = self.component(component)?;
        let path = self.backup.dir.join(&record.index.name);
        let missing = || Error::damage(format!("{} is missing", path.display()));
        if path.symlink_metadata().is_err() {
            return Err(missing());
        }
        if digest_file(&path)? != record.index.sha256 {
            return Err(Error::damage(format!("{} does not match its signed digest", path.display())));
        }
        let id = self.backup.manifest.id.clone();
        let files = Box::new(ChainIndexes { chain: self.clone(), component: component.to_owned() });
        Inventory::open(&format!("the index of {component} in backup {id}"), id, files)
    }

    /// The archives of a component, opened when they are first needed.
    #[must_use]
    pub fn archives(self: &Arc<Self>, component: &str) -> Archives {
        Archives { chain: self.clone(), component: component.to_owned(), opened: Mutex::default() }
    }

    fn open_framed(&self, id: &BackupId, file_name: &str) -> Result<FramedReader> {
        let backup = self.get(id)?;
        let stored = Arc::new(backup.open_file(file_name)?);
        FramedReader::open(stored, &backup.manifest.sealing, &self.keys, &format!("{id}/{file_name}"))
    }
}

#[derive(Debug)]
struct ChainIndexes {
    chain: Arc<Chain>,
    component: String,
}

impl IndexFiles for ChainIndexes {
    fn open_index(&self, backup: &BackupId) -> Result<FramedReader> {
        let extension = self.chain.get(backup)?.manifest.sealing.extension();
        self.chain.open_framed(backup, &index_file_name(&self.component, extension))
    }
}

type Opened = BTreeMap<(BackupId, u32), std::result::Result<Arc<FramedReader>, (Kind, String)>>;

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
        let mut opened = self.opened.lock().map_err(|_| Error::failed("a thread died while it held the archives"))?;
        let found = opened
            .entry((backup.clone(), volume))
            .or_insert_with(|| self.open_new(backup, volume).map(Arc::new).map_err(|e| (e.kind(), e.one_line())));
        found.clone().map_err(|(kind, message)| Error::new(kind, message))
    }

    fn open_new(&self, backup: &BackupId, volume: u32) -> Result<FramedReader> {
        let extension = self.chain.get(backup)?.manifest.sealing.extension();
        self.chain.open_framed(backup, &archive_file_name(&self.component, volume, extension))
    }
}
