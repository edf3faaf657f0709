//! The capture of a component: one database after the other, each a stream, and the inventory.

use std::os::unix::fs::MetadataExt as _;

use super::find::Database;
use super::inventory::{INVENTORY, Inventory, Record};
use super::snapshot::{Snapshot, SnapshotReader, Wanted};
use crate::error::{Context as _, Result, path_text};
use crate::model::{EntryPath, Problem, ProblemKind};
use crate::source::{Body, Facts, Object, Objects, SourceContext};

/// A capture that has begun.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    context: &'a SourceContext<'a>,
    left: std::vec::IntoIter<Database>,
    /// The one that is being read.
    current: Option<Snapshot>,
    inventory: Inventory,
    told: bool,
    facts: Facts,
}

impl<'a> Capture<'a> {
    pub(super) fn new(databases: Vec<Database>, context: &'a SourceContext<'a>) -> Self {
        let (inventory, facts) = (Inventory::default(), Facts::default());
        Self { context, left: databases.into_iter(), current: None, inventory, told: false, facts }
    }

    fn note(&mut self, database: &Database, snapshot: &Snapshot) {
        let record = Record::of(database, snapshot);
        let mut problem = |detail| {
            let path = database.object.escaped().into_owned();
            self.facts.problems.push(Problem { kind: ProblemKind::Unreadable, path, detail });
        };
        if let Some(facts) = snapshot.facts() {
            if facts.sound == Some(false) {
                problem(format!("the database is damaged, it was captured as it is: {}", facts.faults.join("; ")));
            }
            for (table, error) in &facts.uncounted {
                problem(format!("the rows of the table {table:?} cannot be counted: {error}"));
            }
        }
        let mut count = |name: &str, n: u64| *self.facts.counts.entry(name.to_owned()).or_default() += n;
        count("databases", 1);
        match &record.rows {
            Some(rows) => {
                count("tables", rows.len() as u64);
                count("rows", rows.values().sum());
            }
            None => count("databases not counted", 1),
        }
        if record.sound.is_none() {
            count("databases not checked", 1);
            let path = path_text(&database.path);
            self.context.monitor.note(&format!(
                "{path}: it was not checked to its end, for its writers would have waited; it is checked when it is put back"
            ));
        }
        self.inventory.databases.push(record);
    }
}

impl Objects for Capture<'_> {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        self.current = None;
        let Some(database) = self.left.next() else {
            if std::mem::replace(&mut self.told, true) {
                return Ok(None);
            }
            let path = EntryPath::new(INVENTORY.as_bytes())?;
            return Ok(Some(Object::new(path, Body::Bytes(self.inventory.to_json()?))));
        };
        let wanted = Wanted { scratch: self.context.scratch, facts: true, recover: true };
        let snapshot = Snapshot::open(&database.path, wanted)?;
        let metadata = snapshot.file().metadata().at("cannot stat", &database.path)?;
        self.note(&database, &snapshot);
        let snapshot = self.current.insert(snapshot);
        Ok(Some(Object {
            path: database.object,
            modified: None,
            mode: metadata.mode() & 0o7777,
            owner: Some((metadata.uid(), metadata.gid())),
            body: Body::Stream(Box::new(SnapshotReader::new(snapshot))),
        }))
    }

    fn finish(self: Box<Self>) -> Result<Facts> {
        Ok(self.facts)
    }
}
