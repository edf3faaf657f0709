//! One server: what a capture, a comparison and an apply ask it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::canonical::Gathered;
use super::client::{Client, Login};
use super::link::Patience;
use super::psync::{Wanted, begin};
use super::reply::Reply;
use crate::config::RedisAddress as Address;
use crate::error::{Error, Kind, Result};
use crate::monitor::Monitor;

/// How long servers are waited for.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    silence: Duration::from_secs(60),
    total: Duration::from_secs(7 * 24 * 3600),
};
/// A server that says nothing at all to a `PING` is no Redis.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Where a server is and who asks it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) login: Login,
}

/// An RDB of a server, with what the transfer said about it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) gathered: Gathered,
    /// The id of the replication history, and the position in it.
    pub(super) replication: (String, u64),
    /// Bytes came over a network in clear.
    pub(super) exposed: bool,
}

impl Server {
    /// The server at `host:port`.
    pub(super) fn at(address: &str, login: &Login) -> Result<Self> {
        Ok(Self { address: Address::parse_host(address)?, login: login.clone() })
    }

    /// A connection that is logged in.
    pub(super) fn connect<'a>(&self, monitor: &'a dyn Monitor) -> Result<Client<'a>> {
        let patience = Patience { silence: FIRST_ANSWER, ..PATIENCE };
        let mut client = Client::open(&self.address, &self.login, patience, monitor)?;
        client.set_silence(PATIENCE.silence);
        Ok(client)
    }

    /// How long it is waited for.
    pub(super) fn patience() -> Patience {
        PATIENCE
    }

    /// All its data at one moment.
    pub(super) fn snapshot(&self, scratch: &Path, memory: usize, monitor: &dyn Monitor) -> Result<Snapshot> {
        let about = || format!("cannot capture the Redis server at {}", self.address);
        let mut client = self.connect(monitor)?;
        let exposed = client.is_exposed();
        let transfer = begin(client, Wanted::Everything).map_err(|e| e.within(about()))?;
        let transfer = transfer.ok_or_else(|| Error::failed("no transfer was begun"))?;
        let replication = (transfer.id.clone(), transfer.offset);
        let mut step = |bytes| {
            monitor.advance(bytes, 0);
            monitor.check()
        };
        let gathered = transfer.gather(scratch, memory, &mut step).map_err(|e| e.within(about()))?;
        Ok(Snapshot { gathered, replication, exposed })
    }

    /// Tries rights, fork and path of a capture without any data; false when the server is too old for that.
    pub(super) fn try_transfer(&self, scratch: &Path, monitor: &dyn Monitor) -> Result<bool> {
        match begin(self.connect(monitor)?, Wanted::Nothing)? {
            Some(transfer) => transfer.gather(scratch, 1 << 20, &mut |_| monitor.check()).map(|_| true),
            None => Ok(false),
        }
    }
}

/// What is asked for may be forbidden: then it is not known, and why.
#[derive(Debug)]
pub(super) enum Seen<T> {
    Known(T),
    /// The server's refusal.
    Denied(String),
}

impl<T> Seen<T> {
    /// What is known.
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Denied(_) => None,
        }
    }

    /// Refusals for lack of a right are values; all other errors stay errors.
    pub(super) fn of(result: Result<T>) -> Result<Self> {
        match result {
            Ok(value) => Ok(Self::Known(value)),
            Err(error) if matches!(error.kind(), Kind::Denied | Kind::Version) => Ok(Self::Denied(error.one_line())),
            Err(error) => Err(error),
        }
    }
}

/// Fields of `INFO`.
pub(super) type Info = BTreeMap<String, String>;

impl Client<'_> {
    /// All fields of `INFO`.
    pub(super) fn info(&mut self) -> Result<Info> {
        let text = self.text(&[b"INFO"])?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The server's clock: milliseconds since 1970. This host's where the server may not be asked.
    pub(super) fn now(&mut self) -> Result<i64> {
        if let Seen::Known(reply) = Seen::of(self.call(&[b"TIME"]))?
            && let [seconds, micros] = reply.items()
            && let (Some(seconds), Some(micros)) = (number(seconds), number(micros))
        {
            return Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000));
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    /// The names of its modules.
    pub(super) fn modules(&mut self) -> Result<Vec<String>> {
        let reply = self.call(&[b"MODULE", b"LIST"])?;
        let name = |module: &Reply| {
            let fields = module.items();
            let at = fields.iter().position(|field| field.text().as_deref() == Some("name"))?;
            fields.get(at + 1)?.text()
        };
        Ok(reply.items().iter().filter_map(name).collect())
    }

    /// The code of its libraries of functions, sorted. None before version 7.
    pub(super) fn functions(&mut self) -> Result<Vec<Vec<u8>>> {
        let reply = match self.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"])? {
            Reply::Refused(refusal) if refusal.is_unknown() => return Ok(Vec::new()),
            Reply::Refused(refusal) => return Err(refusal.into_error("FUNCTION LIST")),
            reply => reply,
        };
        let code = |library: &Reply| {
            let fields = library.items();
            let at = fields.iter().position(|field| field.text().as_deref() == Some("library_code"))?;
            if let Reply::Bulk(code) = fields.get(at + 1)? { Some(code.clone()) } else { None }
        };
        let mut functions: Vec<_> = reply.items().iter().filter_map(code).collect();
        functions.sort_unstable();
        Ok(functions)
    }

    /// Keys of each database, as `INFO` counts them.
    pub(super) fn keyspace(&mut self) -> Result<BTreeMap<u32, u64>> {
        let keys = |(name, value): (String, String)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let keys = value.split(',').find_map(|field| field.strip_prefix("keys="))?.parse().ok()?;
            Some((number, keys))
        };
        Ok(self.info()?.into_iter().filter_map(keys).collect())
    }
}

fn number(reply: &Reply) -> Option<i64> {
    reply.text()?.parse().ok()
}
