//! `inventory.json`: what the dumps of one capture hold, counted while they streamed, and what no dump says.
//!
//! Equal when nothing changed: positions in logs and times are in the manifest, not here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::archive::Summary;
use super::catalog::Database;
use super::names::file_stem;
use crate::error::{Error, Result};

/// Largest inventory that is read.
pub(super) const MAX_INVENTORY_BYTES: u64 = 1 << 30;

/// What a capture holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    /// Of this document: 1.
    pub(super) version: u32,
    /// 150018 for 15.18.
    pub(super) server_version_num: u32,
    /// The server's version as text.
    pub(super) server_version: String,
    /// Number of the cluster.
    pub(super) system_identifier: String,
    /// What was dumped, by name.
    pub(super) databases: Vec<DatabaseInventory>,
    /// What was not dumped, and why.
    pub(super) left_out: BTreeMap<String, String>,
}

/// One database that was dumped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DatabaseInventory {
    /// Its catalog entry.
    #[serde(flatten)]
    pub(super) database: Database,
    /// Where its dump is.
    pub(super) file: String,
    /// Extensions with their versions.
    pub(super) extensions: BTreeMap<String, String>,
    /// Tables with their rows.
    pub(super) tables: Vec<TableInventory>,
    /// Sequences with the arguments of their `setval`.
    pub(super) sequences: Vec<SequenceInventory>,
    /// How many large objects.
    pub(super) large_objects: u64,
    /// Their bytes.
    pub(super) large_object_bytes: u64,
    /// Of their content.
    pub(super) large_object_digest: String,
    /// How many objects of each kind.
    pub(super) objects: BTreeMap<String, u64>,
    /// What makes the database and sets its properties.
    pub(super) sql: Vec<String>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableInventory {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) rows: u64,
    /// Of its rows in any order.
    pub(super) digest: String,
}

/// A sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SequenceInventory {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) value: String,
}

/// The path of a database's dump.
pub(super) fn dump_path(database: &str) -> String {
    format!("databases/{}.dump", file_stem(database))
}

impl DatabaseInventory {
    /// From what streamed by.
    pub(super) fn new(database: Database, extensions: BTreeMap<String, String>, summary: &Summary) -> Self {
        let mut objects = BTreeMap::new();
        for name in summary.objects.keys() {
            *objects.entry(name.kind.clone()).or_default() += 1;
        }
        let tables = summary.tables.iter().map(|((schema, name), table)| TableInventory {
            schema: schema.clone(),
            name: name.clone(),
            rows: table.rows,
            digest: table.digest.to_string(),
        });
        let sequences = summary.sequences.iter().map(|((schema, name), value)| SequenceInventory {
            schema: schema.clone(),
            name: name.clone(),
            value: value.clone(),
        });
        Self {
            file: dump_path(&database.name),
            extensions,
            tables: tables.collect(),
            sequences: sequences.collect(),
            large_objects: summary.large_objects,
            large_object_bytes: summary.large_object_bytes,
            large_object_digest: summary.large_object_digest.to_string(),
            objects,
            sql: summary.database_sql.iter().map(|sql| sql.sql.clone()).collect(),
            database,
        }
    }

    /// An error unless the archive holds what was counted when it was made.
    pub(super) fn compare(&self, summary: &Summary) -> Result<()> {
        let found = Self::new(self.database.clone(), self.extensions.clone(), summary);
        if found == *self {
            return Ok(());
        }
        Err(Error::damage(format!("{} does not hold what the inventory of its capture says", self.file)))
    }
}
