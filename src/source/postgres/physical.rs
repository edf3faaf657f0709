//! The whole cluster as files, by `pg_basebackup`: for the same major version and architecture only.

use std::io::Read;
use std::sync::PoisonError;

use super::base::{BaseReader, SharedBase};
use super::catalog;
use super::inventory::Inventory;
use super::session::Session;
use crate::error::{Error, Kind, Result};
use crate::model::Entry;
use crate::source::{Action, ActionKind, Facts};

/// Tablespaces that every cluster has.
const OWN: [&str; 2] = ["pg_default", "pg_global"];

/// The stream, and where what it holds is told when it has ended.
pub(super) fn base_stream<'a>(session: &Session<'a>) -> Result<(Box<dyn Read + Send + 'a>, SharedBase)> {
    let others = catalog::tablespaces(session)?.into_iter().filter(|name| !OWN.contains(&name.as_str())).count();
    if others > 0 {
        let message = format!("pg_basebackup cannot give a cluster with {others} tablespaces of its own as one stream");
        return Err(Error::failed(message).hint("set physical = false; the dumps hold all of it"));
    }
    let program = session.tool("pg_basebackup")?;
    let command = session.command(&program, &session.address.database, "pg_basebackup of the cluster", &[])?;
    let arguments = ["-D", "-", "-Ft", "-X", "fetch", "-c", "fast", "--manifest-checksums=CRC32C"];
    let reader = BaseReader::new(command.args(arguments).stream(&[])?);
    let base = reader.base();
    Ok((Box::new(reader), base))
}

/// Tells the manifest what was in it.
pub(super) fn note(base: &SharedBase, facts: &mut Facts) -> Result<()> {
    let base = base.lock().unwrap_or_else(PoisonError::into_inner).take();
    let base = base.ok_or_else(|| Error::new(Kind::Incomplete, "the base backup was not read to its end"))?;
    facts.counts.insert("base_files".to_owned(), base.files);
    let ranges: Vec<_> = base.log.iter().map(|(start, end)| format!("{start} to {end}")).collect();
    facts.facts.insert("base_log".to_owned(), ranges.join(", "));
    Ok(())
}

/// How the files become a server again: never below a running one, so a person does it.
pub(super) fn by_hand(base: &Entry, inventory: &Inventory, data: Option<&std::path::Path>) -> Action {
    let major = inventory.server_version_num / 10_000;
    let data = data.map_or("DATA".into(), crate::error::path_text);
    let detail = format!(
        "{} bytes of the whole cluster, for a server of version {major} that is stopped; unlogged tables come back empty, \
         replication slots do not; not needed where the databases are applied",
        base.size()
    );
    Action::new(ActionKind::Manual, "cluster as files (base.tar)", detail).by_hand(format!(
        "mkdir -m 0700 {data} && tar -xpf base.tar -C {data} && pg_verifybackup {data} && chown -R postgres: {data}; \
         then start the server with it"
    ))
}
