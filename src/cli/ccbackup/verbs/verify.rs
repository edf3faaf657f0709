//! `ccbackup verify`.

use crate::cli::ccbackup::args::Verify;
use crate::cli::ccbackup::session;
use crate::cli::{Context, DAMAGE_FOUND, Terminal, human_bytes, shown, with_next, worded};
use crate::engine::verify::{Depth, VerifyOptions, VerifyReport};
use crate::error::{Kind, Result};
use crate::monitor::Monitor as _;

/// Findings that are printed one by one; the rest is counted. `--json` has them all.
const SHOWN_FINDINGS: usize = 100;

pub(super) fn verify(args: &Verify, context: &Context) -> Result<u8> {
    let session = session::open(context)?;
    let id = session::resolve(context, &session, &args.id)?;
    let depth = match (args.deep, args.sample) {
        (_, Some(sample)) => Depth::Deep(sample.as_f64()),
        (true, None) => Depth::Deep(100.0),
        (false, None) => Depth::Keyless,
    };
    let options = VerifyOptions { depth, all: args.all, threads: context.threads(&context.config()?) };
    let report = session.verify(&id, &options, &context.monitor)?;
    context.monitor.finish();
    // A verification without trust in a signer proves less, so it is not remembered as one.
    if report.ok
        && !report.signers.is_empty()
        && let Err(error) = session.state.set_verified(&report.backups, session.host.clock.now())
    {
        context.detail(&format!("the date of this verification was not noted: {}", error.one_line()));
    }
    context.result(&with_next(&report, &report.findings)?, |terminal| {
        for note in report.notes.iter().take(SHOWN_FINDINGS) {
            context.monitor.note(&format!("{}: {}", shown(&note.path), shown(&note.detail)));
        }
        if report.notes.len() > SHOWN_FINDINGS {
            context.monitor.note(&format!("… and {} more; --json lists all", report.notes.len() - SHOWN_FINDINGS));
        }
        print(terminal, &report)
    })?;
    Ok(match report.ok {
        true => 0,
        false if report.is_only_newer() => Kind::NewerFormat.exit_code(),
        false => DAMAGE_FOUND,
    })
}

fn print(terminal: &Terminal, report: &VerifyReport) -> Result<()> {
    for finding in report.findings.iter().take(SHOWN_FINDINGS) {
        let word = if finding.is_newer() { "NEWER" } else { "DAMAGE" };
        terminal.print(format!("{word:<8}{}: {}", finding.kind, shown(&finding.path)))?;
        if !finding.backup.is_empty() {
            let component = finding.component.as_ref().map(|c| format!(", component {c}")).unwrap_or_default();
            terminal.print(format!("        in backup {}{component}", shown(&finding.backup)))?;
        }
        terminal.print(format!("        {}", shown(&finding.detail)))?;
        terminal.print(format!("  next: {}", shown(&worded(&finding.next))))?;
    }
    if report.findings.len() > SHOWN_FINDINGS {
        terminal.print(format!("… and {} more; --json lists all", report.findings.len() - SHOWN_FINDINGS))?;
    }
    let deep =
        if report.depth == "deep" { format!(", {} entries opened and hashed", report.entries) } else { String::new() };
    let (backups, bytes) = (counted(report.backups.len(), "backup"), human_bytes(report.bytes));
    let what = format!("{backups}, {} archive and index files, {bytes}{deep}", report.archives);
    if !report.ok {
        return terminal.print(format!("{} in {what}", counted(report.findings.len(), "finding")));
    }
    let signers: Vec<_> = report.signers.iter().map(String::as_str).collect();
    let signed = if signers.is_empty() {
        "NOT signed by anybody who is trusted".into()
    } else {
        format!("signed by {}", signers.join(", "))
    };
    terminal.print(format!("no damage: {what}; {signed}"))?;
    if report.captured_with_problems > 0 {
        terminal.print(format!("(the captures themselves had noted {} problems)", report.captured_with_problems))?;
    }
    Ok(())
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
