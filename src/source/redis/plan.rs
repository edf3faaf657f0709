//! A plan, and what it does: data first, by one transfer or key by key, compared with the archive when they are there; then users.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::acl::{self, Change};
use super::archive::Part;
use super::canonical::{CanonicalRdb, Gathered, MEMORY};
use super::client::Login;
use super::cluster::Topology;
use super::compare::Records;
use super::feed::{Role, mend, replace_all, role};
use super::fleet::{Fleet, fleet};
use super::look::{Look, Targets, look, targets};
use super::rdb::{Input, RdbReader};
use super::restore::{Filled, restore};
use super::server::{Seen, Server};
use super::settings;
use crate::config::{RedisAddress, RedisConfig};
use crate::error::{Context as _, Error, Kind, Result};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Contents, SourceContext, UndoLog, UndoStep};

/// How often a cluster whose slots move is filled anew.
const TRIES: u32 = 3;

/// What an apply replaces, as it is noted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
enum Step {
    /// All keys and functions of a server; `before` is an RDB in the undo folder.
    Data { server: String, before: String },
    /// The same of all masters of a cluster.
    Cluster { before: Vec<String> },
    /// A user, whose line was `before`.
    User { server: String, name: String, before: Option<String> },
}

/// What an apply would do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    config: &'a RedisConfig,
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    targets: Targets,
    actions: Vec<Action>,
    /// Keys and functions are replaced.
    data: bool,
    users: Vec<(Server, Change)>,
}

/// Compares, and says what would be done.
pub(super) fn plan<'a>(
    config: &'a RedisConfig,
    contents: &'a dyn Contents,
    options: &ApplyOptions,
    context: &'a SourceContext<'a>,
) -> Result<Plan<'a>> {
    let targets = targets(config, contents, context)?;
    let mut plan = Plan { config, contents, context, targets, actions: Vec::new(), data: false, users: Vec::new() };
    plan.plan_data(options)?;
    plan.plan_users(options)?;
    plan.plan_settings()?;
    Ok(plan)
}

/// Puts back what was replaced, the last first.
pub(super) fn put_back(
    config: &RedisConfig,
    steps: &[UndoStep],
    folder: &Path,
    context: &SourceContext<'_>,
) -> Result<()> {
    for step in steps.iter().rev() {
        let step: Step = serde_json::from_value(step.clone())
            .map_err(|e| Error::failed("a step of the restore that is to be undone cannot be read").because(e))?;
        match step {
            Step::User { server, name, before } => {
                let mut client = server_named(config, &server, context)?.connect(context.monitor)?;
                if client.users()?.get(&name) != before.as_ref() {
                    client.set_user(&name, before.as_deref())?;
                    client.save_users()?;
                }
            }
            Step::Data { server, before } => {
                let server = server_named(config, &server, context)?;
                mend(&server)?;
                let path = folder.join(before);
                let open = || File::open(&path).at("cannot open", &path);
                if !is_same(&server, open()?, context)? {
                    replace_all(&server, &mut open()?, context.monitor)?;
                    if !is_same(&server, open()?, context)? {
                        return Err(Error::new(Kind::Incomplete, "the server does not have again what it had before"));
                    }
                }
            }
            Step::Cluster { before } => {
                let (nodes, login) = match fleet(config, context)? {
                    Fleet::Cluster(nodes, login) => (nodes, login),
                    Fleet::Alone(_) => return Err(Error::usage("what is to be undone was done in a cluster")),
                };
                let topology = Topology::of(&nodes, &login, context.monitor)?;
                let read =
                    || before.iter().map(|name| read_file(&folder.join(name), context)).collect::<Result<Vec<_>>>();
                refill(&nodes, topology, &login, &read, context)?;
            }
        }
    }
    Ok(())
}

fn server_named(config: &RedisConfig, address: &str, context: &SourceContext<'_>) -> Result<Server> {
    match fleet(config, context)? {
        Fleet::Alone(server) if server.address.to_string() == address => Ok(server),
        Fleet::Cluster(_, login) => Server::at(address, &login),
        Fleet::Alone(server) => Err(Error::usage(format!(
            "what is to be undone was done at {address}, and the configuration names {}",
            server.address
        ))),
    }
}

/// Whether the server has the keys and functions of an RDB.
fn is_same(server: &Server, file: File, context: &SourceContext<'_>) -> Result<bool> {
    let mut reader = RdbReader::new(Input::new(file))?;
    let archive = Gathered::read(&mut reader, context.scratch, MEMORY / 2, &mut |_| context.monitor.check())?;
    let living = server.snapshot(context.scratch, MEMORY / 2, context.monitor)?.gathered;
    if archive.functions != living.functions {
        return Ok(false);
    }
    let now = server.connect(context.monitor)?.now()?;
    let (mut ours, mut theirs) = (Records::of([archive.records()?])?, Records::of([living.records()?])?);
    Ok(super::compare::compare(&mut ours, &mut theirs, now, &mut |_| context.monitor.check())?.is_equal())
}

fn read_file(path: &Path, context: &SourceContext<'_>) -> Result<Gathered> {
    let file = File::open(path).at("cannot open", path)?;
    let mut reader = RdbReader::new(Input::new(file))?;
    Gathered::read(&mut reader, context.scratch, 4 << 20, &mut |_| context.monitor.check())
}

/// Empties all masters of a cluster and fills them with what `read` gives; functions too.
fn refill(
    nodes: &[RedisAddress],
    mut topology: Topology,
    login: &Login,
    read: &dyn Fn() -> Result<Vec<Gathered>>,
    context: &SourceContext<'_>,
) -> Result<()> {
    let monitor = context.monitor;
    for _ in 0..TRIES {
        let mut archive = read()?;
        let mut functions: Vec<_> = archive.iter_mut().flat_map(|part| std::mem::take(&mut part.functions)).collect();
        functions.sort_unstable();
        functions.dedup();
        let mut now = i64::MIN;
        for shard in &topology.masters {
            let mut client = Server::at(&shard.address, login)?.connect(monitor)?;
            now = now.max(client.now()?);
            client.call(&[b"FLUSHALL"])?;
            // Functions stay when all keys are dropped.
            client.call(&[b"FUNCTION", b"FLUSH"])?;
            for code in &functions {
                client.call(&[b"FUNCTION", b"LOAD", b"REPLACE", code])?;
            }
        }
        let versions: Vec<u32> = archive.iter().map(|part| part.version).collect();
        let records = archive.into_iter().map(Gathered::records).collect::<Result<Vec<_>>>()?;
        match restore(&topology, login, &mut Records::of(records)?, &versions, now, monitor)? {
            Filled::Whole => return Ok(()),
            Filled::Moved => topology = Topology::of(nodes, login, monitor)?,
        }
    }
    Err(Error::failed(format!("slots of the cluster moved each of {TRIES} times while it was filled")))
}

impl Plan<'_> {
    fn plan_data(&mut self, options: &ApplyOptions) -> Result<()> {
        let replace = if options.overwrite { ActionKind::Replace } else { ActionKind::Conflict };
        if self.targets.topology.is_none()
            && let [server] = self.targets.servers.as_slice()
        {
            let mut client = server.connect(self.context.monitor)?;
            match role(&mut client)? {
                Role::Master => {}
                Role::ReplicaOf(master) => {
                    let detail = format!("the server is a replica of {master}: its data are those of its master");
                    let action = Action::new(ActionKind::Conflict, "keys", detail);
                    self.actions
                        .push(action.by_hand("REPLICAOF NO ONE makes it a master, if that is what it should be"));
                    return Ok(());
                }
                Role::Waiting => {
                    let empty = client.keyspace()?.is_empty() && client.functions()?.is_empty();
                    let kind = if empty { ActionKind::Create } else { replace };
                    let detail = "a restore that was cut short has left the server waiting for data";
                    self.actions.push(Action::new(kind, "keys", detail));
                    self.data = true;
                    return Ok(());
                }
            }
        }
        let look = look(self.contents, &self.targets, self.context)?;
        let lost = !look.keys.is_part() || !look.part_of_functions();
        let same = look.keys.is_equal() && look.same_functions();
        self.data = !same;
        let kind = |equal: bool, made: bool| match (equal, made) {
            (true, _) => ActionKind::Equal,
            (false, true) => ActionKind::Create,
            (false, false) => replace,
        };
        let words = format!("{} in the backup; {}", look.archived, look.keys.words());
        self.actions.push(Action::new(kind(look.keys.is_equal(), !lost), "keys", words));
        let words = format!("{} in the backup", libraries(look.functions.len()));
        self.actions.push(Action::new(kind(look.same_functions(), !lost), "functions", words));
        Ok(())
    }

    fn plan_users(&mut self, options: &ApplyOptions) -> Result<()> {
        // The users of a cluster are the same on every node; those of the first master that was captured stand for all.
        let Some(users) = Part::all(self.contents)?.first().map(Part::users).transpose()?.flatten() else {
            return Ok(());
        };
        for server in &self.targets.servers {
            let mut client = server.connect(self.context.monitor)?;
            let seen = Seen::of(client.users().and_then(|there| Ok((there, client.own_name()?))))?;
            let (there, own) = match seen {
                Seen::Known(known) => known,
                Seen::Denied(why) => {
                    let action = Action::new(ActionKind::Manual, "users", format!("they cannot be compared: {why}"));
                    self.actions
                        .push(action.by_hand("ACL SETUSER <name> reset <rules>, line by line as acl.txt has them"));
                    continue;
                }
            };
            let (mut actions, changes) = acl::plan(&users, &there, &own, options.overwrite);
            if self.targets.servers.len() > 1 {
                actions.iter_mut().for_each(|action| action.object.push_str(&format!(" at {}", server.address)));
            }
            self.actions.append(&mut actions);
            self.users.extend(changes.into_iter().map(|change| (server.clone(), change)));
        }
        Ok(())
    }

    fn plan_settings(&mut self) -> Result<()> {
        let Some(archive) = Part::all(self.contents)?.first().map(Part::settings).transpose()?.flatten() else {
            return Ok(());
        };
        let Some(server) = self.targets.servers.first() else { return Ok(()) };
        match Seen::of(server.connect(self.context.monitor)?.settings())? {
            Seen::Known(there) => self.actions.push(settings::plan(&archive, &there)),
            Seen::Denied(why) => {
                let action = Action::new(ActionKind::Manual, "settings", format!("they cannot be compared: {why}"));
                self.actions.push(action.by_hand("CONFIG SET <name> <value of config.json>"));
            }
        }
        Ok(())
    }

    /// Keeps what the servers have, and notes it.
    fn keep(&self, undo: &mut UndoLog) -> Result<()> {
        let mut names = Vec::new();
        for server in &self.targets.servers {
            let snapshot = server.snapshot(self.context.scratch, MEMORY, self.context.monitor)?;
            let mut rdb = CanonicalRdb::of(snapshot.gathered)?;
            let name = (0..)
                .map(|number: u32| format!("before-{number}.rdb"))
                .find(|name| !undo.folder().join(name).exists())
                .unwrap_or_default();
            let path = undo.folder().join(&name);
            let mut file = undo.disk().create(&path)?;
            io::copy(&mut rdb, &mut file).at("cannot keep what the server has in", &path)?;
            file.flush().at("cannot write", &path)?;
            file.finish()?;
            names.push(name);
        }
        undo.disk().sync_dir(undo.folder())?;
        let step = match (&self.targets.topology, self.targets.servers.as_slice(), names.as_slice()) {
            (None, [server], [name]) => Step::Data { server: server.address.to_string(), before: name.clone() },
            _ => Step::Cluster { before: names },
        };
        undo.note(value(&step)?)
    }

    fn apply_data(&self, undo: &mut UndoLog) -> Result<()> {
        let context = self.context;
        match &self.targets.topology {
            None => {
                let [server] = self.targets.servers.as_slice() else {
                    return Err(Error::failed("no server to restore to"));
                };
                mend(server)?;
                self.keep(undo)?;
                let [part] = &Part::all(self.contents)?[..] else { return Err(Error::failed("no RDB to restore")) };
                let entry = part.rdb()?;
                replace_all(server, &mut self.contents.open(&entry)?, context.monitor)?;
            }
            Some(topology) => {
                self.keep(undo)?;
                let parts = Part::all(self.contents)?;
                let gather = || {
                    let memory = super::archive::memory(parts.len());
                    parts.iter().map(|part| part.gather(context.scratch, memory, context.monitor)).collect()
                };
                let Fleet::Cluster(nodes, login) = fleet(self.config, context)? else {
                    return Err(Error::failed("no cluster to restore to"));
                };
                refill(&nodes, topology.clone(), &login, &gather, context)?;
            }
        }
        let look: Look = look(self.contents, &self.targets, context)?;
        if look.keys.is_equal() && look.same_functions() {
            return Ok(());
        }
        let message = format!("what is in the server now is not what is in the backup: {}", look.keys.words());
        Err(Error::new(Kind::Incomplete, message).hint("somebody may have written to it meanwhile"))
    }
}

impl ApplyPlan for Plan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        if self.data {
            self.apply_data(undo)?;
        }
        let mut saved = true;
        for (server, Change { name, line, before }) in &self.users {
            self.context.monitor.check()?;
            let step = Step::User { server: server.address.to_string(), name: name.clone(), before: before.clone() };
            undo.note(value(&step)?)?;
            let mut client = server.connect(self.context.monitor)?;
            client.set_user(name, Some(line))?;
            saved &= client.save_users()?;
        }
        if !saved {
            self.context.monitor.note(
                "users live in the memory of the server alone: it has neither an ACL file nor a configuration file",
            );
        }
        Ok(())
    }
}

fn value(step: &Step) -> Result<UndoStep> {
    serde_json::to_value(step).map_err(|e| Error::failed("cannot note a step").because(e))
}

fn libraries(count: usize) -> String {
    if count == 1 { "1 library".into() } else { format!("{count} libraries") }
}
