//! The capture: each database as one stream, the globals, what was counted, the settings.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::archive::{ArchiveReader, SharedSummary, Summary, read_archive};
use super::base::SharedBase;
use super::catalog::{self, Database};
use super::globals::Globals;
use super::inventory::{DatabaseInventory, Inventory, dump_path};
use super::physical;
use super::session::Session;
use crate::config::Databases;
use crate::error::{Error, Kind, Result};
use crate::model::{EntryPath, Problem, ProblemKind, pretty_json};
use crate::source::{Body, Facts, Object, Objects};

/// The fact that is there when the passwords of the roles are not.
pub(super) const NO_PASSWORDS: &str = "role_passwords";

/// What comes next, in tree order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Base,
    Dump(usize),
    Globals,
    Inventory,
    Settings,
}

/// A capture that runs.
#[derive(Debug)]
pub(super) struct PostgresObjects<'a> {
    session: Session<'a>,
    /// In reverse.
    items: Vec<Item>,
    chosen: Vec<Database>,
    /// All that there were at the beginning.
    all: Vec<String>,
    /// The stream that was given last.
    running: Option<(usize, SharedSummary)>,
    base: Option<SharedBase>,
    inventory: Inventory,
    facts: Facts,
}

impl<'a> PostgresObjects<'a> {
    /// Looks at the server; an error when a capture cannot become whole.
    pub(super) fn begin(session: Session<'a>) -> Result<Self> {
        // Fails before anything is stored.
        for tool in ["pg_dump", "pg_dumpall"] {
            session.tool(tool)?;
        }
        let all = catalog::databases(&session)?;
        let names = all.iter().map(|database| database.name.clone()).collect();
        let mut facts = Facts { version: Some(session.server.version.clone()), ..Facts::default() };
        let mut left_out = BTreeMap::new();
        let mut chosen = choose(all, &session.config.databases)?;
        if session.config.databases == Databases::All {
            let before = chosen.len();
            chosen.retain(|database| !database.is_kept());
            if chosen.len() < before {
                let kept = (before - chosen.len()) as u64;
                facts.counts.insert("kept_for_undo".to_owned(), kept);
            }
        }
        chosen.retain(|database| {
            let Some(reason) = closed(database) else { return true };
            facts.problems.push(incomplete(&database.name, reason));
            left_out.insert(database.name.clone(), reason.to_owned());
            false
        });
        if chosen.is_empty() {
            return Err(Error::new(Kind::Incomplete, "there is no database that can be dumped"));
        }
        chosen.sort_by_key(|database| dump_path(&database.name));
        let mut items = vec![Item::Settings, Item::Inventory, Item::Globals];
        items.extend((0..chosen.len()).rev().map(Item::Dump));
        items.extend(session.config.physical.then_some(Item::Base));
        let inventory = Inventory {
            version: 1,
            server_version_num: session.server.version_num,
            server_version: session.server.version.clone(),
            system_identifier: session.server.system_identifier.clone(),
            databases: Vec::new(),
            left_out,
        };
        Ok(Self { session, items, chosen, all: names, running: None, base: None, inventory, facts })
    }

    /// Takes what the last stream counted. It must have been read to its end.
    fn settle_last(&mut self) -> Result<()> {
        let Some((at, summary)) = self.running.take() else { return Ok(()) };
        let summary = summary.lock().unwrap_or_else(PoisonError::into_inner).take();
        let database = self.chosen.get(at).cloned().unwrap_or_default();
        let unread = || Error::failed(format!("the dump of the database {} was not read to its end", database.name));
        let summary = summary.ok_or_else(unread)?;
        let extensions = catalog::extensions(&self.session, &database.name)?;
        for words in catalog::hidden(&self.session, &database.name)? {
            let detail = format!("the dump lacks {words}");
            self.facts.problems.push(incomplete(&database.name, &detail));
        }
        self.count(&summary);
        self.inventory.databases.push(DatabaseInventory::new(database, extensions, &summary));
        Ok(())
    }

    fn count(&mut self, summary: &Summary) {
        let counts = [
            ("databases", 1),
            ("tables", summary.tables.len() as u64),
            ("rows", summary.rows()),
            ("sequences", summary.sequences.len() as u64),
            ("large_objects", summary.large_objects),
            ("extensions", summary.extensions.len() as u64),
        ];
        for (name, count) in counts {
            *self.facts.counts.entry(name.to_owned()).or_default() += count;
        }
        self.facts.facts.insert("pg_dump".to_owned(), summary.tool.clone());
    }

    fn dump(&mut self, at: usize) -> Result<Body<'_>> {
        let name = &self.chosen.get(at).map(|database| database.name.clone()).unwrap_or_default();
        let reader = ArchiveReader::new(dump_stream(&self.session, name)?);
        self.running = Some((at, reader.summary()));
        Ok(Body::Stream(Box::new(reader)))
    }

    fn globals(&mut self) -> Result<Vec<u8>> {
        let script = self.session.globals()?;
        let globals = Globals::parse(&script)?;
        let roles = globals.roles().count() as u64;
        if roles == 0 {
            return Err(Error::new(Kind::Incomplete, "the globals name no role, but every server has one"));
        }
        self.facts.counts.insert("roles".to_owned(), roles);
        if !self.session.may_read_passwords()? {
            self.facts.facts.insert(NO_PASSWORDS.to_owned(), "not readable, left out".to_owned());
            let detail = format!(
                "passwords of the roles are left out: the role {} may not read pg_catalog.pg_authid (GRANT SELECT on it, or \
                 membership of pg_read_all_data, lets it)",
                self.session.server.role
            );
            let kind = ProblemKind::Other("incomplete".into());
            self.facts.problems.push(Problem { kind, path: "globals.sql".to_owned(), detail });
        }
        Ok(script.into_bytes())
    }

    /// An error when a database came, went or got another name meanwhile: then the list is not what there is.
    fn compare_list(&self) -> Result<()> {
        let now: Vec<String> = catalog::databases(&self.session)?.into_iter().map(|database| database.name).collect();
        if now == self.all {
            return Ok(());
        }
        let changed = now.iter().filter(|name| !self.all.contains(name)).count()
            + self.all.iter().filter(|name| !now.contains(name)).count();
        let message = format!("{changed} databases were made or dropped while the others were dumped");
        Err(Error::new(Kind::Incomplete, message).hint("capture again; a capture is good only if the list stays"))
    }
}

/// The dump of one database as it comes: the custom format, not compressed.
pub(super) fn dump_stream<'a>(session: &Session<'a>, database: &str) -> Result<crate::process::Stream<'a>> {
    let program = session.tool("pg_dump")?;
    let doing = format!("pg_dump of the database {database}");
    let command = session.command(&program, database, &doing, &["bytea_output=hex"])?;
    let wait = format!("--lock-wait-timeout={}", session.config.lock_timeout.as_millis());
    command.args(["-Fc", "-Z0", &wait]).stream(&[])
}

/// What a dump of a living database holds now.
pub(super) fn summary_of(session: &Session<'_>, database: &str) -> Result<Summary> {
    read_archive(dump_stream(session, database)?)
}

fn choose(all: Vec<Database>, wanted: &Databases) -> Result<Vec<Database>> {
    let Databases::Named(names) = wanted else { return Ok(all) };
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|database| database.name == **name)) {
        let known: Vec<_> = all.iter().map(|database| database.name.as_str()).collect();
        return Err(Error::new(Kind::NotFound, format!("there is no database {missing:?}"))
            .hint(format!("there are {}", known.join(", "))));
    }
    Ok(all.into_iter().filter(|database| names.contains(&database.name)).collect())
}

/// Why a database cannot be dumped at all.
fn closed(database: &Database) -> Option<&'static str> {
    if database.connection_limit == -2 {
        return Some("its removal was begun and did not end (DROP DATABASE was interrupted)");
    }
    (!database.allow_connections).then_some("it allows no connections, so nothing can read it (datallowconn = false)")
}

fn incomplete(database: &str, detail: &str) -> Problem {
    let path = crate::model::escape_path(dump_path(database).as_bytes()).into_owned();
    Problem { kind: ProblemKind::Other("incomplete".into()), path, detail: detail.to_owned() }
}

impl Objects for PostgresObjects<'_> {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        self.settle_last()?;
        let Some(item) = self.items.pop() else { return Ok(None) };
        let (path, body) = match item {
            Item::Base => {
                let (reader, base) = physical::base_stream(&self.session)?;
                self.base = Some(base);
                ("base.tar".to_owned(), Body::Stream(reader))
            }
            Item::Dump(at) => {
                let path = dump_path(&self.chosen.get(at).map(|d| d.name.clone()).unwrap_or_default());
                (path, self.dump(at)?)
            }
            Item::Globals => ("globals.sql".to_owned(), Body::Bytes(self.globals()?)),
            Item::Inventory => {
                self.compare_list()?;
                ("inventory.json".to_owned(), Body::Bytes(pretty_json(&self.inventory)?))
            }
            Item::Settings => {
                ("settings.json".to_owned(), Body::Bytes(pretty_json(&catalog::settings(&self.session)?)?))
            }
        };
        Ok(Some(Object::new(EntryPath::new(path.into_bytes())?, body)))
    }

    fn finish(mut self: Box<Self>) -> Result<Facts> {
        self.settle_last()?;
        if !self.items.is_empty() {
            return Err(Error::failed("not all of the server was captured"));
        }
        let end = self.session.look()?;
        if end.system_identifier != self.session.server.system_identifier {
            return Err(Error::new(Kind::Incomplete, "another server answers than at the beginning of the capture"));
        }
        let begin = &self.session.server;
        let mut note = |key: &str, value: Option<String>| {
            self.facts.facts.extend(value.map(|value| (key.to_owned(), value)));
        };
        note("system_identifier", Some(begin.system_identifier.clone()));
        note("lsn_begin", begin.lsn.clone());
        note("lsn_end", end.lsn);
        note("consistency", Some("one snapshot a database, none over all of them".to_owned()));
        if let Some(base) = self.base.take() {
            physical::note(&base, &mut self.facts)?;
        }
        Ok(self.facts)
    }
}
