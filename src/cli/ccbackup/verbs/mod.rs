//! The verbs of `ccbackup`: each turns its arguments into calls of `engine` and prints what comes back.

mod create;
mod demo;
mod init;
mod key;
mod look;
mod manual;
mod priority;
mod restore;
mod site;
mod verify;

use super::Context;
use super::args::{Cli, Command};
use crate::error::Result;

/// Runs the verb that was typed; gives the exit code of a run that did not fail.
pub fn dispatch(cli: Cli, context: &Context) -> Result<u8> {
    priority::set(&cli.command, context)?;
    match cli.command {
        Command::Init(args) => init::init(&args, context),
        Command::Create(args) => create::create(&args, context),
        Command::List(_) => look::list(context),
        Command::Show(args) => look::show(&args, context),
        Command::Ls(args) => look::ls(&args, context),
        Command::Diff(args) => look::diff(&args, context),
        Command::Find(args) => look::find(&args, context),
        Command::Cat(args) => look::cat(&args, context),
        Command::Verify(args) => verify::verify(&args, context),
        Command::Restore(args) => restore::restore(&args, context),
        Command::Key(args) => key::key(&args, context),
        Command::Demo(args) => demo::demo(&args, context),
        Command::Completions(args) => manual::completions(&args, context),
        Command::Man(args) => manual::man(&args, context),
    }
}

/// A path in a JSON document: C-escaped like all others, so that any bytes survive.
fn escaped(path: &std::path::Path) -> String {
    crate::model::escape_path(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// Exit code of a run that was done, but with problems.
const DONE_WITH_PROBLEMS: u8 = 3;
/// Exit code of a run that found damage.
const DAMAGE_FOUND: u8 = 4;
