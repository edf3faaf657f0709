//! `ccrecover` and `ccops`: their verbs are listed, so that they can be found, and refused until they are built.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use super::args::Global;
use super::{Context, Program};
use crate::error::{Error, Result};

/// Brings a whole site back in seven steps, and rehearses that (not built yet)
///
/// Until then `ccbackup restore` brings files back into a folder, and the restore.sh of every backup does so without
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "ccrecover", version, max_term_width = 110)]
pub struct Recover {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub global: Global,
    /// Folder of the backups (not built yet)
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<OsString>,
    /// Backup to recover from (not built yet)
    #[arg(long, value_name = "ID")]
    pub backup: Option<OsString>,
    /// Show what would be done (not built yet)
    #[arg(long)]
    pub dry_run: bool,
    /// Answer every question with yes (not built yet)
    #[arg(long)]
    pub force: bool,
    /// Continue a recovery (not built yet)
    #[arg(long)]
    pub resume: bool,
    /// Repair a recovery that failed (not built yet)
    #[arg(long)]
    pub repair: bool,
    /// Forget a recovery that was begun (not built yet)
    #[arg(long)]
    pub reset: bool,
    /// Show how far a recovery is (not built yet)
    #[arg(long)]
    pub status: bool,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub verb: Option<RecoverVerb>,
}

/// Verbs of `ccrecover`.
#[derive(Clone, Debug, Subcommand)]
pub enum RecoverVerb {
    /// Show the seven steps for this site (not built yet)
    Plan(Rest),
    /// Undo a recovery (not built yet)
    Rollback(Rest),
    /// Rehearse a recovery in a scratch place (not built yet)
    Drill(Rest),
    /// List recoveries and drills (not built yet)
    History(Rest),
}

/// Runs and guards the site (not built yet)
#[derive(Clone, Debug, Parser)]
#[command(name = "ccops", version, max_term_width = 110)]
pub struct Ops {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub global: Global,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub verb: OpsVerb,
}

/// Verbs of `ccops`.
#[derive(Clone, Debug, Subcommand)]
pub enum OpsVerb {
    /// Check this host for what the stack needs (not built yet)
    Doctor(Rest),
    /// Start the stack (not built yet)
    Up(Rest),
    /// Stop the stack (not built yet)
    Down(Rest),
    /// Remove the stack and its data (not built yet)
    Destroy(Rest),
    /// Ask every service how it is (not built yet)
    Health(Rest),
    /// Try the whole way of the data (not built yet)
    SmokeTest(Rest),
    /// Compare the site with its description (not built yet)
    Verify(Rest),
    /// Show services and backups (not built yet)
    Status(Rest),
    /// Show what takes space (not built yet)
    StorageStatus(Rest),
    /// Free space (not built yet)
    StorageClean(Rest),
    /// Serve /health and /metrics (not built yet)
    Serve(Rest),
    /// Check, quarantine and recover a vectorstore (not built yet)
    Vectorstore(Rest),
}

/// Whatever follows a verb that is not built.
#[derive(Args, Clone, Debug)]
pub struct Rest {
    /// Arguments of the verb
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub arguments: Vec<OsString>,
}

impl Program for Recover {
    fn global(&self) -> &Global {
        &self.global
    }
}

impl Program for Ops {
    fn global(&self) -> &Global {
        &self.global
    }
}

/// What every verb of [`Recover`] and [`Ops`] does for now: says so and fails.
pub fn not_built<P: Program>(_: P, _: &Context) -> Result<u8> {
    let name = P::command().get_name().to_owned();
    Err(Error::failed(format!("{name} is not built yet; it does nothing in this version"))
        .hint("`ccbackup restore --target DIR` and the restore.sh of every backup bring files back"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::{Captured, Environment, StopFlag, Terminal, run_in};
    use super::*;

    fn run<P: Program>(line: &str) -> (u8, Captured, Captured) {
        let (terminal, out, err) = Terminal::captured();
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let code = run_in::<P>(&arguments, Environment::default(), &terminal, StopFlag::default(), not_built);
        (code, out, err)
    }

    #[test]
    fn the_definitions_are_sound() {
        Recover::command().debug_assert();
        Ops::command().debug_assert();
    }

    #[test]
    fn every_planned_verb_says_that_it_is_not_built() {
        for command in [Recover::command(), Ops::command()] {
            for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
                assert!(verb.get_about().unwrap().to_string().ends_with("(not built yet)"), "{verb}");
            }
        }
    }

    #[test]
    fn running_any_of_them_fails_clearly() {
        for line in
            ["ccrecover", "ccrecover --dry-run --backup-dir x", "ccrecover drill --inject disk", "ccrecover plan"]
        {
            let (code, out, err) = run::<Recover>(line);
            assert_eq!((code, out.text().as_str()), (1, ""), "{line}");
            assert!(err.text().starts_with("error: ccrecover is not built yet"), "{}", err.text());
        }
        for line in ["ccops doctor", "ccops vectorstore check --json", "ccops destroy --yes"] {
            let (code, _, err) = run::<Ops>(line);
            assert_eq!(code, 1, "{line}");
            assert!(err.text().starts_with("error: ccops is not built yet"), "{}", err.text());
        }
        assert_eq!(run::<Ops>("ccops").0, 2);
        assert_eq!(run::<Ops>("ccops --help").0, 0);
        assert_eq!(run::<Recover>("ccrecover nonsense").0, 2);
        assert!(run::<Ops>("ccops --json doctor").1.text().contains("\"kind\": \"failed\""));
    }
}
