//! `kind = "redis"`: a Redis server, or a cluster of them.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::redis_address::Address;
use super::section::KindSection;
use crate::config::text::{list, quote, reference_text};
use crate::error::{Error, Result, path_text};
use crate::secret::SecretRef;

/// Keys of `kind = "redis"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedisConfig {
    /// The server: `redis://host:port` or `unix:///path`. None for a cluster.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_url")]
    pub url: Option<Address>,
    /// Some nodes of a cluster, which tell of the others. Empty for one server.
    #[serde(serialize_with = "serialize_nodes")]
    pub nodes: Vec<Address>,
    /// The user; none for the default one.
    pub user: Option<String>,
    /// Where the user's password is kept.
    #[serde(skip)]
    pub password: Option<SecretRef>,
    /// The folder that the server loads its data from, absolute: for putting them back while it is stopped.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_path")]
    pub data: Option<PathBuf>,
    /// Whether users and their rights are captured.
    pub acl: bool,
    /// Whether the settings that the server runs with are captured.
    pub settings: bool,
}

impl RedisConfig {
    pub(super) const KEYS: &'static [&'static str] = &["url", "nodes", "user", "password", "data", "acl", "settings"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        let nodes = section.strings("nodes")?;
        let config = Self {
            url: section.parsed("url", Address::parse_url)?,
            nodes: nodes.iter().map(|node| Address::parse_host(node)).collect::<Result<_>>()?,
            user: section.string("user")?,
            password: section.secret("password")?,
            data: section.path("data")?,
            acl: section.boolean("acl")?.unwrap_or(true),
            settings: section.boolean("settings")?.unwrap_or(true),
        };
        match (&config.url, config.nodes.is_empty()) {
            (None, true) => return Err(section.lacks("url")),
            (Some(_), false) => {
                let message = format!("the component `{}` has `url` and `nodes`", section.name);
                return Err(Error::usage(message).hint("`url` is for one server, `nodes` for a cluster"));
            }
            _ => {}
        }
        if config.user.is_some() && config.password.is_none() {
            return Err(section.lacks("password"));
        }
        Ok(config)
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        let mut lines = Vec::new();
        let mut line = |key: &str, value: Option<String>| lines.extend(value.map(|value| (key.to_owned(), value)));
        line("url", self.url.as_ref().map(|url| quote(&url.to_url())));
        let nodes: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        line("nodes", (!nodes.is_empty()).then(|| list(nodes.iter().map(String::as_str))));
        line("user", self.user.as_deref().map(quote));
        line("password", self.password.as_ref().map(reference_text));
        line("data", self.data.as_deref().map(path).transpose()?.as_deref().map(quote));
        line("acl", (!self.acl).then(|| "false".to_owned()));
        line("settings", (!self.settings).then(|| "false".to_owned()));
        Ok(lines)
    }
}

fn serialize_url<S: Serializer>(url: &Option<Address>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match url {
        Some(url) => serializer.serialize_str(&url.to_url()),
        None => serializer.serialize_none(),
    }
}

fn serialize_nodes<S: Serializer>(nodes: &[Address], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(nodes.iter().map(ToString::to_string))
}

fn serialize_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.serialize_str(&path_text(path)),
        None => serializer.serialize_none(),
    }
}
