//! The verbs of `ccbackup`: each turns its arguments into calls of `engine` and prints what comes back.

mod apply;
mod cat;
mod check;
mod completions;
mod create;
mod demo;
mod diff;
mod find;
mod init;
mod key;
mod list;
mod ls;
mod man;
mod restore;
mod show;
mod verify;

use super::args::{Cli, Command};
use super::priority;
use crate::cli::Context;
use crate::error::Result;

/// Runs the verb that was typed; gives the exit code of a run that did not fail.
pub fn dispatch(cli: Cli, context: &Context) -> Result<u8> {
    priority::set(&cli.command, context)?;
    match cli.command {
        Command::Init(args) => init::init(&args, context),
        Command::Create(args) => create::create(&args, context),
        Command::List(_) => list::list(context),
        Command::Show(args) => show::show(&args, context),
        Command::Ls(args) => ls::ls(&args, context),
        Command::Diff(args) => diff::diff(&args, context),
        Command::Find(args) => find::find(&args, context),
        Command::Cat(args) => cat::cat(&args, context),
        Command::Verify(args) => verify::verify(&args, context),
        Command::Check(args) => check::check(&args, context),
        Command::Restore(args) => restore::restore(&args, context),
        Command::Key(args) => key::key(&args, context),
        Command::Demo(args) => demo::demo(&args, context, dispatch),
        Command::Completions(args) => completions::completions(&args, context),
        Command::Man(args) => man::man(&args, context),
    }
}
