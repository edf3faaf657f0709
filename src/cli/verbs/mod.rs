//! The verbs of `ccbackup`: each turns its arguments into calls of `engine` and prints what comes back.

use super::Context;
use super::args::{Cli, Command};
use crate::error::{Error, Result};

/// Runs the verb that was typed; gives the exit code of a run that did not fail.
pub fn dispatch(cli: Cli, _context: &Context) -> Result<u8> {
    let verb = cli.command.name();
    let not_wired = || Err(Error::failed(format!("`ccbackup {verb}` is not wired yet")));
    match cli.command {
        Command::Create(create) => create.check().and_then(|()| not_wired()),
        Command::Init(_)
        | Command::List(_)
        | Command::Show(_)
        | Command::Ls(_)
        | Command::Diff(_)
        | Command::Find(_)
        | Command::Cat(_)
        | Command::Verify(_)
        | Command::Restore(_)
        | Command::Key(_)
        | Command::Demo(_)
        | Command::Completions(_)
        | Command::Man(_) => not_wired(),
    }
}
