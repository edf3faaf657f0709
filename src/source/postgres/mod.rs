//! Kind `postgres`: each database by `pg_dump`, what belongs to none by `pg_dumpall`, the cluster as files by
//! `pg_basebackup` where it is wanted.
//!
//! What is captured is believed only after our own parse to its last byte; what is applied comes into a new database, is
//! dumped and compared, and only then swapped in by name. The old one stays under another name until it is forgotten.

mod address;
mod archive;
mod capture;
mod catalog;
mod globals;
mod inventory;
mod names;
mod physical;
mod session;
mod sql;
mod stderr;
mod tools;

use std::path::Path;

use capture::PostgresObjects;
use session::Session;

use crate::config::{Databases, PostgresConfig};
use crate::error::{Error, Result};
use crate::source::{ApplyOptions, ApplyPlan, Captured, Checked, Contents, Probe, Source, SourceContext, UndoStep};

/// Databases of a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresSource {
    config: PostgresConfig,
}

impl PostgresSource {
    /// What the configuration names.
    #[must_use]
    pub fn new(config: PostgresConfig) -> Self {
        Self { config }
    }
}

impl Source for PostgresSource {
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe> {
        let session = Session::open(&self.config, context)?;
        let mut probe = Probe { version: Some(session.server.version.clone()), ..Probe::default() };
        for tool in ["pg_dump", "pg_dumpall", "pg_restore"] {
            if let Err(error) = session.tool(tool) {
                probe.missing.push(error.one_line());
            }
        }
        let databases = catalog::databases(&session)?;
        let wanted = |name: &String| match &self.config.databases {
            Databases::All => true,
            Databases::Named(names) => names.contains(name),
        };
        let mut found = 0_u64;
        for database in databases.iter().filter(|database| wanted(&database.name)) {
            if !database.allow_connections {
                probe
                    .missing
                    .push(format!("the database {} allows no connections and cannot be dumped", database.name));
                continue;
            }
            found += 1;
            for words in catalog::hidden(&session, &database.name)? {
                probe.missing.push(format!("the database {} has {words}", database.name));
            }
        }
        probe.finds.push(format!("{found} databases at {}", session.address.shown()));
        if let Databases::Named(names) = &self.config.databases {
            for name in names.iter().filter(|name| !databases.iter().any(|database| database.name == **name)) {
                probe.missing.push(format!("there is no database {name:?}"));
            }
        }
        if !session.may_read_passwords()? {
            probe.missing.push("passwords of roles: the role may not read pg_authid".to_owned());
        }
        Ok(probe)
    }

    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        let session = Session::open(&self.config, context)?;
        Ok(Captured::Objects(Box::new(PostgresObjects::begin(session)?)))
    }

    fn plan_apply<'a>(
        &'a self,
        _: &'a dyn Contents,
        _: &ApplyOptions,
        _: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        Err(Error::failed("not yet"))
    }

    fn check(&self, _: &dyn Contents, _: &SourceContext<'_>) -> Result<Checked> {
        Err(Error::failed("not yet"))
    }

    fn undo(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Err(Error::failed("not yet"))
    }

    fn forget(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
