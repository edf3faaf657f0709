//! Brings a whole site back; planned.

use std::process::ExitCode;

use ccbackup::cli;

fn main() -> ExitCode {
    cli::run(cli::not_built::<cli::ccrecover::Recover>)
}
