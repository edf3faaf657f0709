//! `ccbackup show`.

use std::sync::Arc;

use serde::Serialize;

use crate::cli::ccbackup::args::Show;
use crate::cli::ccbackup::session;
use crate::cli::{Context, Table, Terminal, human_bytes, shown};
use crate::engine::chain::Chain;
use crate::error::{Kind, Result};
use crate::model::{ComponentRecord, FailedComponent, Sealing};

pub(super) fn show(args: &Show, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let chain = session::chain(context, &session, &args.id)?;
    let manifest = &chain.backup.manifest;
    let signer = chain.backup.signer.as_ref().map(crate::repo::signing::SignerKey::fingerprint);
    let left_out = left_out(&chain, context);
    let document = serde_json::json!({ "signer": signer, "manifest": manifest, "left_out": left_out });
    context.result(&document, |terminal| {
        let line = |name: &str, value: String| terminal.print(format!("{name:<12}{}", shown(&value)));
        line("backup", format!("{} (number {})", manifest.id, manifest.sequence))?;
        line("kind", manifest.kind.to_string())?;
        line("made", format!("{} to {}", manifest.created_at, manifest.finished_at))?;
        line("host", manifest.host.clone())?;
        line("parent", manifest.parent.as_ref().map_or_else(|| "-".into(), |p| p.id.to_string()))?;
        let needs: Vec<_> = manifest.depends_on.iter().map(|d| d.id.to_string()).collect();
        line("depends on", if needs.is_empty() { "nothing".into() } else { needs.join(", ") })?;
        line("signer", signer.clone().unwrap_or_else(|| "NOT signed by anybody who is trusted".into()))?;
        match &manifest.sealing {
            Sealing::Age { recipients } => recipients.iter().try_for_each(|r| line("opens with", r.clone()))?,
            Sealing::Aes256Gcm { key_id } => line("opens with", format!("the AES-256 key {key_id}"))?,
            Sealing::None => line("sealed", "no".into())?,
        }
        if let Some(point) = manifest.recovery_point {
            line("recovery", format!("{}, captured within {} s", point.verdict, point.skew_seconds))?;
        }
        manifest.tags.iter().try_for_each(|(key, value)| line("tag", format!("{key}={value}")))?;
        line("tool", manifest.tool.clone())?;
        let mut table = Table::new(&["component", ">entries", ">new", ">content", ">stored", ">archives", ">problems"]);
        for c in &manifest.components {
            let (content, stored) = (human_bytes(c.content_bytes), human_bytes(c.bytes_stored));
            let (archives, problems) = (c.archives.len(), c.problem_count());
            table.row(&[&c.name, &c.entries, &c.new_entries, &content, &stored, &archives, &problems]);
        }
        terminal.print_table(&table)?;
        for failed in &manifest.failed {
            let FailedComponent { name, reason, detail, last_good, .. } = failed;
            let last = last_good.as_ref().map_or_else(|| "nothing".to_owned(), |last| last.id.to_string());
            let text = format!("{name} was NOT CAPTURED ({reason}): {detail}; captured last by {last}");
            terminal.print(shown(&text))?;
        }
        for component in &manifest.components {
            let Some(source) = &component.source else { continue };
            let version = source.version.iter().map(|version| format!("version {version}"));
            let counts = source.counts.iter().map(|(name, count)| format!("{count} {name}"));
            let facts = source.facts.iter().map(|(name, fact)| format!("{name} {fact}"));
            let all: Vec<_> = version.chain(counts).chain(facts).collect();
            terminal.print(shown(&format!("{}: {}", component.name, all.join(", "))))?;
        }
        for component in &manifest.components {
            print_left_out(terminal, component, left_out.as_deref())?;
        }
        Ok(())
    })?;
    Ok(0)
}

/// What a rule left out, as `show --json` shows it.
#[derive(Serialize)]
struct LeftOut {
    component: String,
    path: String,
    reason: String,
}

/// What rules left out, from the indexes; none when one of them cannot be opened: to show a backup needs no key.
fn left_out(chain: &Arc<Chain>, context: &Context) -> Option<Vec<LeftOut>> {
    let mut all = Vec::new();
    for component in chain.backup.manifest.components.iter().filter(|c| c.left_out.is_some()) {
        let inventory = match chain.inventory(&component.name) {
            Ok(inventory) => inventory,
            Err(e) if matches!(e.kind(), Kind::NoKey | Kind::WrongKey) => {
                context.detail(&format!("what was left out is counted, but not listed: {}", e.one_line()));
                return None;
            }
            Err(e) => {
                context.terminal.warn(&format!("what was left out cannot be listed: {}", e.one_line()));
                return None;
            }
        };
        all.extend(inventory.left_out().iter().map(|line| LeftOut {
            component: component.name.clone(),
            path: line.path.clone(),
            reason: line.detail.clone(),
        }));
    }
    Some(all)
}

fn print_left_out(terminal: &Terminal, component: &ComponentRecord, listed: Option<&[LeftOut]>) -> Result<()> {
    let Some(count) = component.left_out else { return Ok(()) };
    let name = &component.name;
    let Some(listed) = listed else {
        return terminal.print(format!("left out of {name} by rules: {count} (with a key they are listed)"));
    };
    terminal.print(format!("left out of {name} by rules: {count}"))?;
    let own: Vec<_> = listed.iter().filter(|line| line.component == *name).collect();
    for line in &own {
        terminal.print(format!("  {name}/{}: {}", shown(&line.path), shown(&line.reason)))?;
    }
    match count.saturating_sub(own.len() as u64) {
        0 => Ok(()),
        more => terminal.print(format!("  … and {more} more, which the index does not list")),
    }
}
