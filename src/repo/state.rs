//! What this host remembers about a repository, outside it: the trusted signers, the head it last wrote, clear copies of
//! the last indexes, and when backups were last verified. All but the pins can be deleted at any time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lock::{LockGuard, lock_file};
use super::signing::SignerKey;
use super::untrusted::read_small;
use crate::durable::Disk;
use crate::error::{Error, Result};
use crate::index::LocalIndex;
use crate::model::{BackupId, ComponentRecord, Digest, Moment, Problem, pretty_json, unix_seconds};

/// The last backup that this host published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The backup.
    pub id: BackupId,
    /// Its sequence number.
    pub sequence: u64,
    /// Digest of its SHA256SUMS.
    pub sums_sha256: Digest,
}

/// Number of the rules by which lines of an index are accepted; grows when readers begin to refuse more.
pub const ACCEPTANCE: u32 = 1;

/// Describes the local index copies of one backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRecord {
    /// Digest of the backup's SHA256SUMS: the copies belong to exactly that backup.
    pub sums_sha256: Digest,
    /// Which acceptance its lines have passed, [`ACCEPTANCE`] when it was written last.
    #[serde(default)]
    pub accepted: u32,
    /// For every component, digest of its copy and when its capture began.
    pub components: BTreeMap<String, LocalComponent>,
}

/// One component's local copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalComponent {
    /// Digest over the copy's files.
    pub copy_sha256: Digest,
    /// When the capture began: later timestamps are not trusted by the next run.
    #[serde(rename = "captured_from_seconds", with = "unix_seconds")]
    pub captured_from: Moment,
}

/// A component that a run has finished, so that a later one can take it over when the run is killed. Kept here and not
/// beside the archives: whoever can write to the repository could put another one there, and the next run would sign it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinishedComponent {
    /// Describes what was captured and on what it is based; it must be equal for the component to be taken over.
    pub fingerprint: Digest,
    /// The manifest's record.
    pub record: ComponentRecord,
    /// Backups that the component refers to.
    pub depends_on: Vec<BackupId>,
    /// Digest of the local index copy.
    pub copy_sha256: Digest,
    /// Problems met, with their paths.
    pub problems: Vec<Problem>,
}

/// The local state folder of one repository.
#[derive(Clone, Debug)]
pub struct LocalState {
    dir: PathBuf,
    disk: Disk,
}

impl LocalState {
    /// The state of `repository_id` under the state folder.
    #[must_use]
    pub fn new(state_dir: &Path, repository_id: &str, disk: Disk) -> Self {
        Self { dir: state_dir.join(repository_id), disk }
    }

    /// The head that this host last wrote, if it remembers one.
    pub fn head(&self) -> Result<Option<Head>> {
        self.read("head.json")
    }

    /// Remembers a new head and forgets the index copies of all other backups.
    pub fn set_head(&self, head: &Head) -> Result<()> {
        self.disk.make_dirs(&self.dir)?;
        self.disk.replace(&self.dir.join("head.json"), &pretty_json(head)?)?;
        self.forget_copies_but(&head.id)
    }

    /// Forgets index copies of backups other than `keep`.
    pub fn forget_copies_but(&self, keep: &BackupId) -> Result<()> {
        let Ok(names) = std::fs::read_dir(&self.dir) else { return Ok(()) };
        for item in names.flatten() {
            let id = item.file_name().to_str().and_then(|n| n.parse::<BackupId>().ok());
            if id.is_some_and(|id| id != *keep) && item.path().is_dir() {
                self.disk.remove_dir_all(&item.path())?;
            }
        }
        Ok(())
    }

    /// Folder for the index copies of a backup.
    #[must_use]
    pub fn copies_dir(&self, id: &BackupId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// The folder for the copies of a new backup, made if it is not there.
    pub fn make_copies_dir(&self, id: &BackupId) -> Result<PathBuf> {
        let dir = self.copies_dir(id);
        self.disk.make_dirs(&dir)?;
        Ok(dir)
    }

    /// Describes the finished copies of a backup, before it is published.
    pub fn describe_copies(&self, id: &BackupId, record: &LocalRecord) -> Result<()> {
        self.disk.replace(&self.copies_dir(id).join("copies.json"), &pretty_json(record)?)
    }

    /// The description of the copies of exactly the backup with this digest, if there is one.
    pub fn copies_of(&self, id: &BackupId, sums_sha256: Digest) -> Option<LocalRecord> {
        let bytes = read_small(&self.copies_dir(id).join("copies.json")).ok()?;
        let record: LocalRecord = serde_json::from_slice(&bytes).ok()?;
        (record.sums_sha256 == sums_sha256).then_some(record)
    }

    /// Notes that a component of the backup that is being made is finished.
    pub fn note_finished(&self, id: &BackupId, component: &FinishedComponent) -> Result<()> {
        self.disk.replace(&self.copies_dir(id).join(finished_name(&component.record.name)), &pretty_json(component)?)
    }

    /// The note about a component, if there is one that can be read.
    #[must_use]
    pub fn finished(&self, id: &BackupId, component: &str) -> Option<FinishedComponent> {
        let bytes = read_small(&self.copies_dir(id).join(finished_name(component))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The copy of one component.
    #[must_use]
    pub fn copy(&self, id: &BackupId, component: &str) -> LocalIndex {
        LocalIndex::at(&self.copies_dir(id), component)
    }

    /// Signers pinned for this repository.
    pub fn pinned(&self) -> Result<Vec<SignerKey>> {
        let path = self.dir.join("signers");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = String::from_utf8(read_small(&path)?)
            .map_err(|_| Error::failed(format!("{} is not text", path.display())))?;
        text.lines().filter(|l| !l.trim().is_empty()).map(str::parse).collect()
    }

    /// Pins a signer in addition to those that are pinned.
    pub fn pin(&self, key: &SignerKey) -> Result<()> {
        let mut keys = self.pinned()?;
        if keys.contains(key) {
            return Ok(());
        }
        keys.push(key.clone());
        self.disk.make_dirs(&self.dir)?;
        let text: String = keys.iter().map(|k| format!("{k}\n")).collect();
        self.disk.replace(&self.dir.join("signers"), text.as_bytes())
    }

    /// Where the runs of applies are kept. Unlike all else here they cannot be deleted without loss: they hold what an
    /// apply replaced.
    #[must_use]
    pub fn runs_dir(&self) -> PathBuf {
        self.dir.join("runs")
    }

    /// A folder for what an apply needs while it runs; it is neither made nor removed here.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// Keeps other applies of this host away, until the guard is dropped.
    pub fn lock_applies(&self) -> Result<LockGuard> {
        self.disk.make_dirs(&self.dir)?;
        lock_file(&self.dir.join("apply.lock"), "another run is applying a backup of this repository, or undoing that")
    }

    /// When which backup was last verified without findings.
    pub fn verified(&self) -> Result<BTreeMap<BackupId, Moment>> {
        Ok(self.read("verified.json")?.unwrap_or_default())
    }

    /// Remembers a verification.
    pub fn set_verified(&self, ids: &[BackupId], now: Moment) -> Result<()> {
        let mut verified = self.verified().unwrap_or_default();
        verified.extend(ids.iter().map(|id| (id.clone(), now)));
        self.disk.make_dirs(&self.dir)?;
        self.disk.replace(&self.dir.join("verified.json"), &pretty_json(&verified)?)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.dir.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let about = || format!("cannot read {}", path.display());
        serde_json::from_slice(&read_small(&path)?).map(Some).map_err(|e| Error::failed(about()).because(e))
    }
}

fn finished_name(component: &str) -> String {
    format!("{component}.finished.json")
}
