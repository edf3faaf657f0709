//! The configuration that a server runs with, as `CONFIG GET *` tells it: without secrets, and applied by hand.

use std::collections::BTreeMap;

use super::client::Client;
use super::reply::Reply;
use crate::error::{Error, Kind, Result};
use crate::source::{Action, ActionKind};

/// Values by name.
pub(super) type Settings = BTreeMap<String, String>;

/// Names, or beginnings of names with `*`, of what belongs to one place and not to the data: ports, folders, roles.
const OF_THE_PLACE: [&str; 33] = [
    "port",
    "tls-port",
    "bind*",
    "unixsocket*",
    "dir",
    "dbfilename",
    "logfile",
    "pidfile",
    "aclfile",
    "appendfilename",
    "appenddirname",
    "cluster-config-file",
    "cluster-announce-*",
    "cluster-port",
    "replicaof",
    "slaveof",
    "replica-announce*",
    "slave-announce*",
    "masteruser",
    "tls-*",
    "proc-title*",
    "set-proc-title",
    "syslog*",
    "server_cpulist",
    "bio_cpulist",
    "aof_rewrite_cpulist",
    "bgsave_cpulist",
    "daemonize",
    "supervised",
    "oom-score-adj*",
    "enable-*",
    "crash-log-enabled",
    "always-show-logo",
];

impl Client<'_> {
    /// All settings but secrets.
    pub(super) fn settings(&mut self) -> Result<Settings> {
        let reply = self.call(&[b"CONFIG", b"GET", b"*"])?;
        let (pairs, _) = reply.items().as_chunks::<2>();
        let pair = |[name, value]: &[Reply; 2]| Some((name.text()?, value.text()?));
        Ok(pairs.iter().filter_map(pair).filter(|(name, _)| !is_secret(name)).collect())
    }

    /// The value of one setting; none where there is no such.
    pub(super) fn setting(&mut self, name: &str) -> Result<Option<String>> {
        let reply = self.call(&[b"CONFIG", b"GET", name.as_bytes()])?;
        Ok(reply.items().get(1).and_then(Reply::text))
    }
}

fn is_secret(name: &str) -> bool {
    name.contains("pass") || name.contains("auth") && name != "tls-auth-clients"
}

fn is_of_the_place(name: &str) -> bool {
    OF_THE_PLACE.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

/// What a backup does not hold of a server's configuration.
pub(super) const NOT_CAPTURED: &str = "secrets of the configuration (masterauth, requirepass, passphrases of TLS keys); what CONFIG GET \
     never shows (rename-command, loadmodule, include); the files redis.conf, sentinel.conf and nodes.conf: keep copies of them";

/// The document.
pub(super) fn document(settings: &Settings) -> Result<Vec<u8>> {
    crate::model::pretty_json(settings)
}

/// Reads the document.
pub(super) fn parse(bytes: &[u8]) -> Result<Settings> {
    serde_json::from_slice(bytes).map_err(|e| Error::new(Kind::Incomplete, "the settings cannot be read").because(e))
}

/// What an apply would do about settings.
pub(super) fn plan(archive: &Settings, server: &Settings) -> Action {
    let differing: Vec<&str> = archive
        .iter()
        .filter(|(name, value)| !is_of_the_place(name) && server.get(*name).is_some_and(|there| there != *value))
        .map(|(name, _)| name.as_str())
        .collect();
    if differing.is_empty() {
        return Action::new(ActionKind::Equal, "settings", "the same, but for ports, folders and roles");
    }
    let action = Action::new(ActionKind::Manual, "settings", format!("these differ: {}", differing.join(", ")));
    action.by_hand("CONFIG SET <name> <value of config.json>, then CONFIG REWRITE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_places_are_not_compared() {
        for secret in ["requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"] {
            assert!(is_secret(secret), "{secret}");
        }
        assert!(!is_secret("tls-auth-clients") && !is_secret("maxmemory"));
        let settings = |text: &str| parse(text.as_bytes()).unwrap();
        let archive = settings(r#"{"port":"1","maxmemory":"0","dir":"/a","gone":"1"}"#);
        assert_eq!(plan(&archive, &settings(r#"{"port":"2","maxmemory":"0","dir":"/b"}"#)).kind, ActionKind::Equal);
        let action = plan(&archive, &settings(r#"{"maxmemory":"7"}"#));
        assert_eq!((action.kind, action.detail.as_str()), (ActionKind::Manual, "these differ: maxmemory"));
    }
}
