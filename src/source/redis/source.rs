//! A Redis server, or a cluster of them, as a source.

use std::path::Path;

use super::capture::take;
use super::check::compare_all;
use super::cluster::Topology;
use super::files;
use super::fleet::{Fleet, fleet};
use super::plan::plan;
use super::put_back::put_back;
use super::server::{Seen, Server};
use super::undo::Step;
use crate::config::RedisConfig;
use crate::error::Result;
use crate::source::{ApplyOptions, ApplyPlan, Captured, Checked, Contents, Probe, Source, SourceContext, UndoStep};

/// Captures and applies what [`RedisConfig`] names.
#[derive(Debug)]
pub struct RedisSource {
    config: RedisConfig,
}

impl RedisSource {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(config: RedisConfig) -> Self {
        Self { config }
    }
}

impl Source for RedisSource {
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe> {
        let mut probe = Probe::default();
        let servers = match fleet(&self.config, context)? {
            Fleet::Alone(server) => vec![server],
            Fleet::Cluster(nodes, login) => {
                let topology = Topology::of(&nodes, &login, context.monitor)?;
                probe.finds.push(format!("{} masters", topology.masters.len()));
                topology.masters.iter().map(|shard| Server::at(&shard.address, &login)).collect::<Result<_>>()?
            }
        };
        let mut keys = Some(0);
        for server in servers {
            let mut client = server.connect(context.monitor)?;
            if client.is_exposed() {
                probe.missing.push(format!("{}: its data cross the network in clear; use a tunnel", server.address));
            }
            match Seen::of(client.info())? {
                Seen::Known(info) => {
                    probe.version = probe.version.or_else(|| info.get("redis_version").cloned());
                    let counted: u64 = client.keyspace()?.values().sum();
                    keys = keys.map(|keys| keys + counted);
                }
                Seen::Denied(why) => {
                    keys = None;
                    probe.missing.push(format!("{}: version and counts are not seen: {why}", server.address));
                }
            }
            if self.config.acl
                && let Seen::Denied(why) = Seen::of(client.users())?
            {
                probe.missing.push(format!("{}: users: {why}; give +acl|list, or set acl = false", server.address));
            }
            if self.config.settings
                && let Seen::Denied(why) = Seen::of(client.settings())?
            {
                probe
                    .missing
                    .push(format!("{}: settings: {why}; give +config|get, or set settings = false", server.address));
            }
            if !server.try_transfer(context.scratch, context.monitor)? {
                probe
                    .missing
                    .push(format!("{}: before version 7 a transfer cannot be tried without data", server.address));
            }
        }
        if let Some(keys) = keys {
            probe.finds.push(format!("{keys} keys"));
        }
        Ok(probe)
    }

    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        Ok(Captured::Objects(Box::new(take(&self.config, context)?)))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        if let Some(folder) = files::folder_of_stopped(&self.config, context)? {
            return Ok(Box::new(files::plan(&self.config, folder, contents, options, context)?));
        }
        Ok(Box::new(plan(&self.config, contents, options, context)?))
    }

    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
        if let Some(folder) = files::folder_of_stopped(&self.config, context)? {
            return files::check(&folder, contents, context);
        }
        compare_all(&self.config, contents, context)
    }

    fn undo(&self, steps: &[UndoStep], folder: &Path, context: &SourceContext<'_>) -> Result<()> {
        put_back(&self.config, steps, folder, context)
    }

    fn forget(&self, steps: &[UndoStep], _folder: &Path, _context: &SourceContext<'_>) -> Result<()> {
        for step in steps {
            if let Step::Files { folder, moved, .. } = Step::of(step)? {
                files::forget(&folder, &moved)?;
            }
        }
        Ok(())
    }
}
