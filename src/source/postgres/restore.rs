//! One database beside the living one: made from `template0`, filled by `pg_restore`, dumped again and compared.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::archive::{SearchPath, Summary};
use super::backup::Backup;
use super::capture::summary_of;
use super::catalog::{Database, find_database};
use super::compare::{Scope, compare, in_words};
use super::inventory::DatabaseInventory;
use super::names::{identifier, literal, with_suffix};
use super::session::Session;
use super::sql::statements;
use crate::error::{Error, Kind, Result};
use crate::keys::random;
use crate::source::Checked;

/// What stands in the comment of a database that is being filled: nobody else's is ever dropped.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// The same for all runs of one component on one host, which do not run at once: what one left the next takes away.
    ours: String,
    /// The whole of it: this run's alone.
    pub(super) text: String,
}

impl Mark {
    /// A new one for a run.
    pub(super) fn new(component: &str) -> Result<Self> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut number = [0; 8];
        random(&mut number)?;
        let ours = format!("ccbackup: is being restored by {component} on {host}, run ");
        Ok(Self { text: format!("{ours}{:016x}", u64::from_be_bytes(number)), ours })
    }

    /// Whether it is being filled by a run of ours, or was.
    fn is_ours(&self, database: &Database) -> bool {
        database.comment.as_ref().is_some_and(|comment| comment.starts_with(&self.ours))
    }
}

/// What a restore leaves out, as it was planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Without {
    /// The server has no such tablespaces.
    pub(super) tablespaces: bool,
}

/// A name for the new database, that is free or of a run of ours that did not end.
pub(super) fn free_name(all: &[Database], name: &str, suffix: &str, mark: &Mark) -> String {
    let free = |wanted: &String| {
        all.iter()
            .find(|database| database.name == *wanted)
            .is_none_or(|database| mark.is_ours(database) && suffix == "_new")
    };
    let numbered = (2_u32..).map(|n| with_suffix(name, &format!("_ccbackup{suffix}{n}")));
    let mut names = std::iter::once(with_suffix(name, &format!("_ccbackup{suffix}"))).chain(numbered);
    names.find(free).unwrap_or_default()
}

/// Whether it is being filled by the run of this mark, or was.
pub(super) fn is_marked(database: &Database, mark: &str) -> bool {
    database.comment.as_deref() == Some(mark)
}

/// Makes the database `new` as the archive describes it, empty. Gives its number.
fn create(session: &Session<'_>, archived: &Summary, new: &str, without: Without, mark: &Mark) -> Result<u64> {
    if let Some(left) = find_database(session, new)? {
        if !mark.is_ours(&left) {
            return Err(Error::new(Kind::WouldOverwrite, format!("there is a database {new} that nobody expects")));
        }
        drop_database(session, &left)?;
    }
    let sql = create_statement(archived, new, without)?;
    let mark = format!("COMMENT ON DATABASE {} IS {};", identifier(new), literal(&mark.text));
    session.execute(&session.address.database, &format!("{sql}\n{mark}"), &format!("making the database {new}"))?;
    let made = find_database(session, new)?;
    made.map(|database| database.oid)
        .ok_or_else(|| Error::failed(format!("the database {new} was made and is not there")))
}

/// `CREATE DATABASE` of the archive, with another name.
fn create_statement(archived: &Summary, new: &str, without: Without) -> Result<String> {
    let bad = || Error::damage("the archive does not say how its database is made");
    let entry = archived.database_sql.iter().find(|sql| sql.kind == "DATABASE").ok_or_else(bad)?;
    let statement = statements(&entry.sql)?.into_iter().next().ok_or_else(bad)?;
    let is_create = statement.words.first().is_some_and(|w| w.is("create"))
        && statement.words.get(1).is_some_and(|w| w.is("database"));
    let (_, options) = statement.text.split_once(" WITH TEMPLATE = template0").filter(|_| is_create).ok_or_else(bad)?;
    let mut options = options.trim_end_matches(';');
    if without.tablespaces {
        // Always the last one.
        options = options.split_once(" TABLESPACE = ").map_or(options, |(before, _)| before);
    }
    Ok(format!("CREATE DATABASE {} WITH TEMPLATE = template0{options};", identifier(new)))
}

/// Fills the database `new` and proves that it holds what the archive does.
pub(super) fn fill(
    session: &Session<'_>,
    backup: &Backup<'_>,
    inventory: &DatabaseInventory,
    archived: &Summary,
    new: &str,
    without: Without,
    mark: &Mark,
) -> Result<u64> {
    let mut oid = create(session, archived, new, without, mark)?;
    let mut restored = run(session, backup.dump(inventory)?, archived, new, without);
    if let Err(error) = &restored
        && may_be_search_path(error)
    {
        // pg_dump sets an empty search path, which is safe, and breaks functions that name no schema.
        let path = search_path(archived);
        let name = &inventory.database.name;
        session
            .context
            .monitor
            .note(&format!("{name}: {}; it is restored once more with search_path = {path}", error.one_line()));
        oid = create(session, archived, new, without, mark)?;
        restored =
            run(session, SearchPath::new(backup.dump(inventory)?, &path), archived, new, without).map_err(|again| {
                again.within(format!("the database {name} cannot be restored, also not with its own search path")).hint(
                    "functions that constraints, indexes or views call must name the schema of what they use; \
                 `pg_restore -f -` gives the SQL to do it by hand",
                )
            });
    }
    restored?;
    let mut checked = Checked::default();
    let scope = Scope { tablespaces: !without.tablespaces, subscriptions: false, properties: false };
    compare(archived, &summary_of(session, new)?, scope, &mut checked);
    if !checked.differences.is_empty() {
        let message = format!("the restored database {} is not what was captured", inventory.database.name);
        return Err(Error::new(Kind::Incomplete, message).because(Error::failed(in_words(&checked.differences))));
    }
    // Statistics are in no dump, and plans are bad without.
    session.execute(new, "ANALYZE;", &format!("ANALYZE of {new}"))?;
    Ok(oid)
}

fn run(session: &Session<'_>, mut archive: impl Read, archived: &Summary, new: &str, without: Without) -> Result<()> {
    let program = session.tool("pg_restore")?;
    let doing = format!("pg_restore of the database {}", archived.database);
    // It says nothing while it builds indexes, for hours: its silence tells nothing.
    let command = session.command(&program, new, &doing, session.quiet())?.silence(None);
    let mut command = command.arg("--exit-on-error");
    if !archived.subscriptions.is_empty() {
        // A subscription would block the removal of what failed; they are made last.
        command = command.arg("--no-subscriptions");
    }
    if without.tablespaces {
        command = command.arg("--no-tablespaces");
    }
    let mut feed = command.feed(1 << 20)?;
    let copied = io::copy(&mut archive, &mut feed);
    match copied {
        Ok(_) => feed.finish().map(drop),
        Err(e) => Err(e).map_err(|e: io::Error| match e.downcast::<Error>() {
            Ok(error) => error,
            Err(e) => Error::failed("cannot read the archive of a database").because(e),
        }),
    }
}

fn may_be_search_path(error: &Error) -> bool {
    let text = error.one_line();
    text.contains("pg_restore of the database")
        && text.contains("does not exist")
        && ["function ", "relation ", "type ", "operator "].iter().any(|word| text.contains(word))
}

/// The search path that the database sets for itself, or that of every server.
fn search_path(archived: &Summary) -> String {
    let mut paths = archived.database_sql.iter().flat_map(|sql| sql.sql.lines());
    let set = paths.find_map(|line| line.strip_prefix("ALTER DATABASE ")?.split_once(" SET search_path TO "));
    set.map_or_else(|| "\"$user\", public".to_owned(), |(_, path)| path.trim_end_matches(';').replace('\'', "\""))
}

/// Drops a database, whatever holds it.
pub(super) fn drop_database(session: &Session<'_>, database: &Database) -> Result<()> {
    let name = &database.name;
    let quoted = identifier(name);
    let first = &session.maintenance(name);
    if database.template {
        session.execute(
            first,
            &format!("ALTER DATABASE {quoted} IS_TEMPLATE false;"),
            "opening a database for its removal",
        )?;
    }
    drop_subscriptions(session, database)?;
    let end = terminate(name);
    let drop = format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS false;\n{end}\nDROP DATABASE {quoted};");
    session.execute(first, &drop, &format!("dropping the database {name}"))?;
    Ok(())
}

/// A subscription blocks `DROP DATABASE`; its slot belongs to whoever publishes, and stays.
fn drop_subscriptions(session: &Session<'_>, database: &Database) -> Result<()> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let name = &database.name;
    let select = format!(
        "SELECT s.subname AS name FROM pg_catalog.pg_subscription s, pg_catalog.pg_database d \
         WHERE d.oid = s.subdbid AND d.datname = {}",
        literal(name)
    );
    let first = &session.maintenance(name);
    let rows: Vec<Row> = session.rows(first, &select)?;
    if rows.is_empty() {
        return Ok(());
    }
    session.execute(
        first,
        &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", identifier(name)),
        "opening a database",
    )?;
    for row in rows {
        let subscription = identifier(&row.name);
        let sql = format!(
            "ALTER SUBSCRIPTION {subscription} DISABLE;\nALTER SUBSCRIPTION {subscription} SET (slot_name = NONE);\n\
             DROP SUBSCRIPTION {subscription};"
        );
        session.execute(name, &sql, "dropping a subscription")?;
    }
    Ok(())
}

/// Ends all sessions of a database but our own.
pub(super) fn terminate(name: &str) -> String {
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE datname = {} AND pid <> pg_catalog.pg_backend_pid();",
        literal(name)
    )
}
