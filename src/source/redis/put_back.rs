//! Puts back what an apply replaced.

use std::fs::File;
use std::path::Path;

use super::canonical::{Gathered, MEMORY};
use super::cluster::Topology;
use super::compare::Records;
use super::feed::{Between, mend, replace_all};
use super::files;
use super::fleet::{Fleet, fleet};
use super::rdb::{Input, RdbReader};
use super::restore::refill;
use super::server::Server;
use super::undo::Step;
use crate::config::RedisConfig;
use crate::durable::Disk;
use crate::error::{Context as _, Error, Kind, Result};
use crate::source::{SourceContext, UndoStep};

/// Where an undo, in its turn, told a server to fetch from: a file in the undo folder.
const FETCHED_FROM: &str = "fetched-from";

/// Puts back what was replaced, the last first.
pub(super) fn put_back(
    config: &RedisConfig,
    steps: &[UndoStep],
    folder: &Path,
    context: &SourceContext<'_>,
) -> Result<()> {
    for step in steps.iter().rev() {
        let step = Step::of(step)?;
        match step {
            Step::Files { folder, placed, moved } => {
                files::demand_stopped(config, &folder, context)?;
                files::put_back(&folder, &placed, &moved)?;
            }
            Step::User { server, name, before } => {
                let mut client = server_named(config, &server, context)?.connect(context.monitor)?;
                if client.users()?.get(&name) != before.as_ref() {
                    client.set_user(&name, before.as_deref())?;
                    client.save_users()?;
                }
            }
            Step::Data { server, before } => {
                let server = server_named(config, &server, context)?;
                let memo = folder.join(FETCHED_FROM);
                mend(&server, fetched_from(&memo)?.as_deref())?;
                let path = folder.join(before);
                let open = || File::open(&path).at("cannot open", &path);
                if !is_same(&server, open()?, context)? {
                    let mut note = |from: &str| Disk::default().replace(&memo, from.as_bytes());
                    let mut compare = || match is_same(&server, open()?, context)? {
                        true => Ok(()),
                        false => Err(Error::new(Kind::Incomplete, "the server does not have again what it had before")),
                    };
                    let between = Between { note: &mut note, compare: &mut compare };
                    replace_all(&server, &mut open()?, between, context.monitor)?;
                }
            }
            Step::Fetch { server, from } => mend(&server_named(config, &server, context)?, Some(&from))?,
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

fn fetched_from(memo: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(memo) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("cannot read", memo),
    }
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
