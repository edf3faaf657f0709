//! `ccbackup cat`.

use crate::cli::Context;
use crate::cli::ccbackup::args::{Cat, ComponentPath};
use crate::cli::ccbackup::session;
use crate::engine::query;
use crate::engine::restore::UNSETTLED;
use crate::error::{Error, Kind, Result};

pub(super) fn cat(args: &Cat, context: &Context) -> Result<u8> {
    if context.json() {
        return Err(Error::usage("`cat` writes the file itself to stdout; it has no --json"));
    }
    let chain = session::chain(context, &session::open(context)?, &args.id)?;
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
