//! Where requests go.

use std::fmt;

use crate::error::{Error, Result};

/// Scheme, host and port, and what every path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// Lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Empty, or begins with `/` and does not end with it.
    prefix: String,
}

impl Origin {
    /// Reads `http://host:port/prefix`. Credentials, queries and fragments have no place in it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        // The text is not repeated: it may hold a password.
        let bad = |what: &str| Err(Error::usage(format!("the URL {what}")));
        let (is_tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return bad("does not begin with http:// or https://"),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            let error = Error::usage("the URL holds credentials");
            return Err(error.hint("give them by reference: { file = … }, { env = … }, { vault = … }"));
        }
        let (host, port) = match authority.rfind(':') {
            Some(at) if !authority[at..].contains(']') => (&authority[..at], Some(&authority[at + 1..])),
            _ => (authority, None),
        };
        let name =
            |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let address = |host: &str| {
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        };
        if !name(host) && !address(host) {
            return bad("has no host, or not one that can be");
        }
        let default = if is_tls { 443 } else { 80 };
        let port = match port.map(str::parse::<u16>) {
            None => default,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return bad("has a port that is none"),
        };
        let plain = |b: u8| b.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&b);
        if !path.bytes().all(plain) || path.split('/').any(|part| matches!(part, "." | "..")) {
            return bad("has a path, query or fragment that cannot be used");
        }
        let prefix = path.trim_end_matches('/').to_owned();
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port, prefix })
    }

    /// The URL of a path below the prefix. Bytes that have a meaning in URLs are escaped, but for `/` in the path.
    pub(super) fn url(&self, path: &str, query: &[(String, String)]) -> String {
        let mut url = format!("{self}{}/{}", self.prefix, escaped(path.trim_start_matches('/'), true));
        for (at, (name, value)) in query.iter().enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            url.push_str(&format!("{sign}{}={}", escaped(name, false), escaped(value, false)));
        }
        url
    }

    /// Where a redirect leads, if that is at the same place: the path and query, as they stand.
    pub(super) fn follow(&self, location: &str) -> Option<String> {
        let path = match Self::parse(location.split(['?', '#']).next().unwrap_or_default()) {
            Ok(other) if (other.is_tls, &other.host, other.port) == (self.is_tls, &self.host, self.port) => {
                let after = location.split_once("://")?.1;
                after.find('/').map_or("/", |at| &after[at..])
            }
            Ok(_) => return None,
            // `//host/…` is another host.
            Err(_) if location.starts_with('/') && !location.starts_with("//") => location,
            Err(_) => return None,
        };
        let path = path.split('#').next().unwrap_or_default();
        path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\').then(|| format!("{self}{path}"))
    }
}

/// Scheme, host and port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.is_tls { "https" } else { "http" }, self.host, self.port)
    }
}

fn escaped(text: &str, is_path: bool) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || (is_path && b == b'/');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_paths_are_put_below_it() {
        let url = |base: &str| Origin::parse(base).unwrap().url("api/a b?/ü", &[("q".into(), "x&y=z".into())]);
        let path = "api/a%20b%3F/%C3%BC?q=x%26y%3Dz";
        assert_eq!(url("http://Localhost"), format!("http://localhost:80/{path}"));
        assert_eq!(url("https://a.b-c:8443/grafana/"), format!("https://a.b-c:8443/grafana/{path}"));
        assert_eq!(url("HTTPS://[::1]"), format!("https://[::1]:443/{path}"));
        for bad in [
            "",
            "localhost",
            "ftp://x",
            "http://",
            "http://:80",
            "http://x:0",
            "http://x:99999",
            "http://x:y",
            "http://a b",
            "http://x/?q",
            "http://x/#f",
            "http://x/../y",
            "http://[::1",
            "http://[x]",
            "http://x\\y",
            "http://x/\n",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = Origin::parse("http://user:canary@host/").unwrap_err();
        assert!(error.advice().is_some() && !format!("{error:?}").contains("canary"));
    }

    #[test]
    fn a_redirect_is_followed_only_to_the_same_place() {
        let origin = Origin::parse("http://host:3000/base").unwrap();
        let at = |location: &str| origin.follow(location);
        assert_eq!(at("/login?x=1#y").as_deref(), Some("http://host:3000/login?x=1"));
        assert_eq!(at("http://HOST:3000/a?b").as_deref(), Some("http://host:3000/a?b"));
        for other in [
            "http://host/a",
            "https://host:3000/a",
            "http://other:3000/",
            "//other/a",
            "http://host:3000@other/",
            "a",
            "",
            "http:/a",
            "/a\r\nb",
            "/\\other",
            "http://host:3000.other/",
        ] {
            assert_eq!(at(other), None, "{other}");
        }
    }
}
