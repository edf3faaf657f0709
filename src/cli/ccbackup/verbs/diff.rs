//! `ccbackup diff`.

use crate::cli::Context;
use crate::cli::ccbackup::args::Diff;
use crate::cli::ccbackup::entries::{ShownEntry, damage_of};
use crate::cli::ccbackup::session;
use crate::engine::query::{self, Change};
use crate::error::Result;

pub(super) fn diff(args: &Diff, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let (a, b) = (session::chain(context, &session, &args.a)?, session::chain(context, &session, &args.b)?);
    let mut all = Vec::new();
    let findings = query::diff(&a, &b, &mut |change, component, entry| {
        if context.json() {
            all.push(ShownEntry::new(component, entry, Some(change)));
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
