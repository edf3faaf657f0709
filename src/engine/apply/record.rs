//! The runs of applies that this host remembers: what was applied, how far it came, and what it replaced.
//!
//! `<state>/<repository>/runs/<run>/run.json`, and beside it a folder a component with its steps and pre-images. A run is
//! noted durably before it touches anything, so that one that was killed can be undone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::durable::Disk;
use crate::error::{Context as _, Error, Hint, Kind, Result};
use crate::model::{BackupId, Moment, pretty_json};
use crate::repo::read_small;

/// Name of a run: a UTC second, as that of a backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(BackupId);

impl FromStr for RunId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |_| Error::usage(format!("{text:?} is not the id of a run")).hint(Hint::ListRuns);
        text.parse().map(Self).map_err(bad)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a component came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Its turn has not come.
    Planned,
    /// It is being applied, or was when the run ended.
    Applying,
    /// It was applied, and not yet checked.
    Applied,
    /// It was applied, and everything is there.
    Checked,
    /// It was applied, and the check found differences.
    Differs,
    /// Applying or checking it failed.
    Failed,
    /// What it needs failed, so it was left alone.
    Skipped,
    /// A person has to apply it.
    Manual,
    /// What was replaced was put back.
    Undone,
    /// What was replaced was dropped: the run stands.
    Confirmed,
}

impl RunStatus {
    /// Whether something may have been replaced that can be put back.
    #[must_use]
    pub fn can_be_undone(self) -> bool {
        matches!(self, Self::Applying | Self::Applied | Self::Checked | Self::Differs | Self::Failed)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One component of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunComponent {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How far it came.
    pub status: RunStatus,
    /// Why, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run.
    pub id: RunId,
    /// The backup that was applied.
    pub backup: BackupId,
    /// When it began.
    pub started_at: Moment,
    /// Components, in the order in which they are applied.
    pub components: Vec<RunComponent>,
}

impl RunRecord {
    /// How far a component came.
    #[must_use]
    pub fn status_of(&self, name: &str) -> Option<RunStatus> {
        self.components.iter().find(|component| component.name == name).map(|component| component.status)
    }

    /// Whether it ended, or was killed, in the middle of a component.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.components.iter().any(|component| matches!(component.status, RunStatus::Applying | RunStatus::Applied))
    }

    /// Whether something may have been replaced that can be put back.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        self.components.iter().any(|component| component.status.can_be_undone())
    }
}

const RECORD_FILE: &str = "run.json";
const STAGED: &str = ".staged-";

/// The folder of all runs.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    folder: PathBuf,
    disk: Disk,
}

impl Runs {
    pub(super) fn new(folder: PathBuf, disk: Disk) -> Self {
        Self { folder, disk }
    }

    /// All runs that can be read, oldest first.
    pub(super) fn list(&self) -> Result<Vec<RunRecord>> {
        // One that cannot be read hinders no other.
        let mut runs: Vec<_> = self.ids()?.iter().filter_map(|id| self.read(id).ok()).collect();
        runs.sort_by_key(|run| place(&run.id));
        Ok(runs)
    }

    fn ids(&self) -> Result<Vec<RunId>> {
        let items = match std::fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            items => items.at("cannot list", &self.folder)?,
        };
        let mut ids = Vec::new();
        for item in items {
            let name = item.at("cannot list", &self.folder)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        Ok(ids)
    }

    fn read(&self, id: &RunId) -> Result<RunRecord> {
        let path = self.folder_of(id).join(RECORD_FILE);
        let record: RunRecord = serde_json::from_slice(&read_small(&path)?)
            .map_err(|e| Error::failed(format!("{} cannot be read", path.display())).because(e))?;
        if record.id == *id { Ok(record) } else { Err(Error::failed(format!("{} is of another run", path.display()))) }
    }

    fn folder_of(&self, id: &RunId) -> PathBuf {
        self.folder.join(id.0.as_str())
    }

    /// Opens a run that is there.
    pub(super) fn open(&self, id: &RunId) -> Result<Run> {
        if !self.ids()?.contains(id) {
            let message = format!("this host knows no run {id} of an apply from this repository");
            return Err(Error::new(Kind::NotFound, message).hint(Hint::ListRuns));
        }
        Ok(Run { folder: self.folder_of(id), record: self.read(id)?, disk: self.disk.clone() })
    }

    /// Notes a new run, in one step. The caller keeps others away.
    pub(super) fn begin(&self, backup: &BackupId, components: Vec<RunComponent>, now: Moment) -> Result<Run> {
        self.disk.make_dirs(&self.folder)?;
        let ids = self.ids()?;
        let mut collision = 1;
        let id = loop {
            let id = RunId(BackupId::at(now, collision)?);
            if !ids.contains(&id) {
                break id;
            }
            collision += 1;
        };
        let record = RunRecord { id, backup: backup.clone(), started_at: now, components };
        let folder = self.folder_of(&record.id);
        let staged = self.folder.join(format!("{STAGED}{}", record.id));
        if staged.exists() {
            self.disk.remove_dir_all(&staged)?;
        }
        self.disk.make_dir(&staged)?;
        self.disk.write_new(&staged.join(RECORD_FILE), &pretty_json(&record)?)?;
        self.disk.sync_dir(&staged)?;
        self.disk.publish(&staged, &folder)?;
        Ok(Run { folder, record, disk: self.disk.clone() })
    }

    /// The runs after this one.
    pub(super) fn after(&self, id: &RunId) -> Result<Vec<RunRecord>> {
        Ok(self.list()?.into_iter().filter(|run| place(&run.id) > place(id)).collect())
    }
}

/// The order of runs.
fn place(id: &RunId) -> (Moment, u32) {
    (id.0.moment(), id.0.collision())
}

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    folder: PathBuf,
    pub(super) record: RunRecord,
    disk: Disk,
}

impl Run {
    /// Where the steps and pre-images of a component are.
    pub(super) fn folder_of(&self, component: &str) -> PathBuf {
        self.folder.join(component)
    }

    /// Notes durably how far a component came.
    pub(super) fn set(&mut self, component: &str, status: RunStatus, detail: Option<String>) -> Result<()> {
        if let Some(found) = self.record.components.iter_mut().find(|c| c.name == component) {
            (found.status, found.detail) = (status, detail);
        }
        self.disk.replace(&self.folder.join(RECORD_FILE), &pretty_json(&self.record)?)
    }

    /// Removes what was kept of a component.
    pub(super) fn drop_folder(&self, component: &str) -> Result<()> {
        let folder = self.folder_of(component);
        if is_there(&folder) { self.disk.remove_dir_all(&folder) } else { Ok(()) }
    }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
