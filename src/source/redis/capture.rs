//! A capture: all is read from the servers first, at one moment each, and only then given away. So no socket waits for packing,
//! nothing is given that did not come to its end, and a cluster that moved meanwhile is read again.

use std::collections::{BTreeMap, VecDeque};

use super::acl;
use super::canonical::{CanonicalRdb, MEMORY};
use super::cluster::Topology;
use super::fleet::{Fleet, fleet};
use super::rdb::Checksum;
use super::server::{Info, Seen, Server, Snapshot};
use super::settings;
use crate::config::RedisConfig;
use crate::error::{Error, Kind, Result};
use crate::model::{EntryPath, Problem, ProblemKind, pretty_json};
use crate::monitor::Monitor;
use crate::source::{Body, Counts, Facts, Object, Objects, SourceContext};

/// How often a cluster that moves is read again.
const TRIES: u32 = 3;
/// Memory of one master's records in a cluster.
const LEAST_MEMORY: usize = 4 << 20;

/// Objects that were read.
#[derive(Debug)]
pub(super) struct Capture {
    objects: VecDeque<(String, Content)>,
    facts: Facts,
}

#[derive(Debug)]
enum Content {
    Document(Vec<u8>),
    Rdb(Box<CanonicalRdb>),
}

/// What one server gave.
struct Taken {
    info: Seen<Info>,
    modules: Seen<Vec<String>>,
    documents: Vec<(&'static str, Seen<Vec<u8>>)>,
    snapshot: Snapshot,
}

/// Reads everything.
pub(super) fn take(config: &RedisConfig, context: &SourceContext<'_>) -> Result<Capture> {
    match fleet(config, context)? {
        Fleet::Alone(server) => {
            let taken = take_one(config, &server, MEMORY, context)?;
            let mut capture = Capture { objects: VecDeque::new(), facts: Facts::default() };
            capture.add("", taken)?;
            Ok(capture)
        }
        Fleet::Cluster(nodes, login) => {
            for _ in 0..TRIES {
                let before = Topology::of(&nodes, &login, context.monitor)?;
                let memory = (MEMORY / before.masters.len().max(1)).max(LEAST_MEMORY);
                let mut all = Vec::new();
                for shard in &before.masters {
                    let server = Server::at(&shard.address, &login)?;
                    all.push((shard.folder.clone(), take_one(config, &server, memory, context)?));
                }
                if Topology::of(&nodes, &login, context.monitor)?.claims() != before.claims() {
                    context.monitor.note("slots of the cluster moved while it was captured; it is captured again");
                    continue;
                }
                let document = Content::Document(pretty_json(&before)?);
                let objects = VecDeque::from([("cluster.json".to_owned(), document)]);
                let mut capture = Capture { objects, facts: Facts::default() };
                capture.facts.counts.insert("masters".into(), all.len() as u64);
                for (folder, taken) in all {
                    capture.add(&format!("{folder}/"), taken)?;
                }
                return Ok(capture);
            }
            Err(Error::new(Kind::Incomplete, format!("slots of the cluster moved in each of {TRIES} captures")))
        }
    }
}

fn take_one(config: &RedisConfig, server: &Server, memory: usize, context: &SourceContext<'_>) -> Result<Taken> {
    let monitor: &dyn Monitor = context.monitor;
    let mut client = server.connect(monitor)?;
    let info = Seen::of(client.info())?;
    let mut documents = Vec::new();
    if config.acl {
        documents.push(("acl.txt", Seen::of(client.users().map(|users| acl::document(&users)))?));
    }
    if config.settings {
        documents
            .push(("config.json", Seen::of(client.settings().and_then(|settings| settings::document(&settings)))?));
    }
    let modules = Seen::of(client.modules())?;
    drop(client);
    let snapshot = server.snapshot(context.scratch, memory, monitor)?;
    Ok(Taken { info, modules, documents, snapshot })
}

impl Capture {
    fn add(&mut self, folder: &str, taken: Taken) -> Result<()> {
        let Taken { info, modules, documents, snapshot } = taken;
        let facts = &mut self.facts;
        let version = info.known().and_then(|info| info.get("redis_version").cloned());
        facts.version = facts.version.take().or(version);
        for (name, document) in documents {
            let path = format!("{folder}{name}");
            match document {
                Seen::Known(bytes) => self.objects.push_back((path, Content::Document(bytes))),
                Seen::Denied(why) => {
                    let detail = format!("it was not captured: {why}");
                    facts.problems.push(Problem { kind: ProblemKind::Unreadable, path, detail });
                }
            }
        }
        count(&mut facts.counts, &snapshot);
        tell(&mut facts.facts, folder, &info, &modules, &snapshot);
        let rdb = CanonicalRdb::of(snapshot.gathered)?;
        self.objects.push_back((format!("{folder}dump.rdb"), Content::Rdb(Box::new(rdb))));
        Ok(())
    }
}

fn count(counts: &mut Counts, snapshot: &Snapshot) {
    let mut add = |name: String, number: u64| *counts.entry(name).or_default() += number;
    let all = &snapshot.gathered;
    for (number, database) in &all.databases {
        add(format!("keys_db{number}"), database.keys);
        add("keys_with_ttl".into(), database.expiring);
        add("keys_expired".into(), database.expired);
    }
    add("keys".into(), all.keys());
    add("libraries".into(), all.functions.len() as u64);
    add("rdb_bytes".into(), all.bytes);
}

fn tell(
    facts: &mut BTreeMap<String, String>,
    folder: &str,
    info: &Seen<Info>,
    modules: &Seen<Vec<String>>,
    snapshot: &Snapshot,
) {
    facts.insert("not_captured".into(), settings::NOT_CAPTURED.into());
    let mut tell = |name: &str, text: String| {
        facts.insert(format!("{folder}{name}"), text);
    };
    match info {
        Seen::Known(info) => {
            for name in ["run_id", "role", "redis_mode", "aof_enabled", "connected_slaves", "maxmemory_policy"] {
                if let Some(value) = info.get(name) {
                    tell(name, value.clone());
                }
            }
        }
        Seen::Denied(why) => tell("info", format!("not seen: {why}")),
    }
    match modules {
        Seen::Known(names) if names.is_empty() => {}
        Seen::Known(names) => tell("modules", format!("{} (a server without them refuses the RDB)", names.join(", "))),
        Seen::Denied(why) => tell("modules", format!("not seen: {why}")),
    }
    let Snapshot { gathered: all, replication: (id, offset), exposed } = snapshot;
    tell("repl_id", id.clone());
    tell("repl_offset", offset.to_string());
    tell("rdb_version", all.version.to_string());
    for name in ["ctime", "used-mem"] {
        if let Some(value) = all.volatile.get(name) {
            tell(&format!("rdb_{}", name.replace('-', "_")), value.clone());
        }
    }
    if all.checksum == Checksum::Off {
        tell("rdb_checksum", "off on the server (rdbchecksum no)".into());
    }
    if all.has_modules() {
        tell("module_data", "beside the keys".into());
    }
    if all.clocks {
        tell("eviction_clock", "left out: it changes by itself".into());
    }
    if all.unsorted > 0 {
        let text = format!(
            "{} sets or hashes are too large to be sorted: after a restart they are stored again",
            all.unsorted
        );
        tell("order", text);
    }
    if *exposed {
        tell("network", "the data came over a network in clear".into());
    }
}

impl Objects for Capture {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        let Some((path, content)) = self.objects.pop_front() else { return Ok(None) };
        let body = match content {
            Content::Document(bytes) => Body::Bytes(bytes),
            Content::Rdb(rdb) => Body::Stream(rdb),
        };
        Ok(Some(Object::new(EntryPath::new(path.into_bytes())?, body)))
    }

    fn finish(self: Box<Self>) -> Result<Facts> {
        Ok(self.facts)
    }
}
