//! Makes, checks, lists and restores backups.

use std::process::ExitCode;

use ccbackup::cli;

fn main() -> ExitCode {
    cli::run(cli::ccbackup::dispatch)
}
