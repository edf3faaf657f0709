//! How much of a busy machine a run may take.

use rustix::process::{getpriority_process, setpriority_process};

use crate::cli::Context;
use crate::cli::ccbackup::args::Command;
use crate::error::{Context as _, Result};

/// Niceness of runs that nobody waits for.
const BACKGROUND: i32 = 10;

/// Sets the niceness that was asked for. Without a wish, `create` and `verify` that no terminal belongs to (cron, timers,
/// CI) stand back behind the services of the machine. A restore never does: somebody waits for it.
///
/// To be called before there are threads: each has its own niceness and passes it on.
pub(super) fn set(command: &Command, context: &Context) -> Result<()> {
    let Some(nice) = context.global.nice else {
        let background = matches!(command, Command::Create(_) | Command::Verify(_));
        if background && !context.terminal.traits().attended && getpriority_process(None).is_ok_and(|now| now == 0) {
            // A machine that does not allow it runs the backup all the same.
            setpriority_process(None, BACKGROUND).ok();
        }
        return Ok(());
    };
    setpriority_process(None, nice.into())
        .map_err(std::io::Error::from)
        .doing("cannot set the niceness (--nice); only root may lower it")
}
