//! `ccbackup check`.

use super::apply::{code, living, warn_differences, warn_failures};
use crate::cli::ccbackup::args::Check;
use crate::cli::ccbackup::session;
use crate::cli::{Context, Table};
use crate::engine::apply::{ApplyRequest, CheckedComponent, Services};
use crate::error::Result;

pub(super) fn check(args: &Check, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let id = session::resolve(context, &session, &args.id)?;
    let components = living(context)?;
    let threads = context.threads(&context.config()?);
    let request = ApplyRequest { components: args.component.clone(), threads, ..ApplyRequest::default() };
    let report = session.check(&id, &request, Services::new(&components), &context.monitor)?;
    context.monitor.finish();
    context.result(&report, |terminal| {
        terminal.print(format!("backup {} and the living services", report.id))?;
        let mut table = Table::new(&["component", "result", ">compared", ">differences"]);
        for component in &report.components {
            table.row(&[&component.name, &word(component), &component.compared, &component.differences.len()]);
        }
        terminal.print_table(&table)
    })?;
    for component in &report.components {
        let differences = component.differences.iter().map(|d| (d.object.as_str(), d.detail.as_str()));
        warn_differences(context, &component.name, differences);
        if let Some(reason) = &component.manual {
            context.terminal.warn(&format!("{} was not compared: {reason}", component.name));
        }
    }
    warn_failures(context, report.components.iter().filter_map(|component| component.error.as_ref()));
    Ok(code(report.failure(), !report.equal))
}

fn word(component: &CheckedComponent) -> &'static str {
    match component {
        CheckedComponent { error: Some(_), .. } => "failed",
        CheckedComponent { manual: Some(_), .. } => "manual",
        CheckedComponent { differences, .. } if differences.is_empty() => "equal",
        _ => "differs",
    }
}
