//! What an apply replaces, as it is noted before it is done.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::source::UndoStep;

/// What an apply replaces, as it is noted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub(super) enum Step {
    /// All keys and functions of a server; `before` is an RDB in the undo folder.
    Data { server: String, before: String },
    /// A server that is about to be told to fetch its data `from` an address of ours: until it is freed it is a replica of nobody.
    Fetch { server: String, from: String },
    /// The same as `Data` of all masters of a cluster.
    Cluster { before: Vec<String> },
    /// A user, whose line was `before`.
    User { server: String, name: String, before: Option<String> },
    /// Files of a stopped server: `placed` is new, `moved` went aside.
    Files { folder: PathBuf, placed: String, moved: Vec<Moved> },
}

/// A file or folder that got another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    pub(super) name: String,
    pub(super) aside: String,
}

impl Step {
    /// As it is noted.
    pub(super) fn to_value(&self) -> Result<UndoStep> {
        serde_json::to_value(self).map_err(|e| Error::failed("cannot note a step").because(e))
    }

    /// As it was noted.
    pub(super) fn of(step: &UndoStep) -> Result<Self> {
        let unclear = "a step of the restore that is to be undone cannot be read";
        serde_json::from_value(step.clone()).map_err(|e| Error::failed(unclear).because(e))
    }
}
