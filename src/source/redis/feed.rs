//! Replaces all data of a living server by an RDB, as a master would: in one step, with the old data in place until all is there.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::client::Client;
use super::master::Master;
use super::reply::Reply;
use super::server::Server;
use crate::error::{Error, Kind, Result};
use crate::monitor::{Monitor, Recorder};

/// The user as whom a server comes to fetch; by it a server is known that a killed run has left waiting.
const FETCHER: &str = "ccbackup-restore";
/// How long a server may take for what follows at once.
const SOON: Duration = Duration::from_secs(60);
/// How long a server may take to write its append-only file anew.
const REWRITE: Duration = Duration::from_secs(30 * 60);

/// What a server is to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody gives it data.
    Master,
    /// A killed run of ours has told it to fetch data from us.
    Waiting,
    /// Its data are those of another server.
    ReplicaOf(String),
}

/// What a server is to others.
pub(super) fn role(client: &mut Client<'_>) -> Result<Role> {
    let info = client.info()?;
    let field = |name: &str| info.get(name).map(String::as_str).unwrap_or_default();
    if field("role") != "slave" {
        return Ok(Role::Master);
    }
    let master = place(field("master_host"), field("master_port"));
    if field("master_link_status") != "up" && client.setting("masteruser")?.as_deref() == Some(FETCHER) {
        return Ok(Role::Waiting);
    }
    Ok(Role::ReplicaOf(master))
}

/// A master as `INFO` names it.
fn place(host: &str, port: &str) -> String {
    format!("{host}:{port}")
}

/// Frees a server that a killed run has left waiting. `from` is where that run told it to fetch, if that was noted: a server with a
/// login of its own for its master is known by nothing else.
pub(super) fn mend(server: &Server, from: Option<&str>) -> Result<()> {
    let quiet = Recorder::default();
    let mut client = server.connect(&quiet)?;
    let waits = match role(&mut client)? {
        Role::Master => false,
        Role::Waiting => true,
        Role::ReplicaOf(master) => from == Some(master.as_str()),
    };
    if waits {
        client.call(&[b"REPLICAOF", b"NO", b"ONE"])?;
    }
    if matches!(client.setting("masteruser"), Ok(Some(user)) if user == FETCHER) {
        forget_login(&mut client)?;
    }
    Ok(())
}

fn forget_login(client: &mut Client<'_>) -> Result<()> {
    client.call(&[b"CONFIG", b"SET", b"masterauth", b""])?;
    client.call(&[b"CONFIG", b"SET", b"masteruser", b""]).map(|_| ())
}

/// What the caller does in between.
pub(super) struct Between<'a> {
    /// Notes durably where the server will be told to fetch from; [`mend`] wants it.
    pub(super) note: &'a mut dyn FnMut(&str) -> Result<()>,
    /// Compares what the server holds: it has loaded all, and nobody can write to it yet.
    pub(super) compare: &'a mut dyn FnMut() -> Result<()>,
}

/// Gives the server `rdb` instead of all it has, functions included. When this fails the server is a master again, with its old
/// data, or (when that was lost, too) with an error that says so.
pub(super) fn replace_all(
    server: &Server,
    rdb: &mut dyn Read,
    between: Between<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    mend(server, None)?;
    let mut control = server.connect(monitor)?;
    if let Role::ReplicaOf(master) = role(&mut control)? {
        return Err(Error::failed(format!(
            "{} is a replica of {master}; its data are those of its master",
            server.address
        )));
    }
    if control.setting("tls-replication")?.as_deref() == Some("yes") {
        let error = Error::failed(
            "the server fetches data over TLS alone (tls-replication), which this program does not speak",
        );
        return Err(error.hint("CONFIG SET tls-replication no for the time of the restore"));
    }
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (here, there) = control.ends().unwrap_or((local, local));
    let login = Fetching::prepare(&mut control)?;
    let fed = fetch((server, &mut control), &login, (here, there), rdb, between, monitor);
    // Whoever wants to stop waits for this: the server must not stay a replica of nobody.
    let freed = free(server, &login);
    match (fed, freed) {
        (Ok(()), Ok(())) => wait_for_rewrite(server, monitor),
        (Err(error), Ok(())) => Err(error),
        (Ok(()), Err(error)) => Err(stuck(error)),
        (Err(error), Err(_)) => Err(stuck(error)),
    }
}

fn stuck(error: Error) -> Error {
    error.within("the server may still be a replica of nobody").hint("REPLICAOF NO ONE frees it")
}

/// As whom the server comes.
struct Fetching {
    user: Option<Vec<u8>>,
    password: Vec<u8>,
    /// It was given to the server for this, and is taken away again.
    ours: bool,
}

impl Fetching {
    /// A server that knows how to log in at a master keeps that; else it gets a login for this one time.
    fn prepare(control: &mut Client<'_>) -> Result<Self> {
        let password = control.setting("masterauth")?.unwrap_or_default().into_bytes();
        let user = control.setting("masteruser")?.map(String::into_bytes).filter(|user| !user.is_empty());
        if !password.is_empty() {
            return Ok(Self { user, password, ours: false });
        }
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|e| Error::failed("the system gives no random bytes").because(e))?;
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Servers before version 6 have no users.
        let named = !matches!(control.ask(&[b"CONFIG", b"SET", b"masteruser", FETCHER.as_bytes()])?, Reply::Refused(_));
        control.call(&[b"CONFIG", b"SET", b"masterauth", password.as_bytes()])?;
        Ok(Self { user: named.then(|| FETCHER.into()), password: password.into_bytes(), ours: true })
    }
}

fn fetch(
    (server, control): (&Server, &mut Client<'_>),
    login: &Fetching,
    (here, there): (IpAddr, IpAddr),
    rdb: &mut dyn Read,
    between: Between<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let master = Master::listen(here, there, login.user.clone(), login.password.clone())?;
    let address = master.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    (between.note)(&place(&host, &port))?;
    control.call(&[b"REPLICAOF", host.as_bytes(), port.as_bytes()])?;
    let mut fed = master.feed(rdb, Server::patience(), monitor)?;
    let alive = fed.keep_alive();
    let until = Instant::now() + SOON;
    loop {
        let info = control.info()?;
        let field = |name: &str| info.get(name).map(String::as_str);
        if field("master_link_status") == Some("up") && field("master_sync_in_progress") == Some("0") {
            break;
        }
        if Instant::now() > until {
            return Err(Error::new(
                Kind::TimedOut,
                "the server has loaded the data and does not say that it is connected",
            ));
        }
        monitor.check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    // It starts no other child while it writes its append-only file, and the comparison needs one.
    wait_for_rewrite(server, monitor)?;
    (between.compare)()?;
    // A connection that was silent for so long may have been ended.
    server.connect(monitor)?.call(&[b"REPLICAOF", b"NO", b"ONE"])?;
    drop(alive);
    fed.close();
    Ok(())
}

fn free(server: &Server, login: &Fetching) -> Result<()> {
    let quiet = Recorder::default();
    let until = Instant::now() + SOON;
    let mut client = loop {
        match server.connect(&quiet) {
            Ok(client) => break client,
            // It may be loading.
            Err(e) if e.kind() == Kind::Unreachable && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(e) => return Err(e),
        }
    };
    client.call(&[b"REPLICAOF", b"NO", b"ONE"])?;
    if login.ours { forget_login(&mut client) } else { Ok(()) }
}

/// A server with an append-only file writes it anew: only then the data survive a restart.
fn wait_for_rewrite(server: &Server, monitor: &dyn Monitor) -> Result<()> {
    let mut client = server.connect(monitor)?;
    let until = Instant::now() + REWRITE;
    loop {
        let info = client.info()?;
        let field = |name: &str| info.get(name).map(String::as_str).unwrap_or_default();
        if field("aof_enabled") != "1" {
            return Ok(());
        }
        if field("aof_rewrite_in_progress") == "0" && field("aof_rewrite_scheduled") == "0" {
            return if field("aof_last_bgrewrite_status") == "ok" {
                Ok(())
            } else {
                let error =
                    Error::failed("the data are in the server, but it could not write its append-only file anew");
                Err(error.hint("without that file they are gone after a restart: its log says why; then BGREWRITEAOF"))
            };
        }
        monitor.check()?;
        if Instant::now() > until {
            return Err(Error::new(Kind::TimedOut, "the server is still writing its append-only file"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
