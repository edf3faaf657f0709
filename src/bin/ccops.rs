//! Runs and guards the site; planned.

use std::process::ExitCode;

use ccbackup::cli;

fn main() -> ExitCode {
    cli::run(cli::not_built::<cli::ccops::Ops>)
}
