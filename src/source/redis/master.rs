//! A master for one replica and one transfer: how an RDB gets into a living server whose files are out of reach.
//!
//! The server is told `REPLICAOF` us, fetches the RDB as it would from any master, and is told `REPLICAOF NO ONE` once what it holds was compared. So the RDB goes
//! from the archive into the server without lying in clear on a disk of ours, and no other program is needed. When the archive
//! turns out to be damaged in the middle the mark is never sent: the server drops what came and keeps what it had (with
//! `repl-diskless-load` as it is by default).

use std::io::{ErrorKind, Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::link::{Link, Patience};
use super::rdb::Input;
use super::reply::Reply;
use crate::error::{Context as _, Error, Kind, Result};
use crate::monitor::Monitor;

/// How long to wait for the replica to come.
const COMING: Duration = Duration::from_secs(20);
/// How often a replica hears of its master.
const PING: Duration = Duration::from_secs(1);
/// The longest command of a replica.
const MAX_COMMAND: usize = 64 << 10;

/// Listens for one replica, which has to know a password.
pub(super) struct Master {
    listener: TcpListener,
    address: SocketAddr,
    replica: IpAddr,
    user: Option<Vec<u8>>,
    password: Vec<u8>,
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Master").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A replica that has loaded all. The connection stays while this lives.
#[derive(Debug)]
pub(super) struct Fed<'a> {
    input: Input<Link<'a>>,
}

impl Fed<'_> {
    /// Says something now and then, as masters do, until what this gives is dropped: a replica leaves a master that is silent, and is
    /// then asked in vain for what it holds.
    pub(super) fn keep_alive(&mut self) -> Option<KeptAlive> {
        let stream = self.input.inner().share()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || say_something(stream, &ended));
        Some(KeptAlive { stop, thread: Some(thread) })
    }

    /// Ends the connection.
    pub(super) fn close(mut self) {
        self.input.inner().close();
    }
}

/// A connection that a thread keeps alive.
#[derive(Debug)]
pub(super) struct KeptAlive {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for KeptAlive {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It does not panic, and waits no longer than a read does.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// Drops what the replica says, and pings it. It ends by itself when the connection does; whoever needs that notices.
fn say_something(mut stream: TcpStream, stop: &AtomicBool) {
    let mut dropped = [0; 4096];
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut dropped) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => return,
        }
        if last.elapsed() >= PING {
            if stream.write_all(b"*1\r\n$4\r\nPING\r\n").is_err() {
                return;
            }
            last = Instant::now();
        }
    }
}

impl Master {
    /// Listens at `here`, for a replica at `replica`.
    pub(super) fn listen(here: IpAddr, replica: IpAddr, user: Option<Vec<u8>>, password: Vec<u8>) -> Result<Self> {
        let listener =
            TcpListener::bind((here, 0)).doing(format!("cannot listen at {here} for the server to fetch the data"))?;
        listener.set_nonblocking(true).doing("cannot listen")?;
        let address = listener.local_addr().doing("cannot listen")?;
        Ok(Self { listener, address, replica, user, password })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the replica and gives it `rdb`, until it says that it has loaded it.
    pub(super) fn feed<'a>(&self, rdb: &mut dyn Read, patience: Patience, monitor: &'a dyn Monitor) -> Result<Fed<'a>> {
        let until = Instant::now() + COMING;
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    let link = Link::accepted(stream, patience, monitor).doing("cannot talk to the server")?;
                    if peer.ip() != self.replica {
                        link.close();
                        continue;
                    }
                    let mut input = Input::new(link);
                    if self.greet(&mut input)? {
                        return send(input, rdb, monitor);
                    }
                    input.inner().close();
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    monitor.check()?;
                    if Instant::now() > until {
                        let message = format!("the server did not come to {} to fetch the data", self.address);
                        let hint = "it must reach this host at that address without TLS; its log says what it tried";
                        return Err(Error::new(Kind::TimedOut, message).hint(hint));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(e) => return Err(Error::failed("cannot wait for the server to fetch the data").because(e)),
            }
        }
    }

    /// The talk before the transfer; false when whoever came does not know the password or goes away.
    fn greet(&self, input: &mut Input<Link<'_>>) -> Result<bool> {
        let mut known = false;
        for _ in 0..32 {
            let words = match Reply::read(input, MAX_COMMAND) {
                Ok(Reply::Array(words)) => words,
                Ok(_) => return Ok(false),
                Err(e) if matches!(e.kind(), Kind::Incomplete | Kind::Unreachable) => return Ok(false),
                Err(e) => return Err(e),
            };
            let words: Vec<Vec<u8>> =
                words.into_iter().filter_map(|w| if let Reply::Bulk(w) = w { Some(w) } else { None }).collect();
            let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
            let answer: &[u8] = match name.as_slice() {
                b"AUTH" => {
                    let (user, password) = match &words[1..] {
                        [password] => (None, password),
                        [user, password] => (Some(user), password),
                        _ => return Ok(false),
                    };
                    known = user == self.user.as_ref() && *password == self.password;
                    if known {
                        b"+OK\r\n"
                    } else {
                        b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
                    }
                }
                _ if !known => b"-NOAUTH Authentication required.\r\n",
                b"PING" => b"+PONG\r\n",
                b"REPLCONF" => b"+OK\r\n",
                b"PSYNC" => return Ok(true),
                _ => b"-ERR unknown command\r\n",
            };
            if input.inner().write_all(answer).is_err() {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

/// Who hangs up with all in hand could not load it.
fn unloaded(error: Error) -> Error {
    match error.kind() {
        Kind::Interrupted(_) => error,
        _ => error
            .hint("it had dropped what it had before it loaded: its log says why it could not; an undo puts that back"),
    }
}

fn send<'a>(mut input: Input<Link<'a>>, rdb: &mut dyn Read, monitor: &dyn Monitor) -> Result<Fed<'a>> {
    let mut random = [0; 40];
    getrandom::fill(&mut random).map_err(|e| Error::failed("the system gives no random bytes").because(e))?;
    let hex: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let (id, mark) = hex.split_at(40);
    let gone = |e: std::io::Error| match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::new(Kind::Incomplete, "the server hung up while it was given the data").because(e).hint(
            "its log says why; what it had before is still there, unless repl-diskless-load lets it load at once",
        ),
    };
    let head = format!("+FULLRESYNC {id} 0\r\n$EOF:{mark}\r\n");
    input.inner().write_all(head.as_bytes()).map_err(gone)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match rdb.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => {
                // The mark is never sent: the server drops what came.
                input.inner().close();
                return Err(e
                    .downcast::<Error>()
                    .unwrap_or_else(|e| Error::failed("cannot read the archive").because(e)));
            }
        };
        input.inner().write_all(&buffer[..count]).map_err(gone)?;
        monitor.advance(count as u64, 0);
    }
    input.inner().write_all(mark.as_bytes()).map_err(gone)?;
    // Nothing may follow the mark: a server looks for it at the end of what it has read. Newlines come while it loads, then
    // its first `REPLCONF ACK`.
    input.restart("the server's word that it has loaded the data");
    loop {
        while input.peek().map_err(unloaded)?.first() == Some(&b'\n') {
            input.byte()?;
        }
        let Reply::Array(words) = Reply::read(&mut input, MAX_COMMAND).map_err(unloaded)? else { continue };
        let words: Vec<_> = words.iter().filter_map(Reply::text).map(|w| w.to_ascii_uppercase()).collect();
        if matches!(words.as_slice(), [name, what, ..] if name == "REPLCONF" && what == "ACK") {
            return Ok(Fed { input });
        }
    }
}
