//! What an apply would do, and doing it.

use super::archive::Summary;
use super::backup::Backup;
use super::capture::summary_of;
use super::catalog::{self, Database};
use super::compare::{Scope, compare, in_words};
use super::inventory::DatabaseInventory;
use super::names::identifier;
use super::restore::{Mark, Without, drop_database, fill, free_name, is_marked};
use super::roles::{self, GlobalStep, Passwords};
use super::session::Session;
use super::swap::swap_in;
use super::undo::Step;
use crate::error::{Error, Kind, Result};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Checked, Contents, UndoLog};

/// A plan for one server.
#[derive(Debug)]
pub(super) struct PostgresPlan<'a> {
    session: Session<'a>,
    backup: Backup<'a>,
    actions: Vec<Action>,
    globals: Vec<GlobalStep>,
    databases: Vec<Work>,
}

/// A database that is restored.
#[derive(Debug)]
struct Work {
    inventory: DatabaseInventory,
    archived: Summary,
    without: Without,
}

impl<'a> PostgresPlan<'a> {
    /// Reads the backup to its last byte and compares it with the server.
    pub(super) fn make(session: Session<'a>, contents: &'a dyn Contents, options: &ApplyOptions) -> Result<Self> {
        let backup = Backup::open(contents)?;
        check_server(&session, &backup)?;
        let living_globals = session.living_globals()?;
        let passwords = Passwords { archived: backup.has_passwords(), living: session.may_read_passwords()? };
        let role = &session.server.role;
        let globals = roles::plan(&backup.globals, &living_globals, role, passwords, options.overwrite);
        let mut actions: Vec<Action> = globals.iter().map(|step| step.action.clone()).collect();
        let living = catalog::databases(&session)?;
        let tablespaces = catalog::tablespaces(&session)?;
        let mut databases = Vec::new();
        for inventory in &backup.inventory.databases {
            let archived = backup.verify(inventory)?;
            let missing = roles::missing_owners(archived.owners.iter(), &backup.globals, &living_globals);
            if let Some(owner) = missing.first() {
                let message = format!("the role {owner} owns something in {}, and is nowhere", archived.database);
                return Err(Error::new(Kind::Incomplete, message).hint("make the role, then plan again"));
            }
            let wanted = archived.tablespaces.iter().chain(std::iter::once(&inventory.database.tablespace));
            let without = Without { tablespaces: wanted.into_iter().any(|name| !tablespaces.contains(name)) };
            let action = database_action(&session, &living, inventory, &archived, without, options)?;
            if action.kind != ActionKind::Equal {
                actions.extend(manual(&session, inventory, &archived, without)?);
            }
            let does_something = matches!(action.kind, ActionKind::Create | ActionKind::Replace);
            actions.push(action);
            if does_something {
                databases.push(Work { inventory: inventory.clone(), archived, without });
            }
        }
        for (name, reason) in &backup.inventory.left_out {
            let action = Action::new(ActionKind::Manual, database_name(name), format!("not in the backup: {reason}"));
            actions.push(action);
        }
        if let Some(archived) = backup.settings()? {
            let living = serde_json::to_value(catalog::settings(&session)?)
                .map_err(|e| Error::failed("the settings of the server cannot be compared").because(e))?;
            actions.extend(super::by_hand::settings(&archived, &living));
        }
        if let Some(base) = &backup.base {
            actions.push(super::physical::by_hand(base, &backup.inventory, session.config.data.as_deref()));
        }
        Ok(Self { session, backup, actions, globals, databases })
    }

    fn apply_database(&self, work: &Work, mark: &Mark, undo: &mut UndoLog) -> Result<()> {
        let Work { inventory, archived, without } = work;
        let session = &self.session;
        let name = &inventory.database.name;
        let all = catalog::databases(session)?;
        let new = free_name(&all, name, "_new", mark);
        // As long as nothing was swapped, what stands there is this run's alone.
        let drop_new = |error: Error| {
            session.to_its_end(|| match catalog::find_database(session, &new) {
                Ok(Some(left)) if is_marked(&left, &mark.text) => match drop_database(session, &left) {
                    Ok(()) => error,
                    Err(also) => error.within(format!("{new} was not swapped in and could not be dropped ({also})")),
                },
                _ => error,
            })
        };
        let filled = fill(session, &self.backup, inventory, archived, &new, *without, mark);
        let new_oid = filled.map_err(drop_new)?;
        let old = catalog::find_database(session, name)?.map(|old| (old.oid, free_name(&all, name, "_old", mark)));
        let kept = old.as_ref().map(|(_, kept)| kept.clone());
        undo.note(Step::Database { name: name.clone(), new_oid, new: new.clone(), old }.to_json()?)?;
        swap_in(session, name, &new, kept.as_deref(), archived).map_err(drop_new)?;
        if !archived.subscription_sql.is_empty() {
            let sql = archived.subscription_sql.join("\n");
            session.execute_unseen(name, &sql, &format!("making the subscriptions of {name}"))?;
        }
        Ok(())
    }
}

impl ApplyPlan for PostgresPlan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        let system_identifier = self.session.server.system_identifier.clone();
        let mark = Mark::new(self.session.context.component)?;
        undo.note(Step::Server { system_identifier, mark: Some(mark.text.clone()) }.to_json()?)?;
        for step in &self.globals {
            if step.statements.is_empty() {
                continue;
            }
            let object = step.action.object.clone();
            undo.note(Step::Globals { object: object.clone(), undo: step.undo.clone() }.to_json()?)?;
            roles::run(&self.session, &object, &step.statements)?;
        }
        for work in &self.databases {
            self.session.context.monitor.check()?;
            let name = &work.inventory.database.name;
            self.apply_database(work, &mark, undo)
                .map_err(|e| e.within(format!("the database {name} was not applied")))?;
        }
        Ok(())
    }
}

fn database_name(name: &str) -> String {
    format!("database {}", identifier(name))
}

fn check_server(session: &Session<'_>, backup: &Backup<'_>) -> Result<()> {
    let server = &session.server;
    if server.recovery {
        return Err(Error::failed("the server is a standby: nothing can be written there")
            .hint("apply to the primary, or promote this one"));
    }
    if server.read_only {
        return Err(Error::failed("the server is read-only (default_transaction_read_only = on)"));
    }
    let captured = backup.inventory.server_version_num / 10_000;
    if captured > server.major() {
        let message = format!("the backup is of version {captured}, the server is of {}", server.major());
        return Err(
            Error::new(Kind::Version, message).hint("a dump of a newer version does not fit into an older server")
        );
    }
    for tool in ["pg_dump", "pg_dumpall", "pg_restore"] {
        session.tool(tool)?;
    }
    Ok(())
}

fn database_action(
    session: &Session<'_>,
    living: &[Database],
    inventory: &DatabaseInventory,
    archived: &Summary,
    without: Without,
    options: &ApplyOptions,
) -> Result<Action> {
    let name = &inventory.database.name;
    let counts = format!("{} tables, {} rows", archived.tables.len(), archived.rows());
    let Some(there) = living.iter().find(|database| database.name == *name) else {
        return Ok(Action::new(ActionKind::Create, database_name(name), counts));
    };
    if !there.allow_connections {
        let detail = "it is there and allows no connections, so nobody can say what is in it";
        return Ok(Action::new(ActionKind::Conflict, database_name(name), detail)
            .by_hand(format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", identifier(name))));
    }
    let now = summary_of(session, name)?;
    let mut checked = Checked::default();
    compare(archived, &now, Scope { tablespaces: !without.tablespaces, ..Scope::ALL }, &mut checked);
    if checked.differences.is_empty() {
        return Ok(Action::new(ActionKind::Equal, database_name(name), counts));
    }
    let words = in_words(&checked.differences);
    Ok(if now.is_pristine() {
        Action::new(ActionKind::Replace, database_name(name), format!("{counts}; what is there is empty"))
    } else if options.overwrite {
        Action::new(ActionKind::Replace, database_name(name), format!("{counts}; {words}"))
    } else {
        Action::new(ActionKind::Conflict, database_name(name), words)
    })
}

/// What a person has to do for a database.
fn manual(
    session: &Session<'_>,
    inventory: &DatabaseInventory,
    archived: &Summary,
    without: Without,
) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    let name = &inventory.database.name;
    if without.tablespaces {
        let detail = "the server lacks tablespaces of it; its objects go to the default one";
        actions.push(Action::new(ActionKind::Manual, format!("tablespaces of {}", identifier(name)), detail));
    }
    for missing in catalog::missing_extensions(session, archived.extensions.iter())? {
        let detail =
            format!("{} needs it, and the server has no such extension: install its package first", identifier(name));
        actions.push(Action::new(ActionKind::Conflict, format!("extension {missing}"), detail));
    }
    for subscription in &archived.subscriptions {
        let object = format!("subscription {} of {}", identifier(subscription), identifier(name));
        let detail = "it comes back disabled, without a slot";
        actions.push(
            Action::new(ActionKind::Manual, object, detail)
                .by_hand(format!("ALTER SUBSCRIPTION {} ENABLE;", identifier(subscription))),
        );
    }
    Ok(actions)
}
