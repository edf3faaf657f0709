//! `ccbackup completions`: made from the same definitions as `--help`.

use clap::CommandFactory as _;

use crate::cli::Context;
use crate::cli::ccbackup::args::{Cli, Completions};
use crate::error::Result;

pub(super) fn completions(args: &Completions, context: &Context) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ccbackup", &mut text);
    context.terminal.print_bytes(&text).map(|()| 0)
}
