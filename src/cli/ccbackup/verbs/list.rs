//! `ccbackup list`.

use super::entries::kind_name;
use super::site;
use crate::cli::{Align, Context, DAMAGE_FOUND, Table, human_bytes};
use crate::engine::query;
use crate::error::{Error, Kind, Result};

/// Backups without trust that are named.
const SHOWN_STRANGERS: usize = 5;

pub(super) fn list(context: &Context) -> Result<u8> {
    let session = site::open(context)?;
    let backups = query::list(&session.repo, &session.state, &session.trust)?;
    context.result(&backups, |terminal| {
        if backups.is_empty() {
            return terminal.print("no backups yet");
        }
        let columns = [
            ("id", Align::Left),
            ("kind", Align::Left),
            ("parent", Align::Left),
            ("components", Align::Left),
            ("stored", Align::Right),
            ("encrypted", Align::Left),
            ("last verified", Align::Left),
        ];
        let mut table = Table::new(&columns);
        for b in &backups {
            let yes_no = |yes: bool| if yes { "yes" } else { "no" };
            table.row([
                b.id.to_string(),
                listed_kind(b),
                b.parent.as_ref().map_or_else(|| "-".into(), ToString::to_string),
                b.components.join(","),
                human_bytes(b.bytes_stored),
                b.encrypted.map_or("?", yes_no).to_owned(),
                b.verified_at.map_or_else(|| "never".into(), |time| time.to_string()),
            ]);
        }
        terminal.print_table(&table)
    })?;
    for (b, why) in backups.iter().filter_map(|b| b.damage.as_ref().map(|why| (b, why))) {
        context.terminal.warn(&format!("backup {} cannot be read: {why}; run `ccbackup verify --all`", b.id));
    }
    let strangers: Vec<_> = backups.iter().filter(|b| b.trusted == Some(false)).map(|b| b.id.as_str()).collect();
    if let Some(named) = strangers.chunks(SHOWN_STRANGERS).next() {
        let more = if strangers.len() > named.len() { ", …" } else { "" };
        context.terminal.warn(&format!(
            "{} of {} backups are not bound by a trusted signature and do not count: {}{more}",
            strangers.len(),
            backups.len(),
            named.join(", ")
        ));
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
        Some(kind) => kind_name(kind),
        None if b.newer_format.is_some() => "NEWER",
        None => "DAMAGED",
    };
    format!("{kind}{}", if b.trusted == Some(false) { ", NOT TRUSTED" } else { "" })
}
