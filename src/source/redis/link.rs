//! A connection that never waits for ever: each wait has a bound, all waits together have one, and who wants to stop is heard.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::config::RedisAddress as Address;
use crate::error::{Error, Kind, Result};
use crate::monitor::Monitor;

/// How often a wait looks whether somebody wants to stop.
const TICK: Duration = Duration::from_millis(200);

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a connection.
    pub(super) connect: Duration,
    /// For the next byte.
    pub(super) silence: Duration,
    /// For all together, since the connection was made.
    pub(super) total: Duration,
}

/// A connection to a server.
pub(super) struct Link<'a> {
    stream: Stream,
    patience: Patience,
    deadline: Instant,
    monitor: &'a dyn Monitor,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl<'a> Link<'a> {
    /// Connects to the first address of the host that answers.
    pub(super) fn open(address: &Address, patience: Patience, monitor: &'a dyn Monitor) -> Result<Self> {
        let unreachable = |e: io::Error| {
            let kind = if e.kind() == ErrorKind::TimedOut { Kind::TimedOut } else { Kind::Unreachable };
            Error::new(kind, format!("cannot connect to the Redis server at {address}")).because(e)
        };
        let stream = match address {
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).map_err(unreachable)?),
            Address::Tcp(host, port) => {
                let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
                let mut found = None;
                for socket in (host.as_str(), *port).to_socket_addrs().map_err(unreachable)? {
                    match TcpStream::connect_timeout(&socket, patience.connect) {
                        Ok(stream) => {
                            found = Some(stream);
                            break;
                        }
                        Err(e) => last = e,
                    }
                }
                Stream::Tcp(found.ok_or(last).map_err(unreachable)?)
            }
        };
        Self::over(stream, patience, monitor).map_err(unreachable)
    }

    /// Takes a connection that somebody else made.
    pub(super) fn accepted(stream: TcpStream, patience: Patience, monitor: &'a dyn Monitor) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Self::over(Stream::Tcp(stream), patience, monitor)
    }

    fn over(stream: Stream, patience: Patience, monitor: &'a dyn Monitor) -> io::Result<Self> {
        match &stream {
            Stream::Tcp(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(TICK))?;
                tcp.set_write_timeout(Some(TICK))?;
            }
            Stream::Unix(unix) => {
                unix.set_read_timeout(Some(TICK))?;
                unix.set_write_timeout(Some(TICK))?;
            }
        }
        let now = Instant::now();
        let deadline = now.checked_add(patience.total).unwrap_or(now);
        Ok(Self { stream, patience, deadline, monitor })
    }

    /// How long the other end may be silent from now on.
    pub(super) fn set_silence(&mut self, silence: Duration) {
        self.patience.silence = silence;
    }

    /// The address of this end, and of the other; none of a socket.
    pub(super) fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        match &self.stream {
            Stream::Tcp(tcp) => Some((tcp.local_addr().ok()?.ip(), tcp.peer_addr().ok()?.ip())),
            Stream::Unix(_) => None,
        }
    }

    /// Bytes leave this host in clear.
    pub(super) fn is_exposed(&self) -> bool {
        self.ends().is_some_and(|(_, peer)| !peer.is_loopback())
    }

    /// A second handle of the same connection; none of a socket.
    pub(super) fn share(&self) -> Option<TcpStream> {
        match &self.stream {
            Stream::Tcp(tcp) => tcp.try_clone().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Ends it both ways, so that the other end notices at once.
    pub(super) fn close(&self) {
        // Whoever closed before us has done what we want.
        let _closed = match &self.stream {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Both),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Both),
        };
    }

    /// Tries again and again until something moves, or until it took too long.
    fn patiently(&mut self, mut attempt: impl FnMut(&mut Stream) -> io::Result<usize>) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            match attempt(&mut self.stream) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
            self.monitor.check().map_err(io::Error::other)?;
            let now = Instant::now();
            if now >= self.deadline {
                return Err(io::Error::other(too_long("the whole took longer", self.patience.total)));
            }
            if now - began >= self.patience.silence {
                return Err(io::Error::other(too_long("the server was silent for longer", self.patience.silence)));
            }
        }
    }
}

fn too_long(what: &str, bound: Duration) -> Error {
    Error::new(Kind::TimedOut, format!("{what} than {:.1} s", bound.as_secs_f32()))
}

impl Read for Link<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|stream| match stream {
            Stream::Tcp(tcp) => tcp.read(buffer),
            Stream::Unix(unix) => unix.read(buffer),
        })
    }
}

impl Write for Link<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.patiently(|stream| match stream {
            Stream::Tcp(tcp) => tcp.write(buffer),
            Stream::Unix(unix) => unix.write(buffer),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
