//! `ccbackup restore`.

use rustix::fs::Mode;
use rustix::process::umask;

use super::site::Site;
use crate::cli::ccbackup::args::Restore;
use crate::cli::{Context, DAMAGE_FOUND, DONE_WITH_PROBLEMS, Terminal, human_bytes, shown, with_next};
use crate::durable::Disk;
use crate::engine::restore::{self as engine, RestoreOptions, RestoreReport};
use crate::engine::select::Selection;
use crate::error::{Result, path_text};

/// Paths that are listed one by one before a deletion.
const SHOWN_PATHS: usize = 20;

pub(super) fn restore(args: &Restore, context: &Context) -> Result<u8> {
    args.check()?;
    let site = Site::open(context)?;
    let chain = site.chain(&args.id)?;
    let target = context.absolute(&args.target);
    let options = RestoreOptions {
        components: args.component.clone(),
        selection: Selection::new(&args.include, &args.exclude)?,
        overwrite: args.overwrite,
        delete: args.delete,
        threads: context.threads(&context.config()?),
        disk: Disk::default(),
    };
    if args.dry_run {
        let report = engine::preview(&chain, &target, &options, &context.monitor)?;
        return conclude(context, &report);
    }
    if args.delete && !args.yes {
        let plan = engine::preview(&chain, &target, &options, &context.monitor)?;
        context.monitor.finish();
        if !plan.deleted.is_empty() {
            let mut question = String::new();
            for path in plan.deleted.iter().take(SHOWN_PATHS) {
                question.push_str(&format!("would remove {path}\n"));
            }
            context.terminal.warn(question.trim_end());
            let count = plan.deleted.len();
            context.terminal.confirm(&format!(
                "remove {count} entries below {} that the backup does not have?",
                path_text(&target)
            ))?;
        }
    }
    // A restore gives each file a mode of its own. The mask would only cost a call for each to set it again.
    umask(Mode::empty());
    let report = engine::restore(&chain, &target, &options, &context.monitor)?;
    conclude(context, &report)
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
    terminal.print(format!(
        "{} entries: {would} {} ({bytes}), {} were there already",
        report.entries, report.written, report.unchanged
    ))?;
    for path in &report.deleted {
        let word = if report.dry_run { "would remove" } else { "removed" };
        terminal.print(format!("{word} {}", shown(path)))?;
    }
    if report.dry_run {
        return terminal.print("nothing was changed (dry run)");
    }
    terminal.print(format!("done in {:.1} s", report.duration_seconds))
}
