//! One capture as a backup holds it: dumps, globals, inventory. Nothing of it is used before it was read to its end.

use super::archive::{Summary, read_archive};
use super::capture::NO_PASSWORDS;
use super::globals::{Globals, MAX_GLOBALS_BYTES};
use super::inventory::{DatabaseInventory, Inventory, MAX_INVENTORY_BYTES};
use crate::error::{Error, Kind, Result};
use crate::model::{Entry, EntryPath};
use crate::source::Contents;

/// What a backup holds of a server.
#[derive(Debug)]
pub(super) struct Backup<'a> {
    contents: &'a dyn Contents,
    pub(super) inventory: Inventory,
    pub(super) globals: Globals,
    /// The cluster as files, if it was captured so.
    pub(super) base: Option<Entry>,
}

impl<'a> Backup<'a> {
    /// Reads the documents.
    pub(super) fn open(contents: &'a dyn Contents) -> Result<Self> {
        let document = |path: &str, max| -> Result<Vec<u8>> { contents.read(&entry(contents, path)?, max) };
        let inventory: Inventory = serde_json::from_slice(&document("inventory.json", MAX_INVENTORY_BYTES)?)
            .map_err(|e| Error::damage("the inventory of PostgreSQL cannot be read").because(e))?;
        if inventory.version != 1 {
            let message = format!("the inventory of PostgreSQL has version {}, understood is 1", inventory.version);
            return Err(Error::new(Kind::NewerFormat, message));
        }
        let globals = String::from_utf8(document("globals.sql", MAX_GLOBALS_BYTES)?)
            .map_err(|e| Error::damage("the globals of PostgreSQL are not UTF-8").because(e))?;
        let base = contents.find(&EntryPath::new(&b"base.tar"[..])?)?;
        Ok(Self { contents, inventory, globals: Globals::parse(&globals)?, base })
    }

    /// What was captured of the server's settings; none in a backup without.
    pub(super) fn settings(&self) -> Result<Option<serde_json::Value>> {
        let Some(entry) = self.contents.find(&EntryPath::new(&b"settings.json"[..])?)? else { return Ok(None) };
        let settings = serde_json::from_slice(&self.contents.read(&entry, MAX_INVENTORY_BYTES)?);
        settings.map(Some).map_err(|e| Error::damage("the settings of PostgreSQL cannot be read").because(e))
    }

    /// Whether the passwords of roles are in the globals, for those that have one.
    pub(super) fn has_passwords(&self) -> bool {
        !self.contents.facts().facts.contains_key(NO_PASSWORDS)
    }

    /// The dump of a database as a stream; its end comes only when its digest is right.
    pub(super) fn dump(&self, database: &DatabaseInventory) -> Result<Box<dyn std::io::Read + Send + 'a>> {
        self.contents.open(&entry(self.contents, &database.file)?)
    }

    /// Reads the dump of a database to its end and says what it holds; an error unless that is what was captured.
    pub(super) fn verify(&self, database: &DatabaseInventory) -> Result<Summary> {
        let about = |e: Error| e.within(format!("the dump of the database {} is not whole", database.database.name));
        let summary = self.dump(database).and_then(read_archive).map_err(about)?;
        database.compare(&summary)?;
        Ok(summary)
    }
}

fn entry(contents: &dyn Contents, path: &str) -> Result<Entry> {
    let found = contents.find(&EntryPath::new(path.as_bytes())?)?;
    found.ok_or_else(|| Error::new(Kind::Incomplete, format!("the backup of PostgreSQL has no {path}")))
}
