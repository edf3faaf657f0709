//! `ccbackup find`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::ccbackup::args::Find;
use crate::cli::ccbackup::entries::{ShownEntry, damage_of};
use crate::cli::ccbackup::session;
use crate::cli::{Context, DAMAGE_FOUND};
use crate::engine::query;
use crate::engine::select::Selection;
use crate::error::{Error, Kind, Result};
use crate::model::{BackupId, Moment};
use crate::repo::catalog::Catalog;

/// One version of an entry and the backups that hold it.
#[derive(Serialize)]
struct Version {
    #[serde(flatten)]
    entry: ShownEntry,
    first: BackupId,
    last: BackupId,
    backups: u64,
}

pub(super) fn find(args: &Find, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let selection = Selection::new(std::slice::from_ref(&args.glob), &[])?;
    let mut versions: BTreeMap<(String, Vec<u8>), Vec<Version>> = BTreeMap::new();
    let (mut looked_through, mut unreadable, mut findings) = (0, Vec::new(), Vec::new());
    for listed in Catalog::load(&session.repo)?.backups {
        let id = listed.id;
        let looked = session.chain(&id).and_then(|chain| {
            query::entries(&chain, &selection, &mut |component, entry| {
                let shown = ShownEntry::new(component, entry, None);
                let key = (component.to_owned(), entry.path.as_bytes().to_vec());
                let known = versions.entry(key).or_default();
                match known.last_mut() {
                    Some(last) if last.entry == shown => {
                        last.last = id.clone();
                        last.backups += 1;
                    }
                    _ => known.push(Version { entry: shown, first: id.clone(), last: id.clone(), backups: 1 }),
                }
                Ok(())
            })
        });
        match looked {
            Ok(found) => {
                looked_through += 1;
                findings.extend(found);
            }
            // What somebody else put there must not hide what is found in the others.
            Err(e) if e.is_damage() || matches!(e.kind(), Kind::NewerFormat | Kind::Unsigned | Kind::WrongSigner) => {
                unreadable.push((id, e));
            }
            Err(e) => return Err(e),
        }
    }
    if looked_through == 0
        && unreadable.iter().all(|(_, e)| !e.is_damage())
        && let Some((_, e)) = unreadable.pop()
    {
        return Err(e);
    }
    let all: Vec<_> = versions.into_values().flatten().collect();
    context.result(&all, |terminal| {
        for v in &all {
            let span = if v.first == v.last { v.first.to_string() } else { format!("{} … {}", v.first, v.last) };
            let ShownEntry { component, path, size, .. } = &v.entry;
            let modified = time(&v.entry);
            terminal.print_outside(&format!("{component}/{path}  {size} bytes, modified {modified}, in {span}"))?;
        }
        Ok(())
    })?;
    for (id, error) in &unreadable {
        context.terminal.warn(&format!("backup {id} could not be searched: {}", error.one_line()));
    }
    let code = damage_of(context, &findings);
    if code != 0 || unreadable.iter().any(|(_, e)| e.is_damage()) {
        return Ok(DAMAGE_FOUND);
    }
    if unreadable.iter().any(|(_, e)| e.kind() == Kind::NewerFormat) {
        return Ok(Kind::NewerFormat.exit_code());
    }
    if all.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("no backup holds an entry that matches {:?}", args.glob)));
    }
    Ok(0)
}

fn time(entry: &ShownEntry) -> String {
    let seconds = entry.mtime.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0);
    Moment::from_unix_seconds(seconds).to_string()
}
