//! A plan, and what it does: data first, by one transfer or key by key, compared with the archive when they are there; then users.

use std::io::{self, Write as _};

use super::acl::{self, Change};
use super::archive::Part;
use super::canonical::{CanonicalRdb, MEMORY};
use super::compare::Comparison;
use super::feed::{Between, Role, mend, replace_all, role};
use super::fleet::{Fleet, fleet};
use super::look::{Look, Targets, look, targets};
use super::restore::refill;
use super::server::{Seen, Server};
use super::settings;
use super::undo::Step;
use crate::config::RedisConfig;
use crate::error::{Context as _, Error, Kind, Result};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Contents, SourceContext, UndoLog};

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
    /// What the server has, and is, could not be seen.
    unseen: bool,
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
    let mut plan =
        Plan { config, contents, context, targets, actions: Vec::new(), data: false, unseen: false, users: Vec::new() };
    plan.plan_data(options)?;
    plan.plan_users(options)?;
    plan.plan_settings()?;
    Ok(plan)
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
                    (self.data, self.unseen) = (true, true);
                    return Ok(());
                }
            }
        }
        let look = look(self.contents, &self.targets, self.context)?;
        let lost = !look.keys.is_part() || !look.part_of_functions();
        let same = look.keys.is_equal() && look.same_functions();
        self.data = !same;
        if self.data {
            look.needs.demand(&look.versions, &self.targets.servers, self.contents, self.context)?;
        }
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
        undo.note(step.to_value()?)
    }

    fn apply_data(&self, undo: &mut UndoLog) -> Result<()> {
        let context = self.context;
        match &self.targets.topology {
            None => {
                let [server] = self.targets.servers.as_slice() else {
                    return Err(Error::failed("no server to restore to"));
                };
                mend(server, None)?;
                if self.unseen {
                    let look = look(self.contents, &self.targets, context)?;
                    look.needs.demand(&look.versions, &self.targets.servers, self.contents, context)?;
                }
                self.keep(undo)?;
                let [part] = &Part::all(self.contents)?[..] else { return Err(Error::failed("no RDB to restore")) };
                let entry = part.rdb()?;
                let mut keys = None;
                let mut note = |from: &str| {
                    undo.note(Step::Fetch { server: server.address.to_string(), from: from.to_owned() }.to_value()?)
                };
                let mut compare = || {
                    let hint = "an undo of this apply puts back what was there before";
                    keys = Some(self.demand_equal(hint)?);
                    Ok(())
                };
                let between = Between { note: &mut note, compare: &mut compare };
                replace_all(server, &mut self.contents.open(&entry)?, between, context.monitor)?;
                self.count(server, keys.as_ref())
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
                self.demand_equal("somebody may have written to it meanwhile").map(|_| ())
            }
        }
    }

    /// Compares what the servers hold now; an error when it is not what the backup holds.
    fn demand_equal(&self, hint: &'static str) -> Result<Comparison> {
        let look: Look = look(self.contents, &self.targets, self.context)?;
        if look.keys.is_equal() && look.same_functions() {
            return Ok(look.keys);
        }
        let message = format!("what is in the server now is not what is in the backup: {}", look.keys.words());
        Err(Error::new(Kind::Incomplete, message).hint(hint))
    }

    /// All was compared while nobody could write; clients may have begun to. So other numbers are worth a word, and only a server
    /// that has nothing at all is an error.
    fn count(&self, server: &Server, compared: Option<&Comparison>) -> Result<()> {
        let Some(compared) = compared else { return Err(Error::failed("the data were not compared")) };
        let Seen::Known(counts) = Seen::of(server.connect(self.context.monitor)?.keyspace())? else { return Ok(()) };
        let counted: u64 = counts.values().sum();
        if counted == 0 && compared.equal > 0 && compared.expiring == 0 {
            let message = format!("the server had {} keys, and has none since it is a master again", compared.equal);
            return Err(
                Error::new(Kind::Incomplete, message).hint("its log may say why; clients may have dropped them")
            );
        }
        if counted != compared.equal && compared.expiring == 0 && compared.expired == 0 {
            let text = format!("{} keys were restored, the server counts {counted}: it is in use", compared.equal);
            self.context.monitor.note(&text);
        }
        Ok(())
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
            undo.note(step.to_value()?)?;
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

fn libraries(count: usize) -> String {
    if count == 1 { "1 library".into() } else { format!("{count} libraries") }
}
