//! `ccbackup list`, `show`, `ls`, `find`, `diff` and `cat`: verbs that only look.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::site::Site;
use crate::cli::args::{Cat, ComponentPath, Diff, Find, Ls, Show};
use crate::cli::{Align, Context, Table, Terminal, human_bytes, shown};
use crate::engine::chain::Chain;
use crate::engine::query::{self, Change};
use crate::engine::restore::UNSETTLED;
use crate::engine::select::Selection;
use crate::engine::verify::Finding;
use crate::error::{Error, Kind, Result};
use crate::model::{BackupId, BackupKind, ComponentRecord, Digest, Entry, EntryKind, Moment, Sealing};
use crate::repo::catalog::Catalog;

/// Backups without trust that are named.
const SHOWN_STRANGERS: usize = 5;

fn kind_name(kind: BackupKind) -> &'static str {
    match kind {
        BackupKind::Full => "full",
        BackupKind::Incremental => "incremental",
    }
}

pub(super) fn list(context: &Context) -> Result<u8> {
    let site = Site::open(context)?;
    let backups = query::list(&site.repo, &site.state, &site.trust)?;
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
        return Ok(super::DAMAGE_FOUND);
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

pub(super) fn show(args: &Show, context: &Context) -> Result<u8> {
    let site = Site::open(context)?;
    let id = site.resolve(&args.id)?;
    let chain = Chain::open(&site.repo, &id, &site.trust, site.keys.clone())?;
    let manifest = &chain.backup.manifest;
    let signer = chain.backup.signer.as_ref().map(crate::repo::signing::SignerKey::fingerprint);
    let left_out = left_out(&chain, context);
    let document = serde_json::json!({ "signer": signer, "manifest": manifest, "left_out": left_out });
    context.result(&document, |terminal| {
        let line = |name: &str, value: String| terminal.print(format!("{name:<12}{}", shown(&value)));
        line("backup", format!("{} (number {})", manifest.id, manifest.sequence))?;
        line("kind", kind_name(manifest.kind).into())?;
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
        manifest.tags.iter().try_for_each(|(key, value)| line("tag", format!("{key}={value}")))?;
        line("tool", manifest.tool.clone())?;
        let columns = [
            ("component", Align::Left),
            ("entries", Align::Right),
            ("new", Align::Right),
            ("content", Align::Right),
            ("stored", Align::Right),
            ("archives", Align::Right),
            ("problems", Align::Right),
        ];
        let mut table = Table::new(&columns);
        for c in &manifest.components {
            table.row([
                c.name.clone(),
                c.entries.to_string(),
                c.new_entries.to_string(),
                human_bytes(c.content_bytes),
                human_bytes(c.bytes_stored),
                c.archives.len().to_string(),
                c.problem_count().to_string(),
            ]);
        }
        terminal.print_table(&table)?;
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

/// An entry as `--json` shows it.
#[derive(Serialize)]
struct Shown {
    component: String,
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    size: u64,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
}

impl Shown {
    fn new(component: &str, entry: &Entry, change: Option<Change>) -> Self {
        Self {
            component: component.into(),
            path: entry.path.escaped().into_owned(),
            kind: entry.kind.name(),
            size: entry.size(),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.to_string(),
            sha256: if let EntryKind::File { sha256, .. } = entry.kind { Some(sha256) } else { None },
            change,
        }
    }
}

fn long_line(component: &str, entry: &Entry) -> String {
    let time = Moment::from_unix_seconds(entry.mtime.seconds).to_string();
    let target = match &entry.kind {
        EntryKind::Symlink { target } => format!(" -> {}", crate::model::escape_path(target)),
        EntryKind::Hardlink { target } => format!(" = {target}"),
        _ => String::new(),
    };
    let (mode, uid, gid, size, path) = (entry.mode, entry.uid, entry.gid, entry.size(), &entry.path);
    format!("{:<8} {mode:04o} {uid:>6} {gid:>6} {size:>12} {time} {component}/{path}{target}", entry.kind.name())
}

pub(super) fn ls(args: &Ls, context: &Context) -> Result<u8> {
    let chain = Site::open(context)?.chain(&args.id)?;
    let globs: Vec<_> = args.glob.iter().cloned().collect();
    let selection = Selection::new(&globs, &[])?;
    let mut all = Vec::new();
    let findings = query::entries(&chain, &selection, &mut |component, entry| {
        if context.json() {
            all.push(Shown::new(component, entry, None));
            Ok(())
        } else if args.long {
            context.terminal.print_outside(&long_line(component, entry))
        } else {
            context.terminal.print_outside(&format!("{component}/{}", entry.path))
        }
    })?;
    if context.json() {
        context.terminal.print_json(&all)?;
    }
    Ok(damage_of(context, &findings))
}

/// Says what could not be looked at; gives the exit code.
fn damage_of(context: &Context, findings: &[Finding]) -> u8 {
    for finding in findings {
        context.terminal.warn(&format!("{}: {}\n{}", finding.path, finding.detail, finding.next));
    }
    if findings.is_empty() { 0 } else { super::DAMAGE_FOUND }
}

pub(super) fn diff(args: &Diff, context: &Context) -> Result<u8> {
    let site = Site::open(context)?;
    let (a, b) = (site.chain(&args.a)?, site.chain(&args.b)?);
    let mut all = Vec::new();
    let findings = query::diff(&a, &b, &mut |change, component, entry| {
        if context.json() {
            all.push(Shown::new(component, entry, Some(change)));
            return Ok(());
        }
        let sign = match change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Content => 'M',
            Change::Metadata => 'm',
        };
        context.terminal.print_outside(&format!("{sign} {component}/{}", entry.path))
    })?;
    if context.json() {
        context.terminal.print_json(&all)?;
    }
    Ok(damage_of(context, &findings))
}

/// One version of an entry and the backups that hold it.
#[derive(Serialize)]
struct Version {
    #[serde(flatten)]
    entry: Shown,
    first: BackupId,
    last: BackupId,
    backups: u64,
}

pub(super) fn find(args: &Find, context: &Context) -> Result<u8> {
    let site = Site::open(context)?;
    let selection = Selection::new(std::slice::from_ref(&args.glob), &[])?;
    let mut versions: BTreeMap<(String, Vec<u8>), Vec<Version>> = BTreeMap::new();
    let (mut looked_through, mut unreadable, mut findings) = (0, Vec::new(), Vec::new());
    for listed in Catalog::load(&site.repo)?.backups {
        let id = listed.id;
        let looked = Chain::open(&site.repo, &id, &site.trust, site.keys.clone()).and_then(|chain| {
            query::entries(&chain, &selection, &mut |component, entry| {
                let shown = Shown::new(component, entry, None);
                let key = (component.to_owned(), entry.path.as_bytes().to_vec());
                let known = versions.entry(key).or_default();
                match known.last_mut() {
                    Some(last) if same_version(&last.entry, &shown) => {
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
    if looked_through == 0 && unreadable.iter().all(|(_, e)| !e.is_damage()) {
        if let Some((_, e)) = unreadable.pop() {
            return Err(e);
        }
    }
    let all: Vec<_> = versions.into_values().flatten().collect();
    context.result(&all, |terminal| {
        for v in &all {
            let span = if v.first == v.last { v.first.to_string() } else { format!("{} … {}", v.first, v.last) };
            let line = format!(
                "{}/{}  {} bytes, modified {}, in {span}",
                v.entry.component,
                v.entry.path,
                v.entry.size,
                time(&v.entry)
            );
            terminal.print_outside(&line)?;
        }
        Ok(())
    })?;
    for (id, error) in &unreadable {
        context.terminal.warn(&format!("backup {id} could not be looked through: {}", error.one_line()));
    }
    let code = damage_of(context, &findings);
    let is = |kind: Kind| unreadable.iter().any(|(_, e)| e.kind() == kind);
    if code != 0 || unreadable.iter().any(|(_, e)| e.is_damage()) {
        return Ok(super::DAMAGE_FOUND);
    }
    if is(Kind::NewerFormat) {
        return Ok(Kind::NewerFormat.exit_code());
    }
    if all.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("no backup holds an entry that matches {:?}", args.glob)));
    }
    Ok(0)
}

fn time(entry: &Shown) -> String {
    let seconds = entry.mtime.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0);
    Moment::from_unix_seconds(seconds).to_string()
}

fn same_version(a: &Shown, b: &Shown) -> bool {
    (a.kind, a.size, &a.mode, a.uid, a.gid, &a.mtime, &a.sha256)
        == (b.kind, b.size, &b.mode, b.uid, b.gid, &b.mtime, &b.sha256)
}

pub(super) fn cat(args: &Cat, context: &Context) -> Result<u8> {
    if context.json() {
        return Err(Error::usage("`cat` writes the file itself to stdout; it has no --json"));
    }
    let chain = Site::open(context)?.chain(&args.id)?;
    let ComponentPath { component, path, unescaped } = &args.path;
    let mut clean = true;
    context.terminal.with_out(|out| {
        clean = match (query::cat(&chain, component, path, out), unescaped) {
            // Nothing was written; `ls` prints names with unusual bytes escaped.
            (Err(e), Some(path)) if e.kind() == Kind::NotFound => query::cat(&chain, component, path, out)
                .map_err(|other| if other.kind() == e.kind() { e } else { other })?,
            (outcome, _) => outcome?,
        };
        Ok(())
    })?;
    if !clean {
        context.terminal.warn(&format!("{component}/{path}: {UNSETTLED}"));
    }
    Ok(0)
}
