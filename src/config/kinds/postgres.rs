//! `kind = "postgres"`: databases of a PostgreSQL server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::section::KindSection;
use crate::config::text::{list, quote, reference_text};
use crate::error::{Error, Result};
use crate::model::escape_path;
use crate::secret::SecretRef;

/// How long a dump waits for a lock on a table.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a tool may be silent.
const SILENCE: Duration = Duration::from_secs(600);

/// Keys of `kind = "postgres"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostgresConfig {
    /// The server as one text, `postgres://user@host:port/database`; instead of host, port, user and dbname.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<PostgresUrl>,
    /// Name, address or folder of the socket; without it, what libpq takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The role; without it, the user of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password is kept; without it none is needed, or a `.pgpass` of the user has it.
    #[serde(serialize_with = "serialize_reference", skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// The database of the first connection; `postgres` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dbname: Option<String>,
    /// What is captured.
    pub databases: Databases,
    /// The whole cluster as files too, by `pg_basebackup`.
    pub physical: bool,
    /// Where a physical copy is unpacked when it is applied: a folder that is empty or not there.
    #[serde(serialize_with = "serialize_path", skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The folder of the tools; without it, they are looked for.
    #[serde(serialize_with = "serialize_path", skip_serializing_if = "Option::is_none")]
    pub bin: Option<PathBuf>,
    /// How long a dump waits for the lock of a table.
    pub lock_timeout: Duration,
    /// How long a tool may give and take nothing before it is stopped.
    pub silence: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            user: None,
            password: None,
            dbname: None,
            databases: Databases::All,
            physical: false,
            data: None,
            bin: None,
            lock_timeout: LOCK_TIMEOUT,
            silence: SILENCE,
        }
    }
}

/// Which databases are captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Databases {
    /// All that allow connections.
    #[default]
    All,
    /// These, at least one.
    Named(Vec<String>),
}

/// A URL of a server.
#[derive(Clone, PartialEq, Eq)]
pub enum PostgresUrl {
    /// As it stands in the configuration; has no password.
    Plain(String),
    /// Kept elsewhere as a whole, as it holds a password.
    Secret(SecretRef),
}

impl Serialize for PostgresUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Plain(url) => serializer.serialize_str(url),
            Self::Secret(reference) => serializer.collect_str(reference),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(url) => write!(f, "{url:?}"),
            Self::Secret(reference) => write!(f, "{reference:?}"),
        }
    }
}

impl PostgresConfig {
    pub(super) const KEYS: &'static [&'static str] = &[
        "url",
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "databases",
        "physical",
        "data",
        "bin",
        "lock_timeout",
        "silence",
    ];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        let url = if section.is_table("url") {
            section.secret("url")?.map(PostgresUrl::Secret)
        } else {
            section.parsed("url", plain_url)?.map(PostgresUrl::Plain)
        };
        let config = Self {
            url,
            host: section.string("host")?,
            port: section.integer("port", 1..=65535)?.and_then(|port| u16::try_from(port).ok()),
            user: section.string("user")?,
            password: section.secret("password")?,
            dbname: section.string("dbname")?,
            databases: if section.is_list("databases") {
                Databases::Named(section.strings("databases")?)
            } else {
                section.parsed("databases", all)?.unwrap_or_default()
            },
            physical: section.boolean("physical")?.unwrap_or(false),
            data: section.path("data")?,
            bin: section.path("bin")?,
            lock_timeout: section.duration("lock_timeout")?.unwrap_or(LOCK_TIMEOUT),
            silence: section.duration("silence")?.unwrap_or(SILENCE),
        };
        if matches!(&config.databases, Databases::Named(names) if names.is_empty()) {
            return Err(section.lacks("databases"));
        }
        if config.url.is_some() && (config.host.is_some() || config.port.is_some() || config.user.is_some()) {
            let message = format!("the component `{}` has `url` and one of `host`, `port`, `user`", section.name);
            return Err(Error::usage(message).hint("write the one or the others"));
        }
        Ok(config)
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        let mut lines = Vec::new();
        let mut line = |key: &str, value: Option<String>| lines.extend(value.map(|value| (key.to_owned(), value)));
        line(
            "url",
            self.url.as_ref().map(|url| match url {
                PostgresUrl::Plain(url) => quote(url),
                PostgresUrl::Secret(reference) => reference_text(reference),
            }),
        );
        line("host", self.host.as_deref().map(quote));
        line("port", self.port.map(|port| port.to_string()));
        line("user", self.user.as_deref().map(quote));
        line("password", self.password.as_ref().map(reference_text));
        line("dbname", self.dbname.as_deref().map(quote));
        line(
            "databases",
            Some(match &self.databases {
                Databases::All => quote("all"),
                Databases::Named(names) => list(names.iter().map(String::as_str)),
            }),
        );
        line("physical", self.physical.then(|| "true".to_owned()));
        for (key, folder) in [("data", &self.data), ("bin", &self.bin)] {
            line(key, folder.as_deref().map(path).transpose()?.as_deref().map(quote));
        }
        for (key, time, usual) in
            [("lock_timeout", self.lock_timeout, LOCK_TIMEOUT), ("silence", self.silence, SILENCE)]
        {
            line(key, (time != usual).then(|| quote(&format!("{}s", time.as_secs()))));
        }
        Ok(lines)
    }
}

fn all(text: &str) -> Result<Databases> {
    match text {
        "all" => Ok(Databases::All),
        _ => Err(Error::usage(format!("`databases` must be \"all\" or a list of names, found {text:?}"))),
    }
}

/// A URL that holds no password.
fn plain_url(text: &str) -> Result<String> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| Error::usage("`url` must begin with postgres://"))?;
    let login = rest.split(['/', '?']).next().unwrap_or_default().rsplit_once('@').map(|(login, _)| login);
    if login.is_some_and(|login| login.contains(':')) || rest.contains("password=") {
        return Err(Error::usage("`url` holds a password (not shown here), which must not stand in a configuration")
            .hint("write it without, and add password = { file = … } or { env = … }; or keep all of it: url = { env = … }"));
    }
    Ok(text.to_owned())
}

fn serialize_reference<S: Serializer>(
    reference: &Option<SecretRef>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    reference.as_ref().map(ToString::to_string).serialize(serializer)
}

fn serialize_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    path.as_ref().map(|path| escape_path(path.as_os_str().as_encoded_bytes()).into_owned()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceConfig, parse};

    fn read(keys: &str) -> Result<PostgresConfig> {
        let text = format!("[[component]]\nname = \"db\"\nkind = \"postgres\"\n{keys}\n");
        let config = parse(&text, Path::new("/etc/ccbackup.toml"), None)?;
        match &config.components[0].source {
            SourceConfig::Postgres(config) => Ok(config.as_ref().clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_has_a_meaning() {
        assert_eq!(read("").unwrap(), PostgresConfig::default());
        let config = read(
            "host = \"db\"\nport = 5433\nuser = \"backup\"\npassword = { env = \"PW\" }\ndbname = \"app\"\n\
             databases = [\"app\", \"other\"]\nphysical = true\ndata = \"data\"\nbin = \"/opt/pg/bin\"\n\
             lock_timeout = \"5s\"\nsilence = \"2m\"",
        );
        let config = config.unwrap();
        assert_eq!((config.port, config.physical), (Some(5433), true));
        assert_eq!(config.password, Some(SecretRef::Env("PW".into())));
        assert_eq!(config.databases, Databases::Named(vec!["app".into(), "other".into()]));
        assert_eq!(config.data, Some("/etc/data".into()));
        assert_eq!((config.lock_timeout.as_secs(), config.silence.as_secs()), (5, 120));
        let lines = config.render(&|path| Ok(path.display().to_string())).unwrap();
        let text: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        assert_eq!(read(&text).unwrap(), config, "{text}");
        assert_eq!(read("databases = \"all\"").unwrap().databases, Databases::All);
        let url = read("url = { file = \"url\" }").unwrap().url;
        assert_eq!(url, Some(PostgresUrl::Secret(SecretRef::File("/etc/url".into()))));
        assert!(read("url = \"postgres://u@h:1/x\"").unwrap().url.is_some());
    }

    #[test]
    fn a_password_in_clear_is_refused_and_not_repeated() {
        for keys in [
            "password = \"canary\"",
            "url = \"postgres://u:canary@h/x\"",
            "url = \"postgres://h/x?password=canary\"",
            "url = \"canary://h\"",
            "password = { env = \"A\", file = \"b\" }",
            "databases = []",
            "databases = \"some\"",
            "url = \"postgres://h\"\nport = 1",
        ] {
            let error = read(keys).unwrap_err();
            assert!(!error.one_line().contains("canary"), "{keys}: {}", error.one_line());
        }
    }
}
