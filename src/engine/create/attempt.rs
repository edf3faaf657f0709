//! What surrounds the capture of a component: its hooks, its time, and another attempt when one failed.

use std::fmt;
use std::time::{Duration, Instant};

use super::component::Failure;
use crate::config::ComponentConfig;
use crate::environment::Environment;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{Problem, ProblemKind};
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

/// Runs `capture`, again as often as the configuration says, and the hooks around it. When `before` fails the component does: what
/// it was to do was not done. A hook that fails after a capture takes nothing from what was captured, and is a problem of it.
pub(super) fn attempt<T>(
    spec: &ComponentConfig,
    environment: &Environment,
    monitor: &dyn Monitor,
    capture: &mut dyn FnMut(&dyn Monitor) -> Result<T, Failure>,
) -> Result<(T, Vec<Problem>), Failure> {
    let hooks = &spec.hooks;
    // From the capture on the wish to stop ends no hook: they put in order what was begun.
    let after = |name: &str, argv: &[String]| hook(spec, name, argv, environment, &Patient);
    let captured = hook(spec, "before", &hooks.before, environment, monitor);
    let captured = captured.and_then(|()| attempts(spec, monitor, capture));
    let second = match &captured {
        Ok(_) => after("after", &hooks.after),
        Err(_) => after("on_failure", &hooks.on_failure),
    };
    let failed: Vec<_> = [second, after("finally", &hooks.finally)].into_iter().filter_map(hook_error).collect();
    match captured {
        Ok(captured) => {
            let problem =
                |error: &Error| Problem { kind: ProblemKind::Manual, path: String::new(), detail: error.one_line() };
            Ok((captured, failed.iter().map(problem).collect()))
        }
        Err(Failure::Component(error)) => Err(Failure::Component(failed.iter().fold(error, also))),
        Err(failure) => {
            // They have no place in the error of a run that was told to stop, and a service may stand still by them.
            failed.iter().for_each(|error| monitor.note(&error.one_line()));
            Err(failure)
        }
    }
}

fn hook_error(outcome: Result<(), Failure>) -> Option<Error> {
    match outcome {
        Err(Failure::Component(error) | Failure::Run(error)) => Some(error),
        Ok(()) | Err(Failure::GivenUp) => None,
    }
}

/// Whether the same could go well a moment later.
fn can_help(error: &Error) -> bool {
    matches!(error.kind(), Kind::Failed | Kind::Unreachable | Kind::TimedOut | Kind::Incomplete)
}

/// What failed first is the cause; what failed after it is told.
fn also(error: Error, second: &Error) -> Error {
    let both = Error::new(error.kind(), format!("{}; then {}", error.one_line(), second.one_line()));
    if let Some(hint) = error.advice() { both.hint(hint.clone()) } else { both }
}

fn attempts<T>(
    spec: &ComponentConfig,
    monitor: &dyn Monitor,
    capture: &mut dyn FnMut(&dyn Monitor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut wait = FIRST_WAIT;
    for left in (0..spec.retries).rev() {
        match timed(spec, monitor, capture) {
            Err(Failure::Component(error)) if can_help(&error) => {
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::config::Hooks;
    use crate::monitor::Recorder;

    fn environment() -> Environment {
        Environment::new([("PATH".into(), std::env::var_os("PATH").unwrap())])
    }

    /// Every hook writes its name to a file, and fails if its name is in `failing`.
    fn hooked(log: &Path, failing: &str) -> ComponentConfig {
        let script = "echo $CCBACKUP_HOOK $CCBACKUP_COMPONENT >> \"$0\"; \
                      case \"$1\" in *$CCBACKUP_HOOK*) echo it is broken >&2; exit 1;; esac";
        let argv: Vec<String> = ["sh", "-c", script, log.to_str().unwrap(), failing].map(str::to_owned).to_vec();
        let hooks = Hooks { before: argv.clone(), after: argv.clone(), on_failure: argv.clone(), finally: argv };
        ComponentConfig { name: "db".into(), hooks, ..ComponentConfig::default() }
    }

    /// How it ended, what hooks ran, how often it was captured, and what was told.
    fn play(failing: &str, capture: impl Fn() -> Result<(), Failure>) -> (String, String, u32, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let (log, mut captures, monitor) = (folder.path().join("log"), 0, Recorder::default());
        let mut counted = |_: &dyn Monitor| {
            captures += 1;
            capture()
        };
        let said = match attempt(&hooked(&log, failing), &environment(), &monitor, &mut counted) {
            Ok(()) => "captured".to_owned(),
            Err(Failure::Component(e)) => e.one_line(),
            Err(Failure::Run(e)) => format!("run: {}", e.one_line()),
            Err(Failure::GivenUp) => "given up".to_owned(),
        };
        let ran = std::fs::read_to_string(&log).unwrap_or_default().replace('\n', ", ");
        (said, ran, captures, monitor.notes.into_inner().unwrap())
    }

    fn broken() -> Result<(), Failure> {
        Err(Failure::Component(Error::failed("no dump")))
    }

    #[test]
    fn hooks_run_around_a_capture_in_their_order() {
        let (said, ran, ..) = play("", || Ok(()));
        assert_eq!((&*said, &*ran), ("captured", "before db, after db, finally db, "));
        let (said, ran, ..) = play("", broken);
        assert_eq!((&*said, &*ran), ("no dump", "before db, on_failure db, finally db, "));
    }

    #[test]
    fn a_hook_that_fails_fails_the_component_with_what_it_said() {
        let (said, ran, captures, _) = play("before", || Ok(()));
        assert!(said.contains("`before`") && said.ends_with("it is broken"), "{said}");
        assert_eq!((&*ran, captures), ("before db, on_failure db, finally db, ", 0));
        let (said, ran, ..) = play("after", || Ok(()));
        assert!(said.contains("`after`") && said.ends_with("it is broken"), "{said}");
        assert_eq!(ran, "before db, after db, finally db, ");
        let (said, ..) = play("on_failure finally", broken);
        assert!(said.starts_with("no dump; then the hook `on_failure`") && said.contains("`finally`"), "{said}");
    }

    #[test]
    fn finally_runs_when_the_run_is_told_to_stop_and_its_failure_is_told() {
        let stopped = || Err(Failure::Run(Error::new(Kind::Interrupted(15), "interrupted")));
        let (said, ran, _, notes) = play("finally", stopped);
        assert_eq!((&*said, &*ran), ("run: interrupted", "before db, finally db, "));
        assert!(notes.iter().any(|note| note.contains("`finally`") && note.ends_with("it is broken")), "{notes:?}");
    }

    #[test]
    fn what_may_go_well_is_tried_again_and_nothing_else() {
        let spec = ComponentConfig { name: "db".into(), retries: 1, ..ComponentConfig::default() };
        let tried = |kinds: &[Kind]| {
            let mut turn = 0;
            let mut capture = |_: &dyn Monitor| {
                turn += 1;
                match kinds.get(turn - 1) {
                    Some(kind) => Err(Failure::Component(Error::new(*kind, "x"))),
                    None => Ok(()),
                }
            };
            (attempt(&spec, &environment(), &Recorder::default(), &mut capture).is_ok(), turn)
        };
        assert_eq!(tried(&[Kind::Unreachable]), (true, 2));
        assert_eq!(tried(&[Kind::Denied]), (false, 1));
        assert_eq!(tried(&[Kind::Failed, Kind::Incomplete]), (false, 2));
    }

    #[test]
    fn a_limit_of_time_fails_the_component_and_not_the_run() {
        let spec = ComponentConfig { timeout: Some(Duration::from_millis(50)), ..ComponentConfig::default() };
        let mut capture = |monitor: &dyn Monitor| {
            monitor.check()?;
            std::thread::sleep(Duration::from_millis(80));
            monitor.check()?;
            Ok(())
        };
        let ended = attempt(&spec, &environment(), &Recorder::default(), &mut capture);
        assert!(matches!(ended, Err(Failure::Component(e)) if e.kind() == Kind::TimedOut));
        let stopped = Recorder::default();
        stopped.signal.store(2, Ordering::Relaxed);
        let ended = attempt(&spec, &environment(), &stopped, &mut capture);
        assert!(matches!(ended, Err(Failure::Run(e)) if e.kind() == Kind::Interrupted(2)));
    }
}
