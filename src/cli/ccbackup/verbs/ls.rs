//! `ccbackup ls`.

use crate::cli::Context;
use crate::cli::ccbackup::args::Ls;
use crate::cli::ccbackup::entries::{ShownEntry, damage_of};
use crate::cli::ccbackup::session;
use crate::engine::query;
use crate::engine::select::Selection;
use crate::error::Result;
use crate::model::{Entry, EntryKind, Moment};

pub(super) fn ls(args: &Ls, context: &Context) -> Result<u8> {
    let chain = session::chain(context, &session::open(context)?, &args.id)?;
    let globs: Vec<_> = args.glob.iter().cloned().collect();
    let selection = Selection::new(&globs, &[])?;
    let mut all = Vec::new();
    let findings = query::entries(&chain, &selection, &mut |component, entry| {
        if context.json() {
            all.push(ShownEntry::new(component, entry, None));
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
