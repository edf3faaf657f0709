//! What an apply noted before it did it, and the way back.

use serde::{Deserialize, Serialize};

use super::catalog::{Database, database_of_oid, databases};
use super::names::identifier;
use super::restore::{drop_database, is_marked};
use super::roles;
use super::session::Session;
use super::swap::run_closed;
use crate::error::{Error, Kind, Result};
use crate::source::UndoStep;

/// One step. Databases are known by their numbers, which stay when names change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(super) enum Step {
    /// On which cluster all this was done.
    Server {
        system_identifier: String,
        /// Comment of the databases that the run fills.
        #[serde(default)]
        mark: Option<String>,
    },
    /// Something about roles; `undo` puts back what was there.
    Globals { object: String, undo: Vec<String> },
    /// A database was filled and is about to be swapped in.
    Database {
        name: String,
        /// The new one.
        new_oid: u64,
        /// The name it was filled under.
        new: String,
        /// What is replaced: its number, and the name it is kept under.
        old: Option<(u64, String)>,
    },
}

impl Step {
    pub(super) fn to_json(&self) -> Result<UndoStep> {
        serde_json::to_value(self).map_err(|e| Error::failed("cannot note a step").because(e))
    }
}

fn read(session: &Session<'_>, steps: &[UndoStep]) -> Result<Vec<Step>> {
    let steps = steps.iter().map(|step| serde_json::from_value(step.clone()));
    let steps = steps.collect::<std::result::Result<Vec<Step>, _>>();
    let steps = steps.map_err(|e| Error::failed("the notes of the apply cannot be read").because(e))?;
    for step in &steps {
        if let Step::Server { system_identifier, .. } = step
            && *system_identifier != session.server.system_identifier
        {
            return Err(Error::new(Kind::OtherHost, "this is another server than the one that was applied to")
                .hint("let the configuration name the server of that run"));
        }
    }
    Ok(steps)
}

/// Puts everything back, the last step first.
pub(super) fn undo(session: &mut Session<'_>, steps: &[UndoStep]) -> Result<()> {
    let steps = read(session, steps)?;
    for step in &steps {
        if let Step::Database { name, old: None, .. } = step {
            session.leave(name);
        }
    }
    let session = &*session;
    for step in steps.iter().rev() {
        match step {
            Step::Server { .. } => {}
            Step::Globals { object, undo } => match roles::run(session, object, undo) {
                // Undone already, by a run that was cut short.
                Err(error) if error.kind() == Kind::NotFound => {}
                ran => ran?,
            },
            Step::Database { name, new_oid, new, old } => {
                if let Some((old_oid, _)) = old {
                    swap_back(session, name, *new_oid, new, *old_oid)?;
                }
                if let Some(applied) = database_of_oid(session, *new_oid)? {
                    drop_database(session, &applied)?;
                }
            }
        }
    }
    drop_marked(session, &steps)
}

/// Drops what a run was filling when it was killed.
fn drop_marked(session: &Session<'_>, steps: &[Step]) -> Result<()> {
    let marks = steps.iter().filter_map(|step| match step {
        Step::Server { mark, .. } => mark.as_deref(),
        _ => None,
    });
    let marks: Vec<&str> = marks.collect();
    let is_left = |database: &&Database| marks.iter().any(|mark| is_marked(database, mark));
    databases(session)?.iter().filter(is_left).try_for_each(|left| drop_database(session, left))
}

fn swap_back(session: &Session<'_>, name: &str, new_oid: u64, new: &str, old_oid: u64) -> Result<()> {
    let old = database_of_oid(session, old_oid)?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("the database that was {name} before is not there any more"))
    })?;
    if old.name == name {
        // Not swapped yet, or swapped back already; only the door may still be closed.
        let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", identifier(name));
        session.execute(&session.maintenance(name), &open, &format!("opening the database {name}"))?;
        return Ok(());
    }
    let applied = database_of_oid(session, new_oid)?.filter(|database| database.name == name);
    let mut script = String::from("BEGIN;\n");
    let mut closed = vec![old.name.as_str()];
    if applied.is_some() {
        script.push_str(&format!("ALTER DATABASE {} RENAME TO {};\n", identifier(name), identifier(new)));
        closed.push(name);
    }
    script.push_str(&format!("ALTER DATABASE {} RENAME TO {};\n", identifier(&old.name), identifier(name)));
    script.push_str(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;\nCOMMIT;", identifier(name)));
    run_closed(session, name, &closed, &script)
}

/// Drops what was kept.
pub(super) fn forget(session: &Session<'_>, steps: &[UndoStep]) -> Result<()> {
    let steps = read(session, steps)?;
    for step in &steps {
        let Step::Database { name, old: Some((oid, kept)), .. } = step else { continue };
        match database_of_oid(session, *oid)? {
            Some(database) if database.name == *kept => drop_database(session, &database)?,
            // It was never swapped, or is back: it is the living one.
            Some(database) if database.name == *name => {}
            Some(database) => {
                let found = database.name;
                return Err(Error::failed(format!(
                    "what was {name} before should be called {kept}, and is called {found}: it is not dropped"
                )));
            }
            None => {}
        }
    }
    drop_marked(session, &steps)
}
