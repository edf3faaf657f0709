//! Whether servers can load what a backup holds: asked before anything of theirs is replaced, because a server that finds out while it
//! loads has already dropped what it had.

use std::collections::BTreeSet;

use super::canonical::Gathered;
use super::server::{Seen, Server};
use crate::error::{Error, Kind, Result};
use crate::source::{Contents, SourceContext};

/// Types of values by the modules that bring them, as `MODULE LIST` names those. Of other types it is not known.
const BRINGS: [(&str, &[&str]); 9] = [
    ("ReJSON-RL", &["ReJSON", "json"]),
    ("MBbloom--", &["bf"]),
    ("MBbloomCF", &["bf"]),
    ("CMSk-TYPE", &["bf"]),
    ("TopK-TYPE", &["bf"]),
    ("TDIS-TYPE", &["bf"]),
    ("bloomfltr", &["bf"]),
    ("TSDB-TYPE", &["timeseries"]),
    ("vectorset", &["vectorset"]),
];

/// What a server must be able to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Version of the RDB format.
    version: u32,
    /// Types of modules.
    types: BTreeSet<String>,
}

impl Needs {
    /// Of all these together.
    pub(super) fn of(parts: &[Gathered]) -> Self {
        let version = parts.iter().map(|part| part.version).max().unwrap_or_default();
        Self { version, types: parts.iter().flat_map(|part| part.module_types.iter().cloned()).collect() }
    }

    /// An error of the kind `Version` when a server is too old, or lacks modules. `versions` are those of their RDBs.
    pub(super) fn demand(
        &self,
        versions: &[u32],
        servers: &[Server],
        contents: &dyn Contents,
        context: &SourceContext<'_>,
    ) -> Result<()> {
        for (server, version) in servers.iter().zip(versions) {
            self.demand_version(server, *version)?;
            if self.types.is_empty() {
                continue;
            }
            match Seen::of(server.connect(context.monitor)?.modules())? {
                Seen::Known(there) => self.demand_modules(server, &archived(contents), &there)?,
                Seen::Denied(why) => {
                    let types = self.types.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    context
                        .monitor
                        .note(&format!("whether {} has the modules of {types} is not seen: {why}", server.address));
                }
            }
        }
        Ok(())
    }

    fn demand_version(&self, server: &Server, version: u32) -> Result<()> {
        if self.version <= version {
            return Ok(());
        }
        let message = format!(
            "the backup holds an RDB of version {}, and the server at {} loads none beyond version {version}",
            self.version, server.address
        );
        Err(Error::new(Kind::Version, message).hint("restore to a server that is as new as the one that was captured"))
    }

    fn demand_modules(&self, server: &Server, archived: &[String], there: &[String]) -> Result<()> {
        let lacking = self.lacking(archived, there);
        if lacking.is_empty() {
            return Ok(());
        }
        let had = if archived.is_empty() {
            String::new()
        } else {
            format!(" (it was captured with {})", archived.join(", "))
        };
        let message = format!(
            "the backup holds values of modules that the server at {} does not have: {}{had}",
            server.address,
            lacking.join(", ")
        );
        Err(Error::new(Kind::Version, message).hint("load the modules first (loadmodule in redis.conf)"))
    }

    /// Types for which a server with the modules `there` has none. `archived` are those of the server that was captured, if they are
    /// known: where nobody knows which module brings a type, one of them must be there.
    fn lacking(&self, archived: &[String], there: &[String]) -> Vec<&str> {
        let has = |name: &str| there.iter().any(|module| module.eq_ignore_ascii_case(name));
        let brought = |name: &str| match BRINGS.iter().find(|(known, _)| *known == name) {
            Some((_, modules)) => modules.iter().any(|module| has(module)),
            None => !there.is_empty() && (archived.is_empty() || archived.iter().any(|module| has(module))),
        };
        self.types.iter().map(String::as_str).filter(|name| !brought(name)).collect()
    }
}

/// The modules of the servers that were captured; none where they were not seen.
fn archived(contents: &dyn Contents) -> Vec<String> {
    let facts = &contents.facts().facts;
    let told = facts.iter().filter(|(name, _)| *name == "modules" || name.ends_with("/modules"));
    let names = told.filter_map(|(_, text)| text.split_once(" (")).flat_map(|(names, _)| names.split(", "));
    names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::client::Login;
    use super::*;
    use crate::config::RedisAddress;

    fn needs(version: u32, types: &[&str]) -> Needs {
        Needs { version, types: types.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn modules(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_server_that_is_too_old_or_lacks_modules_is_refused() {
        let server = Server { address: RedisAddress::Tcp("h".into(), 1), login: Login::default() };
        assert!(needs(10, &[]).demand_version(&server, 10).is_ok());
        assert!(needs(10, &[]).demand_version(&server, 12).is_ok());
        let error = needs(12, &[]).demand_version(&server, 11).unwrap_err();
        assert_eq!(error.kind(), Kind::Version);
        let json = needs(10, &["ReJSON-RL"]);
        assert!(json.demand_modules(&server, &[], &modules(&["search", "ReJSON"])).is_ok());
        let error = json.demand_modules(&server, &modules(&["ReJSON"]), &modules(&["search"])).unwrap_err();
        assert_eq!(error.kind(), Kind::Version);
        assert!(error.to_string().contains("ReJSON-RL"), "{error}");
        let own = needs(10, &["own-type1"]);
        assert!(own.lacking(&[], &modules(&["own"])).is_empty());
        assert!(own.lacking(&modules(&["own", "more"]), &modules(&["OWN"])).is_empty());
        assert_eq!(own.lacking(&[], &[]), ["own-type1"]);
        assert_eq!(own.lacking(&modules(&["own"]), &modules(&["search"])), ["own-type1"]);
    }
}
