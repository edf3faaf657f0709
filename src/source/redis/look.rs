//! Compares a backup with what the servers hold at this moment.

use super::archive::{Part, memory};
use super::canonical::{Gathered, MEMORY};
use super::cluster::Topology;
use super::compare::{Comparison, Records, compare};
use super::fits::Needs;
use super::fleet::{Fleet, fleet};
use super::server::Server;
use super::slots::{SLOTS, slot};
use crate::config::RedisConfig;
use crate::error::{Error, Result};
use crate::source::{Contents, SourceContext};

/// The servers whose data a backup is compared with, or that get it.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    pub(super) servers: Vec<Server>,
    /// Of a cluster, as it was when it was asked.
    pub(super) topology: Option<Topology>,
}

/// What a comparison found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) keys: Comparison,
    /// Keys of the backup, expired ones too.
    pub(super) archived: u64,
    /// Libraries of functions of the backup, sorted.
    pub(super) functions: Vec<Vec<u8>>,
    /// The same of each server.
    pub(super) server_functions: Vec<Vec<Vec<u8>>>,
    /// Keys of the backup that have not expired, by slot; whether some of a slot may expire.
    pub(super) slots: Vec<(u64, bool)>,
    /// What a server must be able to load.
    pub(super) needs: Needs,
    /// Versions of the RDBs of each server.
    pub(super) versions: Vec<u32>,
}

impl Look {
    /// All servers have the libraries of the backup and no others.
    pub(super) fn same_functions(&self) -> bool {
        self.server_functions.iter().all(|functions| *functions == self.functions)
    }

    /// No server has a library that the backup does not have.
    pub(super) fn part_of_functions(&self) -> bool {
        self.server_functions.iter().flatten().all(|library| self.functions.contains(library))
    }
}

/// Who is compared and filled.
pub(super) fn targets(config: &RedisConfig, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Targets> {
    match fleet(config, context)? {
        Fleet::Alone(server) => {
            if super::archive::topology(contents)?.is_some() {
                let error = Error::usage("the backup is of a cluster, and the configuration names one server");
                return Err(error.hint("name the cluster's nodes: nodes = [\"host:port\", …]"));
            }
            Ok(Targets { servers: vec![server], topology: None })
        }
        Fleet::Cluster(nodes, login) => {
            let topology = Topology::of(&nodes, &login, context.monitor)?;
            let servers = topology.masters.iter().map(|shard| Server::at(&shard.address, &login));
            Ok(Targets { servers: servers.collect::<Result<_>>()?, topology: Some(topology) })
        }
    }
}

/// Compares.
pub(super) fn look(contents: &dyn Contents, targets: &Targets, context: &SourceContext<'_>) -> Result<Look> {
    let parts = Part::all(contents)?;
    let gather = |part: &Part<'_>| part.gather(context.scratch, memory(parts.len()), context.monitor);
    let mut archive = parts.iter().map(gather).collect::<Result<Vec<_>>>()?;
    let needs = Needs::of(&archive);
    let archived = archive.iter().map(Gathered::keys).sum();
    let mut functions: Vec<_> = archive.iter_mut().flat_map(|part| std::mem::take(&mut part.functions)).collect();
    functions.sort_unstable();
    functions.dedup();
    let room = (MEMORY / targets.servers.len().max(1)).max(4 << 20);
    let (mut living, mut server_functions, mut versions, mut now) = (Vec::new(), Vec::new(), Vec::new(), i64::MIN);
    for server in &targets.servers {
        let mut all = server.snapshot(context.scratch, room, context.monitor)?.gathered;
        versions.push(all.version);
        server_functions.push(std::mem::take(&mut all.functions));
        living.push(all.records()?);
        now = now.max(server.connect(context.monitor)?.now()?);
    }
    let archive = archive.into_iter().map(Gathered::records).collect::<Result<Vec<_>>>()?;
    let mut slots = if targets.topology.is_some() { vec![(0, false); SLOTS.into()] } else { Vec::new() };
    let mut step = |head: Option<&super::rdb::RecordHead>| {
        if let Some(head) = head
            && let Some((keys, expiring)) = slots.get_mut(usize::from(slot(&head.key)))
        {
            *keys += 1;
            *expiring |= head.expires.is_some();
        }
        context.monitor.check()
    };
    let keys = compare(&mut Records::of(archive)?, &mut Records::of(living)?, now, &mut step)?;
    Ok(Look { keys, archived, functions, server_functions, slots, needs, versions })
}
