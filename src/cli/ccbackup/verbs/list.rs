//! `ccbackup list`.

use crate::cli::ccbackup::session;
use crate::cli::{Context, DAMAGE_FOUND, Table, human_bytes};
use crate::engine::query;
use crate::error::{Error, Kind, Result};
use crate::model::BackupId;

/// Backups without trust that are named.
const SHOWN_STRANGERS: usize = 5;

pub(super) fn list(context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let backups = query::list(&session.repo, &session.state, &session.trust)?;
    context.result(&backups, |terminal| {
        if backups.is_empty() {
            return terminal.print("no backups yet");
        }
        let mut table = Table::new(&["id", "kind", "parent", "components", ">stored", "encrypted", "last verified"]);
        for b in &backups {
            let yes_no = |yes: bool| if yes { "yes" } else { "no" };
            let parent = b.parent.as_ref().map_or("-", BackupId::as_str);
            let missing = b.failed.iter().map(|name| format!("NOT {name}"));
            let marked = b.components.iter().map(|name| match b.unexpected.contains(name) {
                true => format!("{name} (not as expected)"),
                false => name.clone(),
            });
            let components = marked.chain(missing).collect::<Vec<_>>().join(",");
            let stored = human_bytes(b.bytes_stored);
            let verified = b.verified_at.map_or_else(|| "never".into(), |time| time.to_string());
            let encrypted = b.encrypted.map_or("?", yes_no);
            table.row(&[&b.id, &listed_kind(b), &parent, &components, &stored, &encrypted, &verified]);
        }
        terminal.print_table(&table)
    })?;
    for (b, why) in backups.iter().filter_map(|b| b.damage.as_ref().map(|why| (b, why))) {
        context.terminal.warn(&format!("backup {} cannot be read: {why}; run `ccbackup verify --all`", b.id));
    }
    let strangers: Vec<_> = backups.iter().filter(|b| b.trusted == Some(false)).map(|b| b.id.as_str()).collect();
    if let Some(named) = strangers.chunks(SHOWN_STRANGERS).next() {
        let more = if strangers.len() > named.len() { ", …" } else { "" };
        let (count, all, named) = (strangers.len(), backups.len(), named.join(", "));
        let what = format!("{count} of {all} backups are not bound by a trusted signature and do not count");
        context.terminal.warn(&format!("{what}: {named}{more}"));
    }
    if backups.iter().any(|b| b.damage.is_some()) {
        return Ok(DAMAGE_FOUND);
    }
    match backups.iter().find_map(|b| b.newer_format.as_ref().map(|why| (b, why))) {
        Some((b, why)) => Err(Error::new(Kind::NewerFormat, format!("backup {} needs a newer program: {why}", b.id))),
        None => Ok(0),
    }
}

fn listed_kind(b: &query::BackupSummary) -> String {
    let kind = match b.kind {
        Some(kind) => kind.to_string(),
        None if b.newer_format.is_some() => "NEWER".into(),
        None => "DAMAGED".into(),
    };
    format!("{kind}{}", if b.trusted == Some(false) { ", NOT TRUSTED" } else { "" })
}
