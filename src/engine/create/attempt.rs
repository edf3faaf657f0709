//! What surrounds the capture of a component: its hooks, its time, and another attempt when one failed.

use std::fmt;
use std::time::{Duration, Instant};

use super::component::Failure;
use crate::config::ComponentConfig;
use crate::environment::Environment;
use crate::error::{Error, Hint, Kind, Result};
use crate::monitor::Monitor;
use crate::process::Command;

/// How long a hook may run.
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);
/// Before the second attempt; doubled before each that follows.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often the wish to stop is looked at while waiting.
const STEP: Duration = Duration::from_millis(100);

/// Runs `capture`, again as often as the configuration says, and the hooks around it. A hook that fails, whichever it is,
/// fails the component: what it was to do was not done.
pub(super) fn attempt<T>(
    spec: &ComponentConfig,
    environment: &Environment,
    monitor: &dyn Monitor,
    capture: &mut dyn FnMut(&dyn Monitor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let hooks = &spec.hooks;
    let run = |name: &str, argv: &[String]| hook(spec, name, argv, environment, monitor);
    let captured = run("before", &hooks.before).and_then(|()| attempts(spec, monitor, capture));
    let captured = match captured {
        Ok(captured) => run("after", &hooks.after).map(|()| captured),
        Err(Failure::Component(error)) => Err(Failure::Component(also(error, run("on_failure", &hooks.on_failure)))),
        other => other,
    };
    // It is run in any case, most of all when the run was told to stop: it may be what lets a service go on.
    let last = hook(spec, "finally", &hooks.finally, environment, &Patient);
    match captured {
        Ok(captured) => last.map(|()| captured),
        Err(Failure::Component(error)) => Err(Failure::Component(also(error, last))),
        Err(failure) => Err(failure),
    }
}

/// What failed first is the cause; what failed after it is told.
fn also(error: Error, second: Result<(), Failure>) -> Error {
    match second {
        Err(Failure::Component(second) | Failure::Run(second)) => {
            let message = format!("{}; then {}", error.one_line(), second.one_line());
            Error::new(error.kind(), message)
        }
        _ => error,
    }
}

fn attempts<T>(
    spec: &ComponentConfig,
    monitor: &dyn Monitor,
    capture: &mut dyn FnMut(&dyn Monitor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut wait = FIRST_WAIT;
    for left in (0..spec.retries).rev() {
        match timed(spec, monitor, capture) {
            Err(Failure::Component(error)) => {
                let text = format!("{}: {}; trying again, {} attempts left", spec.name, error.one_line(), left + 1);
                monitor.note(&text);
            }
            other => return other,
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            monitor.check()?;
            std::thread::sleep(STEP);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    timed(spec, monitor, capture)
}

/// One attempt, for as long as it may take.
fn timed<T>(
    spec: &ComponentConfig,
    monitor: &dyn Monitor,
    capture: &mut dyn FnMut(&dyn Monitor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(most) = spec.timeout else { return capture(monitor) };
    match capture(&Limited { monitor, until: Instant::now() + most, most }) {
        Err(Failure::Run(error)) if error.kind() == Kind::TimedOut => Err(Failure::Component(error)),
        other => other,
    }
}

fn hook(
    spec: &ComponentConfig,
    name: &str,
    argv: &[String],
    environment: &Environment,
    monitor: &dyn Monitor,
) -> Result<(), Failure> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let command = Command::new(program, environment)
        .args(arguments)
        .env("CCBACKUP_COMPONENT", &spec.name)
        .env("CCBACKUP_HOOK", name)
        .timeout(HOOK_TIMEOUT)
        .stopped_by(monitor)
        .discard();
    let failed = |error: Error| error.within(format!("the hook `{name}` of the component {} failed", spec.name));
    command.run(&[], 0).map(drop).map_err(|e| Failure::of_source(failed(e)))
}

/// A monitor that also says when the time of a capture is over.
struct Limited<'a> {
    monitor: &'a dyn Monitor,
    until: Instant,
    most: Duration,
}

impl fmt::Debug for Limited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limited({:?})", self.most)
    }
}

impl Monitor for Limited<'_> {
    fn stage(&self, name: &str, total_bytes: Option<u64>, total_entries: Option<u64>) {
        self.monitor.stage(name, total_bytes, total_entries);
    }

    fn advance(&self, bytes: u64, entries: u64) {
        self.monitor.advance(bytes, entries);
    }

    fn note(&self, text: &str) {
        self.monitor.note(text);
    }

    fn advise(&self, text: &str, hint: &Hint) {
        self.monitor.advise(text, hint);
    }

    fn stop_signal(&self) -> i32 {
        self.monitor.stop_signal()
    }

    fn throttle(&self, bytes: u64) {
        self.monitor.throttle(bytes);
    }

    fn check(&self) -> Result<()> {
        self.monitor.check()?;
        if Instant::now() < self.until {
            return Ok(());
        }
        let seconds = self.most.as_secs();
        Err(Error::new(Kind::TimedOut, format!("the capture took longer than the {seconds} s of `timeout`")))
    }
}

/// Never stops.
#[derive(Debug)]
struct Patient;

impl Monitor for Patient {
    fn stage(&self, _: &str, _: Option<u64>, _: Option<u64>) {}

    fn advance(&self, _: u64, _: u64) {}

    fn note(&self, _: &str) {}

    fn stop_signal(&self) -> i32 {
        0
    }
}
