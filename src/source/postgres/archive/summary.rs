//! What an archive holds, counted while it streams.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::entry::{Entry, is_of_subscription, text_of};
use super::rows::Sum;
use crate::error::{Error, Result};
use crate::source::postgres::names::identifier;

/// Most objects of one database: more are refused, not kept.
const MAX_OBJECTS: usize = 5_000_000;

/// Schema and name.
pub(in crate::source::postgres) type TableName = (String, String);

/// What names an object in a table of contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::source::postgres) struct ObjectName {
    /// `TABLE`, `FUNCTION`, `ACL`, …
    pub(in crate::source::postgres) kind: String,
    /// Its schema; may be empty.
    pub(in crate::source::postgres) namespace: String,
    /// Its name, as the archive gives it.
    pub(in crate::source::postgres) tag: String,
}

impl ObjectName {
    /// Whether it is a subscription or says something of one.
    pub(in crate::source::postgres) fn is_of_subscription(&self) -> bool {
        is_of_subscription(&self.kind, &self.tag)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, tag } = self;
        if namespace.is_empty() { write!(f, "{kind} {tag}") } else { write!(f, "{kind} {namespace}.{tag}") }
    }
}

/// Rows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source::postgres) struct Table {
    /// How many.
    pub(in crate::source::postgres) rows: u64,
    /// Bytes of their text form.
    pub(in crate::source::postgres) bytes: u64,
    /// Of the rows, in any order.
    pub(in crate::source::postgres) digest: Sum,
}

/// A statement about the database as a whole; it names the database as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::postgres) struct DatabaseSql {
    /// `DATABASE`, `DATABASE PROPERTIES`, `ACL`, `COMMENT` or `SECURITY LABEL`.
    pub(in crate::source::postgres) kind: String,
    /// Who owns the database.
    pub(in crate::source::postgres) owner: String,
    /// One or more statements.
    pub(in crate::source::postgres) sql: String,
}

/// When pg_dump began, by the clock and zone of its host; the archive that is kept has a fixed date instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source::postgres) struct Stamp {
    /// Seconds, minutes, hours, day of the month, month from 0, years since 1900, daylight saving.
    pub(in crate::source::postgres) fields: [i64; 7],
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [second, minute, hour, day, month, year, _] = self.fields;
        let (year, month) = (year.saturating_add(1900), month.saturating_add(1));
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::postgres) struct Summary {
    /// Of the format, 1.`minor`.
    pub(in crate::source::postgres) minor: u8,
    /// When it was made.
    pub(in crate::source::postgres) stamp: Stamp,
    /// The database it was made of.
    pub(in crate::source::postgres) database: String,
    /// The server's version as text.
    pub(in crate::source::postgres) server: String,
    /// pg_dump's version as text.
    pub(in crate::source::postgres) tool: String,
    /// Tables that have a data block; empty ones too.
    pub(in crate::source::postgres) tables: BTreeMap<TableName, Table>,
    /// Sequences, each with the arguments of its `setval`.
    pub(in crate::source::postgres) sequences: BTreeMap<TableName, String>,
    /// How many large objects.
    pub(in crate::source::postgres) large_objects: u64,
    /// Their bytes.
    pub(in crate::source::postgres) large_object_bytes: u64,
    /// Of their content and numbers.
    pub(in crate::source::postgres) large_object_digest: Sum,
    /// All other objects with a digest of their definition, owner and place.
    pub(in crate::source::postgres) objects: BTreeMap<ObjectName, Sum>,
    /// Names of extensions.
    pub(in crate::source::postgres) extensions: BTreeSet<String>,
    /// Names of subscriptions.
    pub(in crate::source::postgres) subscriptions: BTreeSet<String>,
    /// What makes them, in order; holds passwords.
    pub(in crate::source::postgres) subscription_sql: Vec<String>,
    /// Tablespaces that objects lie in, but for the default one.
    pub(in crate::source::postgres) tablespaces: BTreeSet<String>,
    /// Owners of objects.
    pub(in crate::source::postgres) owners: BTreeSet<String>,
    /// What creates the database and sets its properties, in order.
    pub(in crate::source::postgres) database_sql: Vec<DatabaseSql>,
}

impl Summary {
    /// Rows of all tables.
    pub(in crate::source::postgres) fn rows(&self) -> u64 {
        self.tables.values().map(|table| table.rows).fold(0, u64::saturating_add)
    }

    /// Whether there is nothing in it that somebody made.
    pub(in crate::source::postgres) fn is_pristine(&self) -> bool {
        self.tables.is_empty() && self.objects.is_empty() && self.large_objects == 0 && self.sequences.is_empty()
    }

    /// Takes an entry of the table of contents that was read to its end.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<()> {
        if !entry.owner.is_empty() {
            self.owners.insert(entry.owner.clone());
        }
        if !entry.tablespace.is_empty() {
            self.tablespaces.insert(entry.tablespace.clone());
        }
        if entry.is_of_database() {
            let (kind, owner) = (entry.kind.clone(), entry.owner.clone());
            self.database_sql.push(DatabaseSql { kind, owner, sql: text_of(&entry.definition) });
            return Ok(());
        }
        if entry.is_of_large_objects() {
            // Their grouping differs between versions, and there may be millions: only content and count are kept.
            return Ok(());
        }
        let name = (entry.namespace.clone(), entry.tag.clone());
        match entry.kind.as_str() {
            "ENCODING" | "STDSTRINGS" | "SEARCHPATH" | "TABLE DATA" => return Ok(()),
            "SEQUENCE SET" => {
                let value = setval_arguments(&entry.definition).ok_or_else(|| {
                    Error::damage(format!("the value of the sequence {}.{} cannot be read", name.0, name.1))
                })?;
                self.sequences.insert(name, value);
                return Ok(());
            }
            "EXTENSION" => {
                self.extensions.insert(entry.tag.clone());
            }
            "SUBSCRIPTION" => {
                self.subscriptions.insert(entry.tag.clone());
            }
            _ => {}
        }
        if entry.is_of_subscription() {
            self.subscription_sql.push(text_of(&entry.definition));
            if entry.kind == "SUBSCRIPTION" && !entry.owner.is_empty() {
                let (name, owner) = (identifier(&entry.tag), identifier(&entry.owner));
                self.subscription_sql.push(format!("ALTER SUBSCRIPTION {name} OWNER TO {owner};"));
            }
        }
        if self.objects.len() >= MAX_OBJECTS {
            return Err(Error::damage(format!("a database of more than {MAX_OBJECTS} objects")));
        }
        let (namespace, tag) = name;
        let name = ObjectName { kind: entry.kind.clone(), namespace, tag };
        self.objects.entry(name).or_default().add(&entry.digest());
        Ok(())
    }
}

/// `N, true` of `SELECT pg_catalog.setval('…', N, true);`.
fn setval_arguments(definition: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(definition).ok()?.trim_end();
    let text = text.strip_prefix("SELECT pg_catalog.setval('")?.strip_suffix(");")?;
    let (_, value) = text.rsplit_once("', ")?;
    let (number, called) = value.split_once(", ")?;
    let number: i64 = number.parse().ok()?;
    let called: bool = called.parse().ok()?;
    Some(format!("{number}, {called}"))
}
