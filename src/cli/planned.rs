//! Programs whose verbs are listed, so that they can be found, and refused until they are built.

use std::ffi::OsString;

use clap::Args;

use super::{Context, Program};
use crate::error::{Error, Result};

/// Whatever follows a verb that is not built.
#[derive(Args, Clone, Debug)]
pub struct Rest {
    /// Arguments of the verb
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub arguments: Vec<OsString>,
}

/// What every verb of `ccrecover` and `ccops` does for now: says so and fails.
pub fn not_built<P: Program>(_: P, _: &Context) -> Result<u8> {
    let name = P::command().get_name().to_owned();
    Err(Error::failed(format!("{name} is not built yet; it does nothing in this version"))
        .hint("`ccbackup restore --target DIR` and the restore.sh of every backup bring files back"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::ccops::Ops;
    use super::super::ccrecover::Recover;
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
