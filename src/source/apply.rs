//! Plan, apply, check, undo: how a component goes back into a living service.
//!
//! A plan is a value: what was shown of it is what [`ApplyPlan::apply`] does. Whatever is replaced can be put back: what that
//! takes is noted durably before it is done.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::Disk;
use crate::error::{Error, Result};
use crate::model::{EntryPath, escape_path, pretty_json};

/// How a component is to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Replace what is there and differs; else that is a conflict, and nothing of the component is applied.
    pub overwrite: bool,
}

/// What an apply does with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// It is not there, and is made.
    Create,
    /// It is there and differs; what is there is kept for an undo.
    Replace,
    /// It is there as it was captured.
    Equal,
    /// It is there and differs, and nobody said that it may be replaced.
    Conflict,
    /// A person has to do it.
    Manual,
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Equal => "equal",
            Self::Conflict => "conflict",
            Self::Manual => "manual",
        })
    }
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What is done.
    pub kind: ActionKind,
    /// The object by a name that a person knows: `database app`, `role "web"`, `/srv/app`.
    pub object: String,
    /// Counts, sizes, or for [`ActionKind::Manual`] and [`ActionKind::Conflict`] the reason.
    pub detail: String,
    /// How a person does it by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Action {
    /// A line without a command.
    #[must_use]
    pub fn new(kind: ActionKind, object: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, object: object.into(), detail: detail.into(), command: None }
    }

    /// Adds the way by hand.
    #[must_use]
    pub fn by_hand(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }
}

/// What an apply would do, and the means to do it.
pub trait ApplyPlan: fmt::Debug {
    /// All that concerns the component, in the order in which it is done.
    fn actions(&self) -> &[Action];

    /// Does what `actions` says: beside the old, checked, then swapped in. The engine does not call it when there is a
    /// conflict. When it fails, what was noted in `undo` is what has to be put back.
    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()>;
}

/// How a comparison of the living service with the archive ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Objects and counts that were compared.
    pub compared: u64,
    /// Where they differ; none means that all is there.
    pub differences: Vec<Difference>,
}

impl Checked {
    /// Compares one count or digest.
    pub fn compare<T: PartialEq + fmt::Display>(&mut self, object: impl Into<String>, archived: &T, living: &T) {
        self.compared += 1;
        if archived != living {
            let detail = format!("the backup has {archived}, the service has {living}");
            self.differences.push(Difference { object: object.into(), detail });
        }
    }

    /// Notes a difference.
    pub fn differs(&mut self, object: impl Into<String>, detail: impl Into<String>) {
        self.compared += 1;
        self.differences.push(Difference { object: object.into(), detail: detail.into() });
    }
}

/// One object that is not as it was captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The object, as in [`Action::object`].
    pub object: String,
    /// What was expected and what is there.
    pub detail: String,
}

/// An absolute path in a step: names need not be UTF-8.
pub(crate) fn path_in_step(path: &Path) -> String {
    escape_path(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// The path that [`path_in_step`] wrote.
pub(crate) fn path_of_step(text: &str) -> Result<PathBuf> {
    let below = text.strip_prefix('/').map(EntryPath::from_escaped);
    let below = below.ok_or_else(|| Error::failed(format!("a note of an apply names {text:?}, which is no path")))?;
    Ok(Path::new("/").join(below?.as_os_str()))
}

/// What one step of an apply is about to replace, and how that is put back; the source that wrote it reads it.
pub type UndoStep = serde_json::Value;

/// The notes of one component in one run of an apply: durable before the step that they describe.
#[derive(Debug)]
pub struct UndoLog {
    folder: PathBuf,
    disk: Disk,
    steps: Vec<UndoStep>,
}

/// Name of the file of steps in the folder of a component.
const STEPS_FILE: &str = "steps.json";

impl UndoLog {
    /// Notes of a component below `folder`, which is made; those of a run that was cut short are kept.
    pub fn open(folder: &Path, disk: &Disk) -> Result<Self> {
        disk.make_dirs(folder)?;
        Ok(Self { folder: folder.to_owned(), disk: disk.clone(), steps: Self::read(folder)? })
    }

    /// The steps that were noted in `folder`, in their order; none when there is no file.
    pub fn read(folder: &Path) -> Result<Vec<UndoStep>> {
        let path = folder.join(STEPS_FILE);
        match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::failed(format!("cannot read {}", path.display())).because(e)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::failed(format!("{} cannot be read", path.display())).because(e)),
        }
    }

    /// A folder for pre-images, which only this user can read. It stays until the run is undone or forgotten.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The door to durable files.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Notes a step that is about to be done. When this returns the note is on the disk.
    pub fn note(&mut self, step: UndoStep) -> Result<()> {
        self.steps.push(step);
        self.disk.replace(&self.folder.join(STEPS_FILE), &pretty_json(&self.steps)?)
    }
}
