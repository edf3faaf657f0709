//! Which servers a configuration names, with the secrets that they want.

use super::client::Login;
use super::server::{Seen, Server};
use crate::config::{RedisAddress, RedisConfig};
use crate::error::{Error, Result};
use crate::source::SourceContext;

/// What the configuration names, ready to be asked.
#[derive(Debug)]
pub(super) enum Fleet {
    Alone(Server),
    Cluster(Vec<RedisAddress>, Login),
}

/// Gets the secrets. A server of a cluster must not be taken for one that is alone: a third of the data would be all.
pub(super) fn fleet(config: &RedisConfig, context: &SourceContext<'_>) -> Result<Fleet> {
    let password = config.password.as_ref().map(|secret| secret.resolve(context.environment)).transpose()?;
    let login = Login { user: config.user.clone(), password };
    if !config.nodes.is_empty() {
        return Ok(Fleet::Cluster(config.nodes.clone(), login));
    }
    let address = config.url.clone().ok_or_else(|| Error::usage("neither a URL nor nodes of a cluster are named"))?;
    let server = Server { address, login };
    let mut client = server.connect(context.monitor)?;
    let clustered = match Seen::of(client.info())? {
        Seen::Known(info) => info.get("cluster_enabled").is_some_and(|enabled| enabled == "1"),
        // Whoever may not ask sees at least that there are nodes.
        Seen::Denied(_) => matches!(Seen::of(client.text(&[b"CLUSTER", b"INFO"])), Ok(Seen::Known(_))),
    };
    if clustered {
        let error = Error::usage(format!("the Redis server at {} is part of a cluster", server.address));
        return Err(error.hint("name some of its nodes instead: nodes = [\"host:port\", …]"));
    }
    Ok(Fleet::Alone(server))
}
