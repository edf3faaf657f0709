//! `ccbackup restore`.

use std::path::Path;

use rustix::fs::Mode;
use rustix::process::umask;

use super::apply;
use crate::cli::ccbackup::args::Restore;
use crate::cli::ccbackup::session;
use crate::cli::{Context, DAMAGE_FOUND, DONE_WITH_PROBLEMS, Terminal, human_bytes, shown, with_next};
use crate::engine::restore::{RestoreOptions, RestoreReport};
use crate::engine::select::Selection;
use crate::error::{Result, path_text};

/// Paths that are listed one by one before a deletion.
const SHOWN_PATHS: usize = 20;

pub(super) fn restore(args: &Restore, context: &Context) -> Result<u8> {
    args.check()?;
    match (&args.target, &args.undo, &args.confirm) {
        (Some(target), ..) => into_folder(args, target, context),
        (None, Some(run), _) => apply::undo(run, args.yes, context),
        (None, None, Some(run)) => apply::confirm(run, args.yes, context),
        (None, None, None) if args.runs => apply::runs(context),
        (None, None, None) => apply::apply(args, context),
    }
}

fn into_folder(args: &Restore, target: &Path, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let id = session::resolve(context, &session, &args.id)?;
    let target = context.absolute(target);
    let options = RestoreOptions {
        components: args.component.clone(),
        selection: Selection::new(&args.include, &args.exclude)?,
        overwrite: args.overwrite,
        delete: args.delete,
        threads: context.threads(&context.config()?),
    };
    if args.dry_run {
        return conclude(context, &session.preview_restore(&id, &target, options, &context.monitor)?);
    }
    let plan = session.plan_restore(&id, &target, options, &context.monitor)?;
    let count = plan.deletions().count();
    if count > 0 && !args.yes {
        context.monitor.finish();
        let question: Vec<_> = plan.deletions().take(SHOWN_PATHS).map(|path| format!("would remove {path}")).collect();
        context.terminal.warn(&question.join("\n"));
        context
            .terminal
            .confirm(&format!("remove {count} entries below {} that the backup does not have?", path_text(&target)))?;
    }
    // A restore gives each file a mode of its own. The mask would only cost a call for each to set it again.
    umask(Mode::empty());
    conclude(context, &plan.apply(&context.monitor)?)
}

fn conclude(context: &Context, report: &RestoreReport) -> Result<u8> {
    context.monitor.finish();
    context.result(&with_next(report, &report.findings)?, |terminal| print(terminal, report))?;
    for finding in &report.findings {
        context.terminal.warn(&format!("not restored: {}: {}", finding.path, finding.detail));
    }
    for problem in &report.problems {
        context.terminal.warn(&format!("{}: {}", problem.path, problem.detail));
    }
    if !report.findings.is_empty() {
        context
            .terminal
            .warn(&format!("{} findings: what they name is damaged and was not restored", report.findings.len()));
        return Ok(DAMAGE_FOUND);
    }
    Ok(if report.problems.is_empty() { 0 } else { DONE_WITH_PROBLEMS })
}

fn print(terminal: &Terminal, report: &RestoreReport) -> Result<()> {
    let (would, bytes) = (if report.dry_run { "would write" } else { "wrote" }, human_bytes(report.bytes_written));
    terminal.print(format!("backup {} → {}", report.id, shown(&path_text(&report.target))))?;
    let RestoreReport { entries, written, unchanged, .. } = report;
    terminal.print(format!("{entries} entries: {would} {written} ({bytes}), {unchanged} were there already"))?;
    for path in &report.deleted {
        let word = if report.dry_run { "would remove" } else { "removed" };
        terminal.print(format!("{word} {}", shown(path)))?;
    }
    if report.dry_run {
        return terminal.print("nothing was changed (dry run)");
    }
    terminal.print(format!("done in {:.1} s", report.duration.as_secs_f64()))
}
