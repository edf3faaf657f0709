//! Where a server is: `redis://host:port`, `host:port`, `unix:///run/redis.sock`.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result, path_text};

/// The port of Redis.
const PORT: u16 = 6379;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A host, by name or number, and a port.
    Tcp(String, u16),
    /// A socket of this host, absolute.
    Unix(PathBuf),
}

impl Address {
    /// Reads a URL without a password: secrets are named by reference, never written down. TLS is not spoken.
    pub fn parse_url(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("{text:?} is not the URL of a Redis server"));
        let hint = "write redis://host:port or unix:///path/to/socket; user and password have keys of their own";
        if text.contains('@') {
            return Err(Error::usage("the URL of a Redis server holds a user or a password").hint(hint));
        }
        if text.starts_with("rediss://") {
            let error = Error::usage("TLS (rediss://) is not built into this program");
            return Err(error.hint("use the server's socket or loopback, or a tunnel of ssh or stunnel"));
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(bad().hint(hint)) };
        }
        let rest = text.strip_prefix("redis://").ok_or_else(|| bad().hint(hint))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(bad().hint("all databases of the server are captured, so the URL names none"));
        }
        Self::parse_host(rest).map_err(|_| bad().hint(hint))
    }

    /// Reads `host`, `host:port`, `[::1]:port`.
    pub fn parse_host(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("{text:?} is not a host and a port, like \"127.0.0.1:6379\""));
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => {
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) })
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
            None => PORT,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(bad());
        }
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

impl Address {
    /// As [`Self::parse_url`] reads it.
    #[must_use]
    pub fn to_url(&self) -> String {
        match self {
            Self::Tcp(..) => format!("redis://{self}"),
            Self::Unix(_) => format!("unix://{self}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(&path_text(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_hosts_are_read_and_written_back() {
        let tcp = |host: &str, port| Address::Tcp(host.to_owned(), port);
        assert_eq!(Address::parse_url("redis://db.example").unwrap(), tcp("db.example", 6379));
        assert_eq!(Address::parse_url("redis://127.0.0.1:7000/").unwrap(), tcp("127.0.0.1", 7000));
        assert_eq!(Address::parse_url("redis://[::1]:7000").unwrap().to_string(), "[::1]:7000");
        assert_eq!(Address::parse_url("unix:///run/r.sock").unwrap(), Address::Unix("/run/r.sock".into()));
        assert_eq!(Address::parse_host("a:1").unwrap(), tcp("a", 1));
        for bad in ["redis://", "redis://h:0", "redis://h:x", "redis://h/1", "http://h", "unix://run", "redis://h h"] {
            assert!(Address::parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = Address::parse_url("redis://me:hunter2@h").unwrap_err();
        assert!(!error.one_line().contains("hunter2"), "{error}");
        assert!(Address::parse_url("rediss://h").unwrap_err().to_string().contains("TLS"));
    }
}
