//! Kind `postgres`: each database by `pg_dump`, what belongs to none by `pg_dumpall`, the cluster as files by
//! `pg_basebackup` where it is wanted.
//!
//! What is captured is believed only after our own parse to its last byte; what is applied comes into a new database, is
//! dumped and compared, and only then swapped in by name. The old one stays under another name until it is forgotten.

mod address;
mod archive;
mod backup;
mod base;
mod by_hand;
mod capture;
mod catalog;
mod compare;
mod crc32c;
mod globals;
mod inventory;
mod names;
mod physical;
mod plan;
mod restore;
mod roles;
mod session;
mod sql;
mod stderr;
mod swap;
mod tools;
mod undo;

use std::path::Path;

use backup::Backup;
use capture::PostgresObjects;
use compare::{Scope, compare};
use roles::Passwords;
use session::Session;

use crate::config::{Databases, PostgresConfig};
use crate::error::Result;
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
            if database.is_kept() {
                continue;
            }
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
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        Ok(Box::new(plan::PostgresPlan::make(Session::open(&self.config, context)?, contents, options)?))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        let session = Session::open(&self.config, context)?;
        let backup = Backup::open(contents)?;
        let mut checked = Checked::default();
        let passwords = Passwords { archived: backup.has_passwords(), living: session.may_read_passwords()? };
        let (living, role) = (session.living_globals()?, &session.server.role);
        roles::check(&backup.globals, &living, role, passwords, &mut checked)?;
        for database in &backup.inventory.databases {
            let archived = backup.verify(database)?;
            let name = &database.database.name;
            if catalog::find_database(&session, name)?.is_none() {
                checked.differs(format!("database {name}"), "it is not there");
                continue;
            }
            let living = capture::summary_of(&session, name)?;
            compare(&archived, &living, Scope::ALL, &mut checked);
            let versions = |all: &std::collections::BTreeMap<String, String>| format!("{all:?}");
            let living = catalog::extensions(&session, name)?;
            checked.compare(format!("extensions of {name}"), &versions(&database.extensions), &versions(&living));
        }
        Ok(checked)
    }

    fn undo(&self, steps: &[UndoStep], _: &Path, context: &SourceContext<'_>) -> Result<()> {
        undo::undo(&mut Session::open(&self.config, context)?, steps)
    }

    fn forget(&self, steps: &[UndoStep], _: &Path, context: &SourceContext<'_>) -> Result<()> {
        undo::forget(&Session::open(&self.config, context)?, steps)
    }
}
