//! What a backup says of each collection: `inventory.json` in its folder, which chromem-go passes over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::collection::{Collection, Health};
use crate::error::{Error, Result};
use crate::model::{Digest, escape_path, pretty_json};

/// Name of the file.
pub const INVENTORY_NAME: &str = "inventory.json";
/// Who wrote it: tells it from a file of that name that belongs to somebody else.
const WRITTEN_BY: &str = "ccbackup";

/// A collection as it was captured. Equal collections give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    written_by: String,
    version: u32,
    /// The collection's name, escaped where it is not plain text; none where nobody can read it.
    pub name: Option<String>,
    /// Its folder below the store, escaped.
    pub folder: String,
    /// How it is.
    pub health: Health,
    /// Why it cannot be loaded: the names of the reasons.
    pub reasons: Vec<String>,
    /// The same in words.
    pub state: String,
    /// Whether it belongs to a compressed store.
    pub compressed: bool,
    /// Documents that can be read.
    pub documents: u64,
    /// How many documents have how many dimensions.
    pub dimensions: BTreeMap<usize, u64>,
    /// Files that cannot be read, and why.
    pub unreadable: Vec<UnreadableFile>,
    /// Documents whose file has another name than their id asks for.
    pub misnamed: u64,
    /// Digest of all that metadata and documents say.
    pub digest: Digest,
    /// Digest of ids and vectors alone.
    pub embeddings: Digest,
}

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableFile {
    /// Its name, escaped.
    pub file: String,
    /// `empty`, `truncated`, `malformed`, `too-large` or `unread`.
    pub reason: String,
}

impl Inventory {
    /// Of a collection.
    #[must_use]
    pub fn of(collection: &Collection) -> Self {
        let text = |bytes: &[u8]| escape_path(bytes).into_owned();
        let unreadable = collection.unreadable.iter();
        Self {
            written_by: WRITTEN_BY.to_owned(),
            version: 1,
            name: collection.name.as_deref().map(text),
            folder: text(&collection.folder),
            health: collection.health,
            reasons: collection.reasons.iter().map(|reason| reason.name().to_owned()).collect(),
            state: collection.state(),
            compressed: collection.compressed,
            documents: collection.documents,
            dimensions: collection.dimensions.clone(),
            unreadable: unreadable
                .map(|(file, why)| UnreadableFile { file: text(file), reason: why.name().to_owned() })
                .collect(),
            misnamed: collection.misnamed,
            digest: collection.digest,
            embeddings: collection.embeddings,
        }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        pretty_json(self)
    }

    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = || Error::damage(format!("{INVENTORY_NAME} is not one of a collection"));
        let inventory: Self = serde_json::from_slice(bytes).map_err(|e| bad().because(e))?;
        if inventory.written_by == WRITTEN_BY { Ok(inventory) } else { Err(bad()) }
    }

    /// Where another one differs in what matters, in words; empty when they say the same.
    #[must_use]
    pub fn differences(&self, living: &Self) -> Vec<String> {
        let name = |inventory: &Self| inventory.name.clone().unwrap_or_else(|| "no name".to_owned());
        let lines = [
            ("name", name(self), name(living)),
            ("health", self.health.name().to_owned(), living.health.name().to_owned()),
            ("documents", self.documents.to_string(), living.documents.to_string()),
            ("unreadable files", self.unreadable.len().to_string(), living.unreadable.len().to_string()),
            ("digest of ids and vectors", self.embeddings.to_string(), living.embeddings.to_string()),
            ("digest of all", self.digest.to_string(), living.digest.to_string()),
        ];
        let differing = lines.into_iter().filter(|(_, archived, living)| archived != living);
        differing.map(|(what, archived, living)| format!("{what}: {archived} in the backup, {living} there")).collect()
    }
}
