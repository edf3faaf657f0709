//! What surrounds a capture: hooks, its time, further attempts, and what is expected of it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use ccbackup::environment::Environment;
use ccbackup::model::{ProblemKind, Verdict};

use crate::support::{Sandbox, component, noise, write};

/// Two components; the hooks are those of the first.
fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::plain();
    let tree = sandbox.tree();
    write(&tree.join("a/file"), &noise(1, 3000));
    write(&tree.join("b/file"), &noise(2, 3000));
    sandbox.settings.components = vec![component("first", tree.join("a")), component("second", tree.join("b"))];
    let variable = |name: &str| (name.into(), std::env::var_os(name).unwrap_or_default());
    sandbox.host.environment = Environment::new(["PATH", "TMPDIR"].map(variable));
    sandbox
}

fn argv(script: &str, log: &Path) -> Vec<String> {
    vec![
        "sh".into(),
        "-c".into(),
        script.into(),
        "hook".into(),
        std::str::from_utf8(log.as_os_str().as_bytes()).unwrap().into(),
    ]
}

/// Hooks that note that they ran, of which one fails.
fn note(sandbox: &mut Sandbox, failing: &str) -> std::path::PathBuf {
    let log = sandbox.dir.path().join("log");
    fs::write(&log, "").unwrap();
    let script = |name: &str| {
        let end = if name == failing { "echo it cannot >&2; exit 7" } else { ":" };
        argv(&format!("echo $CCBACKUP_HOOK of $CCBACKUP_COMPONENT >> \"$1\"; {end}"), &log)
    };
    let hooks = &mut sandbox.settings.components[0].hooks;
    hooks.before = script("before");
    hooks.after = script("after");
    hooks.on_failure = script("on_failure");
    hooks.finally = script("finally");
    log
}

fn ran(log: &Path) -> String {
    fs::read_to_string(log).unwrap().replace(" of first\n", " ")
}

#[test]
fn hooks_run_around_a_capture_and_one_that_fails_is_told() {
    for (failing, ran_hooks) in [
        ("", "before after finally "),
        ("before", "before on_failure finally "),
        ("after", "before after finally "),
        ("finally", "before after finally "),
    ] {
        let mut sandbox = sandbox();
        let log = note(&mut sandbox, failing);
        let report = sandbox.try_create().unwrap();
        assert_eq!(ran(&log), ran_hooks, "{failing}");
        let names: Vec<_> = report.components.iter().map(|c| c.name.as_str()).collect();
        if failing.is_empty() {
            assert_eq!(names, ["first", "second"]);
            continue;
        }
        // What was captured is there; that something was not put in order after it is said.
        let detail = if failing == "before" {
            assert_eq!(names, ["second"]);
            &report.failed[0].detail
        } else {
            assert_eq!(names, ["first", "second"]);
            &report.problems[0].detail
        };
        assert!(detail.contains(&format!("the hook `{failing}`")) && detail.contains("it cannot"), "{detail}");
    }
}

#[test]
fn a_capture_that_fails_runs_its_hooks_and_is_tried_again() {
    let mut sandbox = sandbox();
    let log = note(&mut sandbox, "");
    let root = sandbox.tree().join("a");
    fs::rename(&root, sandbox.tree().join("away")).unwrap();
    let report = sandbox.create();
    assert_eq!(ran(&log), "before on_failure finally ");
    assert_eq!(report.failed[0].name, "first");
    // The program that makes it fail once is the one that heals it: the second attempt finds the folder.
    sandbox.settings.components[0].retries = 1;
    let healer = std::thread::spawn({
        let (from, to) = (sandbox.tree().join("away"), root);
        move || {
            std::thread::sleep(Duration::from_millis(300));
            fs::rename(from, to).unwrap();
        }
    });
    let report = sandbox.create();
    healer.join().unwrap();
    assert!(report.failed.is_empty(), "{report:#?}");
    assert_eq!(report.components.len(), 2);
}

#[test]
fn a_capture_that_takes_too_long_fails_its_component_alone() {
    let mut sandbox = sandbox();
    for number in 0..20_000 {
        write(&sandbox.tree().join(format!("a/{}/{number}", number % 100)), b"x");
    }
    sandbox.settings.components[0].timeout = Some(Duration::from_nanos(1));
    let report = sandbox.create();
    assert_eq!((report.failed[0].name.as_str(), report.failed[0].reason.as_str()), ("first", "timed-out"));
    assert_eq!(report.components.len(), 1);
    assert_eq!(report.recovery_point.unwrap().verdict, Verdict::Partial);
}

#[test]
fn what_has_not_changed_for_longer_than_expected_or_is_too_small_is_said() {
    let mut sandbox = sandbox();
    sandbox.now = jiff::Timestamp::now().as_second();
    sandbox.settings.components[0].expect.max_age = Some(Duration::from_secs(3600));
    sandbox.settings.components[1].expect.min_bytes = Some(3001);
    let report = sandbox.try_create().unwrap();
    let said: Vec<_> = report.problems.iter().map(|p| p.detail.as_str()).collect();
    assert_eq!(said, ["it has 3000 bytes, at least 3001 are expected"]);
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Unexpected));
    sandbox.settings.components[1].expect.min_bytes = None;
    sandbox.now += 7200;
    for _ in 0..2 {
        let report = sandbox.try_create().unwrap();
        assert!(report.problems[0].detail.starts_with("nothing in it was changed for 73"), "{report:#?}");
    }
}
