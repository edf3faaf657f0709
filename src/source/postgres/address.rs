//! Where a server is, as the configuration says, and as PostgreSQL's tools are told.

use zeroize::Zeroizing;

use super::names::setting;
use crate::config::{PostgresConfig, PostgresUrl};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Parameters of a URL that are passed on. Others could change what a dump holds, or where it goes.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslsni",
    "sslcertmode",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "gssencmode",
    "krbsrvname",
    "channel_binding",
    "require_auth",
    "target_session_attrs",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "hostaddr",
];

/// A server and how one logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    settings: Vec<(String, String)>,
    /// The database of the first connection.
    pub(super) database: String,
}

impl Address {
    /// What the configuration says, and the password. References are resolved now.
    pub(super) fn of(config: &PostgresConfig, environment: &Environment) -> Result<(Self, Option<Secret>)> {
        let password = config.password.as_ref().map(|reference| reference.resolve(environment)).transpose();
        let password = password.map_err(|e| e.within("cannot get the password of PostgreSQL"))?;
        let (mut address, of_url) = match &config.url {
            None => (Self::default(), None),
            Some(PostgresUrl::Plain(url)) => Self::parse(url)?,
            Some(PostgresUrl::Secret(reference)) => {
                let url = reference.resolve(environment).map_err(|e| e.within("cannot get the URL of PostgreSQL"))?;
                Self::parse(url.text().ok_or_else(|| Error::usage("the URL of PostgreSQL is not UTF-8"))?)?
            }
        };
        address.set("host", config.host.as_deref());
        address.set("port", config.port.map(|port| port.to_string()).as_deref());
        address.set("user", config.user.as_deref());
        if let Some(database) = &config.dbname {
            address.database.clone_from(database);
        }
        if address.database.is_empty() {
            "postgres".clone_into(&mut address.database);
        }
        Ok((address, password.or(of_url)))
    }

    fn set(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.settings.push((key.to_owned(), value.to_owned()));
        }
    }

    /// Reads `postgres://user:password@host:port/database?parameter=value`. No error repeats any of it: it may hold a
    /// password in an unexpected place.
    fn parse(url: &str) -> Result<(Self, Option<Secret>)> {
        let bad = |what: &str| {
            Error::usage(format!("the URL of PostgreSQL {what}"))
                .hint("postgres://user@host:port/database, with %40 for an @ in the password")
        };
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| bad("does not begin with postgres://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = server.rsplit_once('@').unwrap_or(("", server));
        if login.contains('@') {
            return Err(bad("has an @ that is not written as %40"));
        }
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let text = |part: &str| decode(part).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let text = |part: &str| text(part).ok_or_else(|| bad("has a part that cannot be read"));
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => place.rsplit_once(':').unwrap_or((place, "")),
        };
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err(bad("has a port that is no number up to 65535"));
        }
        let mut address = Self::default();
        let mut password = decode(password).ok_or_else(|| bad("has a part that cannot be read"))?;
        address.database = text(database)?;
        for (key, value) in [("host", &text(host)?), ("port", &text(port)?), ("user", &text(user)?)] {
            address.set(key, Some(value));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad("has a parameter without a value"))?;
            match key {
                "password" => password = decode(value).ok_or_else(|| bad("has a part that cannot be read"))?,
                "dbname" => address.database = text(value)?,
                "host" | "port" | "user" => address.set(key, Some(&text(value)?)),
                // Ours are fixed, and do no harm there.
                "application_name" | "connect_timeout" => {}
                _ if PARAMETERS.contains(&key) => address.set(key, Some(&text(value)?)),
                _ => return Err(bad("has a parameter that is not known, or would change what is dumped")),
            }
        }
        let password = (!password.is_empty()).then(|| Secret::new(std::mem::take(&mut *password)));
        Ok((address, password))
    }

    /// The server for people, without a user.
    pub(super) fn shown(&self) -> String {
        let value = |key| self.settings.iter().rfind(|(k, _)| k == key).map(|(_, value)| value.as_str());
        match (value("host"), value("port")) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, Some(port)) => format!("port {port}"),
            (None, None) => "the local socket".to_owned(),
        }
    }

    /// A connection string to `database`, without a password.
    pub(super) fn connection(&self, database: &str) -> String {
        let mut parts: Vec<String> = self.settings.iter().map(|(key, value)| setting(key, value)).collect();
        parts.push(setting("dbname", database));
        parts.join(" ")
    }
}

/// Undoes `%XX`; none where it is none.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(if *first == b'%' {
            let (hex, after) = tail.split_at_checked(2)?;
            rest = after;
            u8::from_str_radix(std::str::from_utf8(hex).ok().filter(|hex| !hex.starts_with('+'))?, 16).ok()?
        } else {
            *first
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_url_arrives() {
        let (address, password) =
            Address::parse("postgres://us%20er:p%40ss%3A@db.example:5433/my%2Fdb?sslmode=require").unwrap();
        assert_eq!(password.unwrap().expose(), b"p@ss:");
        assert_eq!(address.shown(), "db.example:5433");
        assert_eq!(
            address.connection("a'b"),
            "host='db.example' port='5433' user='us er' sslmode='require' dbname='a\\'b'"
        );
        assert_eq!(address.database, "my/db");
        let (address, none) = Address::parse("postgresql:///app?host=/run/postgresql").unwrap();
        assert_eq!((address.connection("x"), none.is_none()), ("host='/run/postgresql' dbname='x'".into(), true));
        let (address, _) = Address::parse("postgres://[::1]:99/").unwrap();
        assert_eq!(address.connection("x"), "host='::1' port='99' dbname='x'");
    }

    #[test]
    fn a_url_that_cannot_be_read_is_not_repeated() {
        for bad in [
            "mysql://canary@x",
            "postgres://u:canary@at@h/",
            "postgres://u:canary%zz@h/",
            "postgres://u@h:canary/",
            "postgres://u@h/?canary",
            "postgres://u@h/?options=canary",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(!error.one_line().contains("canary"), "{error}");
        }
    }
}
