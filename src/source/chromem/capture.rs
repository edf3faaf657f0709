//! Gives the files of a store to the engine, and after those of each collection its inventory.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{StoreReader, is_inventory, is_of_chromem, judge};
use super::survey::MAX_INVENTORY;
use super::words::conditions;
use crate::error::{Error, Kind, Result};
use crate::model::{EntryPath, Problem, ProblemKind, Timestamp};
use crate::source::settled::{Known, Settled};
use crate::source::{Body, Facts, Object, Objects, SourceContext};
use crate::vectorstore::{Collection, FileFacts, Health, INVENTORY_NAME, Inventory};

/// A capture that has begun.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    settled: Settled<FileFacts>,
    /// What is still to be given, in tree order; true for an inventory.
    left: std::collections::btree_map::IntoIter<EntryPath, bool>,
    /// Folders whose inventory was given.
    told: BTreeSet<Vec<u8>>,
    problems: Vec<Problem>,
    context: &'a SourceContext<'a>,
}

impl<'a> Capture<'a> {
    pub(super) fn new(settled: Settled<FileFacts>, context: &'a SourceContext<'a>) -> Result<Self> {
        let mut problems = Vec::new();
        let mut left: BTreeMap<_, _> = settled.files.keys().map(|path| (path.clone(), false)).collect();
        let store = judge(&settled);
        for collection in &store.collections {
            let path = EntryPath::new(collection.folder.clone())?.join(INVENTORY_NAME.as_bytes())?;
            if let Some(theirs) = settled.files.get(&path)
                && !is_ours(&settled, &path)
            {
                problems.push(Problem {
                    kind: ProblemKind::Unsupported,
                    path: path.escaped().into_owned(),
                    detail: format!(
                        "{} bytes of somebody else lie where the inventory of the backup goes",
                        theirs.stamp.map_or(0, |stamp| stamp.size)
                    ),
                });
            }
            left.insert(path, true);
        }
        for condition in conditions(&store) {
            context.monitor.note(&format!("{}: {condition}; it is captured as it is", context.component));
        }
        if !settled.still {
            let text = "was written to all the time; each file is whole, but not all are of the same moment";
            context.monitor.note(&format!("{}: {text}", context.component));
        }
        Ok(Self { settled, left: left.into_iter(), told: BTreeSet::new(), problems, context })
    }

    /// A collection by what is known now.
    fn collection(&self, folder: &EntryPath) -> Collection {
        Collection::judge(folder.as_bytes(), self.files(folder).map(|(path, known)| (path.name(), &known.facts)))
    }

    /// The files that lie in a folder, not deeper.
    fn files(&self, folder: &EntryPath) -> impl Iterator<Item = (&EntryPath, &Known<FileFacts>)> {
        let below = self.settled.files.range(folder..).skip_while(move |(path, _)| *path == folder);
        let below = below.take_while(move |(path, _)| path.is_below(folder));
        below.filter(move |(path, _)| path.parent() == Some(folder.as_bytes()))
    }

    fn inventory(&mut self, path: EntryPath) -> Result<Object<'static>> {
        let folder = EntryPath::new(path.parent().unwrap_or_default())?;
        let bytes = Inventory::of(&self.collection(&folder)).bytes()?;
        // As old as the newest file that it tells of.
        let files = self.files(&folder).filter(|(file, _)| !is_inventory(file));
        let modified: Option<Timestamp> = files.filter_map(|(_, known)| known.stamp).map(|stamp| stamp.mtime).max();
        self.told.insert(folder.as_bytes().to_vec());
        Ok(Object { modified, ..Object::new(path, Body::Bytes(bytes)) })
    }
}

/// Whether an inventory that lies in a store was brought there by hand from a backup.
fn is_ours(settled: &Settled<FileFacts>, path: &EntryPath) -> bool {
    let open = settled.root.open_file(path);
    let mut bytes = Vec::new();
    let read =
        open.and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_INVENTORY), &mut bytes));
    read.is_ok() && Inventory::parse(&bytes).is_ok()
}

impl Objects for Capture<'_> {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        while let Some((path, inventory)) = self.left.next() {
            self.context.monitor.check()?;
            if inventory {
                return self.inventory(path).map(Some);
            }
            let digest = |settled: &Settled<FileFacts>| settled.files.get(&path).and_then(|known| known.digest);
            let before = digest(&self.settled);
            let object = self.settled.object(&path, &StoreReader, self.context.monitor)?;
            let told = is_of_chromem(&path) && path.parent().is_some_and(|folder| self.told.contains(folder));
            if told && digest(&self.settled) != before {
                return Err(Error::new(Kind::Incomplete, format!("{path} was written to while it was captured")));
            }
            if object.is_some() {
                return Ok(object);
            }
        }
        Ok(None)
    }

    fn finish(mut self: Box<Self>) -> Result<Facts> {
        let store = judge(&self.settled);
        let mut facts = Facts::default();
        let mut count = |name: &str, number: u64| {
            facts.counts.insert(name.to_owned(), number);
        };
        count("collections", store.collections.len() as u64);
        for health in [Health::Healthy, Health::Corrupt, Health::Empty, Health::Quarantined] {
            count(health.name(), store.count(health));
        }
        count("documents", store.documents());
        count("unreadable", store.collections.iter().map(|collection| collection.unreadable.len() as u64).sum());
        count("files", self.settled.files.keys().filter(|path| !is_inventory(path)).count() as u64);
        let health = if store.count(Health::Corrupt) == 0 { "healthy" } else { "degraded" };
        let mut fact = |name: &str, value: &str| drop(facts.facts.insert(name.to_owned(), value.to_owned()));
        fact("health", health);
        if !self.settled.still {
            fact("written_meanwhile", "yes");
        }
        if self.settled.arrived > 0 {
            fact("arrived_meanwhile", &self.settled.arrived.to_string());
        }
        facts.problems = std::mem::take(&mut self.problems);
        facts.problems.append(&mut self.settled.problems);
        Ok(facts)
    }
}
