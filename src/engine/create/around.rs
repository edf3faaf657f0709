//! What happens around the capture of a component: its hooks, its limit of time, and that it is tried again.
//!
//! Order: `before`, the capture and its repetitions, `after` or `on_failure`, `finally`. Whatever happens, `finally` runs: it
//! is what starts again what `before` stopped.

use std::time::{Duration, Instant};

use super::component::Failure;
use crate::config::ComponentConfig;
use crate::environment::Environment;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{Problem, ProblemKind};
use crate::monitor::Monitor;
use crate::process::Command;

/// How long a hook may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes that a hook may write to its standard output, which nobody reads.
const HOOK_OUTPUT_MAX: u64 = 16 << 20;
/// Before the first repetition; each further pause is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often the wish to stop is looked at in a pause.
const STEP: Duration = Duration::from_millis(100);

/// Runs `capture` as the component wants it; it gets a monitor that keeps the limit of time, and `discard` removes what a
/// failed one left before the next. With the result comes what went wrong beside it.
pub(super) fn around<T>(
    spec: &ComponentConfig,
    environment: &Environment,
    monitor: &dyn Monitor,
    capture: impl FnMut(&dyn Monitor) -> Result<T, Failure>,
    discard: impl FnMut() -> Result<()>,
) -> Result<(T, Vec<Problem>), Failure> {
    let hooks = &spec.hooks;
    let run = |key: &str, argv: &[String], outcome: &str, monitor: Option<&dyn Monitor>| {
        hook(key, argv, spec, environment, outcome, monitor)
    };
    let before = run("before", &hooks.before, "", Some(monitor)).map_err(Failure::of_source);
    let mut outcome = before.and_then(|()| again(spec, monitor, capture, discard));
    let mut problems = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            let (path, detail) = (String::new(), error.one_line());
            problems.push(Problem { kind: ProblemKind::Manual, path, detail });
        }
    };
    // From here on the wish to stop ends no hook: they put in order what was begun.
    match &outcome {
        Ok(_) => note(run("after", &hooks.after, "captured", None)),
        Err(_) => note(run("on_failure", &hooks.on_failure, "failed", None)),
    }
    let word = if outcome.is_ok() { "captured" } else { "failed" };
    note(run("finally", &hooks.finally, word, None));
    if let Err(Failure::Component(error)) = outcome {
        // There is no record that could hold them.
        let error = problems.iter().fold(error, |error, problem| {
            let message = format!("{}; besides, {}", error.one_line(), problem.detail);
            let both = Error::new(error.kind(), message);
            if let Some(hint) = error.advice() { both.hint(hint.clone()) } else { both }
        });
        outcome = Err(Failure::Component(error));
    } else if outcome.is_err() {
        problems.iter().for_each(|problem| monitor.note(&format!("{}: {}", spec.name, problem.detail)));
    }
    outcome.map(|captured| (captured, problems))
}

fn hook(
    key: &str,
    argv: &[String],
    spec: &ComponentConfig,
    environment: &Environment,
    outcome: &str,
    monitor: Option<&dyn Monitor>,
) -> Result<()> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let mut command = Command::new(program, environment).args(arguments).timeout(HOOK_TIMEOUT);
    command = command.env("CCBACKUP_COMPONENT", &spec.name).env("CCBACKUP_HOOK", key).env("CCBACKUP_OUTCOME", outcome);
    if let Some(monitor) = monitor {
        command = command.stopped_by(monitor);
    }
    let ran = command.run(&[], HOOK_OUTPUT_MAX);
    ran.map(drop).map_err(|e| e.within(format!("the hook `{key}` failed")))
}

/// The capture, repeated as often as is allowed while repeating can help.
fn again<T>(
    spec: &ComponentConfig,
    monitor: &dyn Monitor,
    mut capture: impl FnMut(&dyn Monitor) -> Result<T, Failure>,
    mut discard: impl FnMut() -> Result<()>,
) -> Result<T, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut left = spec.retries;
    loop {
        let deadline = Deadline { inner: monitor, limit: spec.timeout, began: Instant::now() };
        let failure = match capture(&deadline) {
            // Some notice that the time is over where an error ends the whole run.
            Err(Failure::Run(error)) if error.kind() == Kind::TimedOut && deadline.is_over() => {
                Failure::Component(error)
            }
            Err(failure) => failure,
            Ok(captured) => return Ok(captured),
        };
        let Failure::Component(error) = &failure else { return Err(failure) };
        if left == 0 || !can_help(error) {
            return Err(failure);
        }
        left -= 1;
        let (name, seconds) = (&spec.name, pause.as_secs());
        monitor
            .note(&format!("{name}: {}; tried again in {seconds} s, {left} more times after that", error.one_line()));
        discard()?;
        let until = Instant::now() + pause;
        while Instant::now() < until {
            monitor.check()?;
            std::thread::sleep(STEP);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the same could go well a moment later.
fn can_help(error: &Error) -> bool {
    matches!(error.kind(), Kind::Failed | Kind::Unreachable | Kind::TimedOut | Kind::Incomplete)
}

/// The monitor of a capture that has a limit of time.
#[derive(Debug)]
struct Deadline<'a> {
    inner: &'a dyn Monitor,
    limit: Option<Duration>,
    began: Instant,
}

impl Deadline<'_> {
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.began.elapsed() >= limit)
    }
}

impl Monitor for Deadline<'_> {
    fn stage(&self, name: &str, total_bytes: Option<u64>, total_entries: Option<u64>) {
        self.inner.stage(name, total_bytes, total_entries);
    }

    fn advance(&self, bytes: u64, entries: u64) {
        self.inner.advance(bytes, entries);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn advise(&self, text: &str, hint: &Hint) {
        self.inner.advise(text, hint);
    }

    fn stop_signal(&self) -> i32 {
        self.inner.stop_signal()
    }

    fn throttle(&self, bytes: u64) {
        self.inner.throttle(bytes);
    }

    fn check(&self) -> Result<()> {
        self.inner.check()?;
        match self.limit {
            Some(limit) if self.is_over() => {
                let message = format!("it was not captured within its limit of {} s", limit.as_secs_f64());
                Err(Error::new(Kind::TimedOut, message))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::config::Hooks;
    use crate::monitor::Recorder;

    fn environment() -> Environment {
        Environment::new([("PATH".into(), std::env::var_os("PATH").unwrap())])
    }

    /// Every hook writes its name and the outcome to a file, and fails if its name is in `failing`.
    fn hooked(log: &std::path::Path, failing: &str) -> ComponentConfig {
        let script = "echo $CCBACKUP_HOOK $CCBACKUP_OUTCOME $CCBACKUP_COMPONENT >> \"$0\"; \
                      case \"$1\" in *$CCBACKUP_HOOK*) echo it is broken >&2; exit 1;; esac";
        let argv: Vec<String> = ["sh", "-c", script, log.to_str().unwrap(), failing].map(str::to_owned).to_vec();
        let hooks = Hooks { before: argv.clone(), after: argv.clone(), on_failure: argv.clone(), finally: argv };
        ComponentConfig { name: "db".into(), hooks, ..ComponentConfig::default() }
    }

    /// How it ended, what hooks ran, and how often it was captured.
    fn play(
        failing: &str,
        mut capture: impl FnMut() -> Result<u8, Failure>,
    ) -> (Result<Vec<String>, String>, String, u32) {
        let folder = tempfile::tempdir().unwrap();
        let (log, captures) = (folder.path().join("log"), RefCell::new(0));
        let spec = hooked(&log, failing);
        let counted = |_: &dyn Monitor| {
            *captures.borrow_mut() += 1;
            capture()
        };
        let outcome = around(&spec, &environment(), &Recorder::default(), counted, || Ok(()));
        let outcome = match outcome {
            Ok((_, problems)) => Ok(problems.into_iter().map(|p| p.detail).collect()),
            Err(Failure::Component(e)) => Err(e.one_line()),
            Err(Failure::Run(e)) => Err(format!("run: {}", e.one_line())),
            Err(Failure::GivenUp) => Err("given up".to_owned()),
        };
        let ran = std::fs::read_to_string(&log).unwrap_or_default().replace('\n', ", ");
        (outcome, ran, captures.into_inner())
    }

    fn broken() -> Result<u8, Failure> {
        Err(Failure::Component(Error::failed("no dump")))
    }

    #[test]
    fn hooks_run_around_a_capture_in_their_order() {
        let ran = "before db, after captured db, finally captured db, ";
        assert_eq!(play("", || Ok(1)), (Ok(Vec::new()), ran.into(), 1));
        let ran = "before db, on_failure failed db, finally failed db, ";
        assert_eq!(play("", broken), (Err("no dump".into()), ran.into(), 1));
    }

    #[test]
    fn a_before_that_fails_is_a_failed_component_that_is_not_captured() {
        let (outcome, ran, captures) = play("before", || Ok(1));
        assert_eq!(outcome, Err("the hook `before` failed: sh failed with exit code 1: it is broken".into()));
        assert_eq!((&*ran, captures), ("before db, on_failure failed db, finally failed db, ", 0));
    }

    #[test]
    fn hooks_that_fail_afterwards_are_problems_and_never_silent() {
        let (outcome, ran, _) = play("after finally", || Ok(1));
        let problems = outcome.unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().all(|p| p.contains("it is broken")), "{problems:?}");
        assert_eq!(ran, "before db, after captured db, finally captured db, ", "one that fails stops no other");
        let (outcome, _, _) = play("on_failure finally", broken);
        let text = outcome.unwrap_err();
        assert!(text.starts_with("no dump; besides, the hook `on_failure`") && text.contains("`finally`"), "{text}");
    }

    #[test]
    fn finally_runs_when_the_whole_run_ends_too() {
        let (outcome, ran, _) = play("", || Err(Failure::Run(Error::new(Kind::Interrupted(15), "interrupted"))));
        assert_eq!(outcome, Err("run: interrupted".into()));
        assert_eq!(ran, "before db, on_failure failed db, finally failed db, ");
    }

    #[test]
    fn a_missing_hook_is_a_missing_tool() {
        let hooks = Hooks { before: vec!["/nowhere/hook".into()], ..Hooks::default() };
        let spec = ComponentConfig { hooks, ..ComponentConfig::default() };
        let ended = around(&spec, &environment(), &Recorder::default(), |_| Ok(1), || Ok(()));
        assert!(matches!(ended, Err(Failure::Component(e)) if e.kind() == Kind::ToolMissing));
    }

    #[test]
    fn what_may_go_well_is_tried_again_and_nothing_else() {
        let spec = ComponentConfig { name: "db".into(), retries: 2, ..ComponentConfig::default() };
        let tried = |kinds: &[Kind]| {
            let (turn, discarded) = (RefCell::new(0), RefCell::new(0));
            let capture = |_: &dyn Monitor| {
                *turn.borrow_mut() += 1;
                match kinds.get(*turn.borrow() - 1) {
                    Some(kind) => Err(Failure::Component(Error::new(*kind, "x"))),
                    None => Ok(()),
                }
            };
            let discard = || {
                *discarded.borrow_mut() += 1;
                Ok(())
            };
            let is_ok = around(&spec, &environment(), &Recorder::default(), capture, discard).is_ok();
            (is_ok, turn.into_inner(), discarded.into_inner())
        };
        assert_eq!(tried(&[Kind::Unreachable]), (true, 2, 1));
        assert_eq!(tried(&[Kind::Denied]), (false, 1, 0));
        assert_eq!(tried(&[Kind::Failed, Kind::Incomplete, Kind::TimedOut]), (false, 3, 2));
    }

    #[test]
    fn a_limit_of_time_fails_the_component_and_not_the_run() {
        let limit = Some(Duration::from_millis(50));
        let spec = ComponentConfig { timeout: limit, ..ComponentConfig::default() };
        let capture = |monitor: &dyn Monitor| {
            monitor.check()?;
            std::thread::sleep(Duration::from_millis(80));
            monitor.check()?;
            Ok(())
        };
        let ended = around(&spec, &environment(), &Recorder::default(), capture, || Ok(()));
        assert!(matches!(ended, Err(Failure::Component(e)) if e.kind() == Kind::TimedOut));
        let stopped = Recorder::default();
        stopped.signal.store(2, Ordering::Relaxed);
        let ended = around(&spec, &environment(), &stopped, capture, || Ok(()));
        assert!(matches!(ended, Err(Failure::Run(e)) if e.kind() == Kind::Interrupted(2)));
    }
}
