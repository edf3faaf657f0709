//! `ccbackup restore --apply`, `--undo`, `--confirm` and `--runs`.

use crate::cli::ccbackup::args::Restore;
use crate::cli::ccbackup::session;
use crate::cli::{Context, DONE_WITH_PROBLEMS, Table, Terminal, shown, worded};
use crate::config::{ComponentConfig, discover};
use crate::engine::Session;
use crate::engine::apply::{ApplyReport, ApplyRequest, PlanReport, RunId, RunRecord, RunStatus, Services, UndoReport};
use crate::error::{Error, Result};
use crate::source::{Action, ActionKind};

/// Equal objects of a component that are listed one by one; of them nothing has to be decided.
const SHOWN_EQUAL: usize = 20;
/// Differences of a component that are printed one by one.
const SHOWN_DIFFERENCES: usize = 20;

pub(super) fn apply(args: &Restore, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let id = session::resolve(context, &session, &args.id)?;
    let components = living(context)?;
    let services = Services::new(&components);
    let request = ApplyRequest {
        components: args.component.clone(),
        overwrite: args.overwrite,
        threads: context.threads(&context.config()?),
    };
    if args.dry_run {
        let plan = session.plan_apply(&id, &request, services, &context.monitor)?;
        context.monitor.finish();
        context.result(&plan, |terminal| {
            print_plan(terminal, &plan)?;
            terminal.print("nothing was changed (dry run)")
        })?;
        warn_failures(context, plan.components.iter().filter_map(|component| component.error.as_ref()));
        return match plan.conflict() {
            Some(conflict) => Err(conflict),
            None => Ok(code(plan.failure(), plan.manual() > 0)),
        };
    }
    let mut told = Vec::new();
    let go = &mut |plan: &PlanReport| {
        context.monitor.finish();
        if !context.json() {
            print_plan(&context.terminal, plan)?;
        }
        if plan.conflicts() > 0 {
            // The engine refuses; with --json this is the document.
            return if context.json() { context.terminal.print_json(plan) } else { Ok(()) };
        }
        let failed = plan.components.iter().filter(|component| component.error.is_some());
        told.extend(failed.clone().map(|component| component.name.clone()));
        warn_failures(context, failed.filter_map(|component| component.error.as_ref()));
        if plan.changes() == 0 || args.yes { Ok(()) } else { context.terminal.confirm(&question(plan)) }
    };
    let report = session.apply(&id, &request, services, go, &context.monitor)?;
    context.monitor.finish();
    context.result(&report, |terminal| print_report(terminal, &report))?;
    conclude(context, &report, &told)
}

/// What the configuration describes, else what is found in the current folder, as for `create`.
pub(super) fn living(context: &Context) -> Result<Vec<ComponentConfig>> {
    let configured = context.config()?.components;
    if !configured.is_empty() {
        return Ok(configured);
    }
    discover(&context.environment.current, context.environment.home.as_deref())
}

fn question(plan: &PlanReport) -> String {
    let replaced = match plan.replacements() {
        0 => String::new(),
        count => format!(", {count} of them in place of what is there"),
    };
    format!("put {} objects of backup {} back into the living services{replaced}?", plan.changes(), plan.id)
}

fn print_plan(terminal: &Terminal, plan: &PlanReport) -> Result<()> {
    terminal.print(format!("backup {} → the living services", plan.id))?;
    let mut table = Table::new(&["component", "action", "object", "detail"]);
    let mut by_hand = Vec::new();
    for component in &plan.components {
        let mut equal = 0;
        for Action { kind, object, detail, command } in &component.actions {
            equal += usize::from(*kind == ActionKind::Equal);
            if *kind != ActionKind::Equal || equal <= SHOWN_EQUAL {
                table.row(&[&component.name, kind, object, detail]);
            }
            by_hand.extend(command.as_ref().map(|command| (object, command)));
        }
        if equal > SHOWN_EQUAL {
            let more = format!("and {} more; --json lists all", equal - SHOWN_EQUAL);
            table.row(&[&component.name, &ActionKind::Equal, &"…", &more]);
        }
        if component.error.is_some() {
            table.row(&[&component.name, &"failed", &"", &"see below"]);
        }
    }
    terminal.print_table(&table)?;
    for (object, command) in by_hand {
        terminal.print(format!("by hand, {}: {}", shown(object), shown(command)))?;
    }
    Ok(())
}

fn print_report(terminal: &Terminal, report: &ApplyReport) -> Result<()> {
    let mut table = Table::new(&["component", "result", ">compared", ">differences"]);
    for component in &report.components {
        table.row(&[&component.name, &component.status, &component.compared, &component.differences.len()]);
    }
    terminal.print_table(&table)?;
    if let Some(run) = &report.run {
        terminal.print(format!("run {run}: `ccbackup restore --undo {run}` puts back what was there,"))?;
        terminal.print(format!("`ccbackup restore --confirm {run}` drops it"))?;
    }
    terminal.print(format!("done in {:.1} s", report.duration.as_secs_f64()))
}

/// Tells what went wrong but for components that were `told` of with the plan.
fn conclude(context: &Context, report: &ApplyReport, told: &[String]) -> Result<u8> {
    for component in &report.components {
        let differences = component.differences.iter().map(|d| (d.object.as_str(), d.detail.as_str()));
        warn_differences(context, &component.name, differences);
    }
    let later = report.components.iter().filter(|component| !told.contains(&component.name));
    warn_failures(context, later.filter_map(|component| component.error.as_ref()));
    let failed =
        report.components.iter().filter(|c| matches!(c.status, RunStatus::Failed | RunStatus::Skipped)).count();
    if failed > 0 {
        context.terminal.warn(&format!("{failed} of {} components are not back", report.components.len()));
    } else if !report.is_whole() {
        context.terminal.warn("not everything is back as it was captured (listed above)");
    }
    Ok(code(report.failure(), !report.is_whole()))
}

/// Exit code of a run with this failure, or else with something left to do.
pub(super) fn code(failure: Option<&Error>, is_open: bool) -> u8 {
    match failure {
        Some(error) => error.kind().exit_code(),
        None if is_open => DONE_WITH_PROBLEMS,
        None => 0,
    }
}

/// Tells why components could not be treated.
pub(super) fn warn_failures<'a>(context: &Context, errors: impl Iterator<Item = &'a Error>) {
    for error in errors {
        let advice = error.advice().map(|hint| format!("\n{}", worded(hint))).unwrap_or_default();
        context.terminal.warn(&format!("{}{advice}", error.one_line()));
    }
}

/// Tells where a living component is not as in the backup.
pub(super) fn warn_differences<'a>(
    context: &Context,
    component: &str,
    differences: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) {
    let count = differences.len();
    for (object, detail) in differences.take(SHOWN_DIFFERENCES) {
        context.terminal.warn(&format!("{component}: {}: {}", shown(object), shown(detail)));
    }
    if count > SHOWN_DIFFERENCES {
        let more = count - SHOWN_DIFFERENCES;
        context.terminal.warn(&format!("{component}: … and {more} more differences; --json lists all"));
    }
}

pub(super) fn undo(run: &RunId, yes: bool, context: &Context) -> Result<u8> {
    let question = format!("put back what run {run} replaced?");
    settle(&question, yes, context, |session, services| session.undo_apply(run, services, &context.monitor))
}

pub(super) fn confirm(run: &RunId, yes: bool, context: &Context) -> Result<u8> {
    let question = format!("drop what run {run} replaced? It cannot be undone then");
    settle(&question, yes, context, |session, services| session.confirm_apply(run, services, &context.monitor))
}

fn settle(
    question: &str,
    yes: bool,
    context: &Context,
    work: impl FnOnce(&Session, Services<'_>) -> Result<UndoReport>,
) -> Result<u8> {
    let session = session::open(context)?;
    let components = living(context)?;
    if !yes {
        context.terminal.confirm(question)?;
    }
    let report = work(&session, Services::new(&components))?;
    context.monitor.finish();
    context.result(&report, |terminal| {
        terminal.print(format!("run {} of backup {}", report.run, report.backup))?;
        if report.components.is_empty() {
            return terminal.print("nothing was left to do");
        }
        let mut table = Table::new(&["component", "result"]);
        report.components.iter().for_each(|component| table.row(&[&component.name, &component.status]));
        terminal.print_table(&table)
    })?;
    warn_failures(context, report.components.iter().filter_map(|component| component.error.as_ref()));
    Ok(code(report.failure(), false))
}

pub(super) fn runs(context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let runs = session.apply_runs()?;
    context.result(&runs, |terminal| {
        if runs.is_empty() {
            return terminal.print("no runs yet");
        }
        let mut table = Table::new(&["run", "backup", "begun", "components"]);
        for RunRecord { id, backup, started_at, components } in &runs {
            let components: Vec<_> = components.iter().map(|c| format!("{} {}", c.name, c.status)).collect();
            table.row(&[id, backup, started_at, &components.join(", ")]);
        }
        terminal.print_table(&table)
    })?;
    Ok(0)
}
