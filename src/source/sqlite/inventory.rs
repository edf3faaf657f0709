//! `inventory.json`: what was in each database when it was captured.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::find::Database;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::model::{EntryPath, escape_path, pretty_json};
use crate::source::Contents;

/// Its path in the backup; comes after all databases.
pub(super) const INVENTORY: &str = "inventory.json";

/// Longest inventory that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// All databases of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    pub(super) databases: Vec<Record>,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Where it was, escaped.
    path: String,
    /// Where it is in the backup, escaped.
    object: String,
    pub(super) bytes: u64,
    pub(super) page_bytes: u64,
    pub(super) journal_mode: String,
    /// What `integrity_check` said; none when there was no time to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sound: Option<bool>,
    /// Rows by table; none when there was no time to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<BTreeMap<String, u64>>,
}

impl Record {
    pub(super) fn of(database: &Database, snapshot: &Snapshot) -> Self {
        let facts = snapshot.facts();
        Self {
            path: escape_path(database.path.as_os_str().as_encoded_bytes()).into_owned(),
            object: database.object.escaped().into_owned(),
            bytes: snapshot.bytes(),
            page_bytes: snapshot.page_bytes(),
            journal_mode: snapshot.mode().to_owned(),
            sound: facts.and_then(|f| f.sound),
            rows: facts.and_then(|f| f.rows.clone()),
        }
    }

    /// Where it was and where it is in the backup. An inventory in which the two do not belong together is refused: what is
    /// overwritten is what the backup says.
    pub(super) fn database(&self) -> Result<Database> {
        let refused = || Error::damage(format!("{INVENTORY} names the impossible path {:?}", self.path));
        let escaped = self.path.strip_prefix('/').ok_or_else(refused)?;
        let below = EntryPath::from_escaped(escaped).map_err(|e| refused().because(e))?;
        let path = PathBuf::from(std::ffi::OsString::from_vec([b"/", below.as_bytes()].concat()));
        let object = super::find::object_of(&path)?;
        if object.escaped() != self.object { Err(refused()) } else { Ok(Database { path, object }) }
    }
}

impl Inventory {
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        pretty_json(self)
    }

    /// The inventory of a backup.
    pub(super) fn of(contents: &dyn Contents) -> Result<Self> {
        let path = EntryPath::new(INVENTORY.as_bytes())?;
        let entry = contents.find(&path)?.ok_or_else(|| Error::damage(format!("the backup has no {INVENTORY}")))?;
        let bytes = contents.read(&entry, MAX_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::damage(format!("{INVENTORY} cannot be read")).because(e))
    }
}
