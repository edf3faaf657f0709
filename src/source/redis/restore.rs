//! Fills a living cluster key by key: each to the master that has its slot.
//!
//! A cluster takes no `REPLICAOF`. `RESTORE` is not one step: what is cut short is begun anew, and replaces what it had done.
//!
//! Invariant: nothing is dropped before every master has taken a value of the version of the backup.

use std::io::Read as _;

use super::canonical::Gathered;
use super::client::{Client, Login};
use super::cluster::Topology;
use super::compare::{Found, Records};
use super::rdb::crc64;
use super::reply::Reply;
use super::server::Server;
use super::slots::slot;
use crate::config::RedisAddress;
use crate::error::{Context as _, Error, Kind, Result};
use crate::monitor::Monitor;
use crate::source::SourceContext;

/// Commands of one connection whose answers are not read yet.
const AHEAD: usize = 64;
/// Bytes of them.
const AHEAD_BYTES: u64 = 1 << 20;

/// A master that is being filled.
struct Filling<'a> {
    client: Client<'a>,
    waiting: usize,
    bytes: u64,
}

/// Whether all went to its place.
#[derive(Debug, PartialEq, Eq)]
enum Filled {
    Whole,
    /// A slot has moved meanwhile: begin again.
    Moved,
}

/// Milliseconds after which a value that was given for trial goes away by itself.
const TRIAL_MS: &[u8] = b"10000";

/// How often a cluster whose slots move is filled anew.
const TRIES: u32 = 3;

/// Empties all masters of a cluster and fills them with what `read` gives; functions too.
pub(super) fn refill(
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
        demand_one_database(&archive)?;
        let version = archive.iter().map(|part| part.version).max().unwrap_or_default();
        let mut moved = false;
        for (at, shard) in topology.masters.iter().enumerate() {
            let mut client = Server::at(&shard.address, login)?.connect(monitor)?;
            moved |= try_one(&mut client, &topology, at, version)? == Filled::Moved;
        }
        if moved {
            topology = Topology::of(nodes, login, monitor)?;
            continue;
        }
        let mut now = i64::MIN;
        for shard in &topology.masters {
            let mut client = Server::at(&shard.address, login)?.connect(monitor)?;
            now = now.max(client.now()?);
            client.call(&[b"FLUSHALL"])?;
            // Functions stay when all keys are dropped.
            match client.ask(&[b"FUNCTION", b"FLUSH"])? {
                // Before version 7 there are none.
                Reply::Refused(refusal) if functions.is_empty() && refusal.is_unknown() => {}
                Reply::Refused(refusal) => return Err(refusal.into_error("FUNCTION FLUSH")),
                _ => {}
            }
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

fn demand_one_database(archive: &[Gathered]) -> Result<()> {
    let other =
        archive.iter().flat_map(|part| &part.databases).find(|(number, counts)| **number != 0 && counts.keys > 0);
    let Some((number, _)) = other else { return Ok(()) };
    let message = format!("the backup has keys in database {number}, and a cluster has database 0 alone");
    Err(Error::failed(message))
}

/// Gives master number `at` one value of `version` under a name that nobody has, and drops it.
fn try_one(client: &mut Client<'_>, topology: &Topology, at: usize, version: u32) -> Result<Filled> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|e| Error::failed("the system gives no random bytes").because(e))?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let names = (0..1_u32 << 20).map(|number| format!("ccbackup-trial:{random}:{number}"));
    let name = names.into_iter().find(|name| topology.owner(slot(name.as_bytes())) == Some(at));
    let name = name.ok_or_else(|| Error::failed("no name has a slot of a master"))?;
    // A string, `1`.
    let mut payload = vec![0, 1, b'1'];
    payload.extend_from_slice(&payload_version(version));
    payload.extend_from_slice(&crc64(0, &payload).to_le_bytes());
    let reply = client.ask(&[b"RESTORE", name.as_bytes(), TRIAL_MS, &payload])?;
    if taken(reply, client)? == Filled::Moved {
        return Ok(Filled::Moved);
    }
    client.call(&[b"DEL", name.as_bytes()])?;
    Ok(Filled::Whole)
}

/// The version in a payload of `RESTORE`.
fn payload_version(version: u32) -> [u8; 2] {
    u16::try_from(version).unwrap_or(u16::MAX).to_le_bytes()
}

/// What a master says to `RESTORE`.
fn taken(reply: Reply, client: &Client<'_>) -> Result<Filled> {
    match reply {
        Reply::Refused(refusal) if matches!(refusal.code(), "MOVED" | "ASK" | "TRYAGAIN") => Ok(Filled::Moved),
        Reply::Refused(refusal) if refusal.0.contains("version or checksum") => {
            let message = format!("the server at {} cannot take values of a newer version", client.address());
            Err(Error::new(Kind::Version, message).because(refusal.into_error("RESTORE")))
        }
        Reply::Refused(refusal) => Err(refusal.into_error("RESTORE")),
        _ => Ok(Filled::Whole),
    }
}

/// Restores all records that have not expired at `now`. `versions` are those of the RDBs that `records` come from.
fn restore(
    topology: &Topology,
    login: &Login,
    records: &mut Records,
    versions: &[u32],
    now: i64,
    monitor: &dyn Monitor,
) -> Result<Filled> {
    let open = |address: &str| {
        let client = Server::at(address, login)?.connect(monitor)?;
        Ok(Filling { client, waiting: 0, bytes: 0 })
    };
    let mut masters = topology.masters.iter().map(|shard| open(&shard.address)).collect::<Result<Vec<_>>>()?;
    while let Some(found) = records.next()? {
        let head = &found.0.head;
        if head.database != 0 {
            let message =
                format!("the backup has keys in database {}, and a cluster has database 0 alone", head.database);
            return Err(Error::failed(message));
        }
        if head.expires.is_some_and(|at| at <= now) {
            continue;
        }
        let owner = topology.owner(slot(&head.key)).ok_or_else(|| Error::failed("a slot belongs to no master"))?;
        let version = versions.get(found.1).copied().unwrap_or_default();
        let filling = &mut masters[owner];
        filling.send(records, &found, version)?;
        monitor.advance(found.0.value.length(), 0);
        monitor.check()?;
        if (filling.waiting >= AHEAD || filling.bytes >= AHEAD_BYTES) && filling.settle()? == Filled::Moved {
            return Ok(Filled::Moved);
        }
    }
    for mut filling in masters {
        if filling.settle()? == Filled::Moved {
            return Ok(Filled::Moved);
        }
    }
    Ok(Filled::Whole)
}

impl Filling<'_> {
    /// `RESTORE key ms payload REPLACE ABSTTL`; the payload is type, value, version and checksum.
    fn send(&mut self, records: &Records, found: &Found, version: u32) -> Result<()> {
        let head = &found.0.head;
        let length = found.0.value.length() + 11;
        let expires = head.expires.unwrap_or(0).to_string();
        let mut bytes = b"*6\r\n$7\r\nRESTORE\r\n".to_vec();
        for word in [head.key.as_slice(), expires.as_bytes()] {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("${length}\r\n").as_bytes());
        let mut checksum = crc64(0, &[head.kind]);
        bytes.push(head.kind);
        let mut value = records.open(found)?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = value.read(&mut piece).doing("cannot read a value")?;
            if count == 0 {
                break;
            }
            checksum = crc64(checksum, &piece[..count]);
            bytes.extend_from_slice(&piece[..count]);
            if bytes.len() > 1 << 20 {
                self.client.send(&bytes)?;
                bytes.clear();
            }
        }
        let version = payload_version(version);
        checksum = crc64(checksum, &version);
        bytes.extend_from_slice(&version);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(b"\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n");
        self.client.send(&bytes)?;
        self.waiting += 1;
        self.bytes += length;
        Ok(())
    }

    /// Reads all answers.
    fn settle(&mut self) -> Result<Filled> {
        let mut filled = Filled::Whole;
        for _ in 0..std::mem::take(&mut self.waiting) {
            let reply = self.client.answer()?;
            if taken(reply, &self.client)? == Filled::Moved {
                filled = Filled::Moved;
            }
        }
        self.bytes = 0;
        Ok(filled)
    }
}
