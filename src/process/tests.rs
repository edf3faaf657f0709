use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Command, Ended};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Hint, Kind};
use crate::monitor::Recorder;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);

fn environment() -> Environment {
    let path = std::env::var_os("PATH").unwrap();
    Environment::new([("PATH".into(), path), ("CANARY".into(), "seen".into())])
}

/// A shell that runs `script`, in which `$1` and so on are `arguments`.
fn shell<'a>(environment: &'a Environment, script: &str) -> Command<'a> {
    Command::new("sh", environment).args(["-c", script, "sh"]).timeout(20 * SECOND)
}

fn run(script: &str, input: &[u8]) -> Result<super::Output, Error> {
    shell(&environment(), script).run(input, 1 << 20)
}

/// Whether a process of that number runs; a zombie does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn is_gone(pid: &str) -> bool {
    let until = Instant::now() + 5 * SECOND;
    while lives(pid) && Instant::now() < until {
        std::thread::sleep(SECOND / 50);
    }
    !lives(pid)
}

#[test]
fn a_program_gets_its_input_and_gives_its_output() {
    let output = run("cat; echo warning >&2", b"hello\n").unwrap();
    assert_eq!((output.text(), &*output.stderr), (Some("hello"), "warning"));
    let nothing = run("cat", b"").unwrap();
    assert_eq!(nothing.stdout, b"");
}

#[test]
fn more_than_a_pipe_holds_goes_through_both_ways() {
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let environment = environment();
    assert!(Command::new("cat", &environment).run(&big, 1 << 30).unwrap().stdout == big);
    let mut read = Vec::new();
    Command::new("cat", &environment).stream(&big).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == big);
    let mut feed = Command::new("cat", &environment).feed(1 << 30).unwrap();
    big.chunks(100_000).for_each(|part| feed.write_all(part).unwrap());
    assert!(feed.finish().unwrap().stdout == big);
}

#[test]
fn a_child_sees_of_our_environment_only_what_every_program_needs() {
    let environment = environment();
    let output = Command::new("env", &environment).env("GIVEN", "x").run(&[], 4096).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "LANG", "LC_ALL", "PATH"]);
}

#[test]
fn arguments_are_not_read_by_a_shell() {
    let environment = environment();
    let output = Command::new("printf", &environment).args(["%s|", "$HOME; `id` *", "", "a b"]).run(&[], 4096).unwrap();
    assert_eq!(output.text(), Some("$HOME; `id` *||a b|"));
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let environment = environment();
    for program in ["ccbackup-is-not-there", "/nowhere/pg_dump", "/etc/passwd", ""] {
        let error = Command::new(program, &environment).package("postgresql-client").run(&[], 0).unwrap_err();
        assert_eq!(error.kind(), Kind::ToolMissing, "{program}");
        assert!(error.to_string().contains(program), "{error}");
        assert_eq!(error.advice(), Some(&Hint::Words("install the package postgresql-client".into())));
    }
}

#[test]
fn relative_folders_of_the_path_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("tool");
    fs::copy("/bin/sh", &tool).unwrap();
    let relative = PathBuf::from("../../../../../../../../..").join(folder.path().strip_prefix("/").unwrap());
    let with = |path: &Path| Environment::new([("PATH".into(), path.into())]);
    assert_eq!(Command::new("tool", &with(folder.path())).find().unwrap(), tool);
    assert_eq!(Command::new("tool", &with(&relative)).find().unwrap_err().kind(), Kind::ToolMissing);
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Command::new("tool", &with(folder.path())).find().unwrap_err().kind(), Kind::ToolMissing);
}

#[test]
fn a_script_whose_interpreter_is_missing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let mut file = fs::File::create(&script).unwrap();
    file.write_all(b"#!/nowhere/interpreter\n").unwrap();
    drop(file);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let environment = environment();
    let error = Command::new(&script, &environment).run(&[], 0).unwrap_err();
    assert!(error.to_string().contains("interpreter"), "{error}");
    let error = Command::new("true", &environment).folder(Path::new("/nowhere")).run(&[], 0).unwrap_err();
    assert!(error.to_string().contains("folder /nowhere is not there"), "{error}");
}

#[test]
fn a_failure_says_how_it_ended_and_what_the_program_said() {
    let error = run("echo one >&2; echo 'two  ' >&2; exit 7", b"").unwrap_err();
    assert_eq!((error.kind(), error.one_line()), (Kind::Failed, "sh failed with exit code 7: one; two".to_owned()));
    let error = run("kill -9 $$", b"").unwrap_err();
    assert!(error.to_string().starts_with("sh was killed by SIGKILL"), "{error}");
    let error = run("kill -s SEGV $$", b"").unwrap_err();
    assert_eq!(error.to_string(), "sh was killed by SIGSEGV");
}

#[test]
fn a_stream_ends_only_after_the_exit_status_was_good() {
    let environment = environment();
    let mut read = Vec::new();
    let mut stream = shell(&environment, "echo data; exec >&-; sleep 0.3; echo bad >&2; exit 3").stream(&[]).unwrap();
    let error = stream.read_to_end(&mut read).doing("cannot read the dump").unwrap_err();
    assert_eq!(read, b"data\n");
    assert_eq!(error.one_line(), "cannot read the dump: sh failed with exit code 3: bad");
    assert!(stream.read(&mut [0; 10]).is_err(), "an end that was bad stays bad");
    let mut good = shell(&environment, "echo data").stream(&[]).unwrap();
    assert_eq!(good.read_to_end(&mut read).unwrap(), 5);
    assert_eq!(good.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_judge_sees_more_than_the_exit_status() {
    let environment = environment();
    let judge = |ended: &Ended<'_>| match ended.stderr.contains("password authentication failed") {
        true => Err(Error::new(Kind::Denied, "the server refuses the password")),
        false => Ok(()),
    };
    for (script, kind) in [
        ("echo FATAL: password authentication failed >&2; exit 2", Some(Kind::Denied)),
        ("echo FATAL: password authentication failed >&2", Some(Kind::Denied)),
        ("exit 2", Some(Kind::Failed)),
        ("true", None),
    ] {
        let result = shell(&environment, script).judge(judge).run(&[], 10);
        assert_eq!(result.err().map(|e| e.kind()), kind, "{script}");
    }
}

#[test]
fn output_beyond_its_bound_is_an_error_and_ends_the_program() {
    let environment = environment();
    let begun = Instant::now();
    let error = Command::new("yes", &environment).run(&[], 100_000).unwrap_err();
    assert_eq!(error.to_string(), "yes wrote more than 100000 bytes");
    assert!(begun.elapsed() < 10 * SECOND);
}

#[test]
fn input_that_is_not_read_is_an_error_for_who_feeds_it_only() {
    let (environment, big) = (environment(), vec![0; 1 << 20]);
    assert_eq!(run("exit 0", &big).unwrap().stdout, b"");
    assert_eq!(run("exit 4", &big).unwrap_err().to_string(), "sh failed with exit code 4");
    let fed = |script: &str| shell(&environment, script).feed(10).unwrap().write_all(&big).doing("x").unwrap_err();
    assert_eq!(fed("exit 0").one_line(), "x: sh ended before it had read all its input");
    assert_eq!(fed("exit 4").one_line(), "x: sh failed with exit code 4");
}

#[test]
fn a_program_may_close_its_output_and_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, copy) = (environment(), folder.path().join("copy"));
    let big = vec![7; 1 << 20];
    for discards in [false, true] {
        let mut command = shell(&environment, "exec >&-; sleep 0.2; cat > \"$1\"").arg(&copy);
        if discards {
            command = command.discard();
        }
        command.run(&big, 10).unwrap();
        assert!(fs::read(&copy).unwrap() == big);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "what was skipped is told")]
fn one_that_left_the_group_with_our_pipes_does_not_hold_us_up() {
    let environment = environment();
    if Command::new("setsid", &environment).find().is_err() {
        eprintln!("SKIPPED: no setsid, install util-linux");
        return;
    }
    let begun = Instant::now();
    let script = "setsid sleep 20 & echo x; exit 0";
    let error = shell(&environment, script).run(&vec![0; 1 << 20], 100).unwrap_err();
    assert_eq!(error.kind(), Kind::Incomplete);
    assert!(begun.elapsed() < 10 * SECOND);
}

#[test]
fn a_program_that_takes_too_long_is_stopped_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, pid) = (environment(), folder.path().join("pid"));
    let begun = Instant::now();
    let script = "sleep 100 & echo $! > \"$1\"; wait";
    let error = shell(&environment, script).arg(&pid).timeout(SECOND).run(&[], 10).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (Kind::TimedOut, "sh was not done after 1 s and was stopped".into()));
    assert!(begun.elapsed() < 5 * SECOND && is_gone(&fs::read_to_string(pid).unwrap()));
}

#[test]
fn one_that_ignores_the_wish_to_end_is_killed() {
    let begun = Instant::now();
    let environment = environment();
    let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
    let error = shell(&environment, stubborn).timeout(SECOND / 2).run(&[], 10).unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
    assert!(begun.elapsed() > 5 * SECOND && begun.elapsed() < 9 * SECOND, "{:?}", begun.elapsed());
}

#[test]
fn limits_hold_also_when_nobody_reads() {
    let environment = environment();
    let stream = shell(&environment, "echo $$; sleep 100").timeout(SECOND).stream(&[]).unwrap();
    let until = Instant::now() + 10 * SECOND;
    while stream.child_end().is_none() && Instant::now() < until {
        std::thread::sleep(SECOND / 20);
    }
    assert!(stream.child_end().is_some());
    let mut stream = stream;
    let error = std::io::copy(&mut stream, &mut std::io::sink()).doing("x").unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
}

#[test]
fn a_silent_program_is_stopped_and_a_slow_one_is_not() {
    let environment = environment();
    let error = shell(&environment, "echo x; sleep 100").silence(SECOND).run(&[], 10).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::TimedOut, "sh gave no sign of life for 1 s and was stopped".into())
    );
    let slow = "for i in 1 2 3 4 5; do echo $i; sleep 0.4; done";
    assert!(shell(&environment, slow).silence(SECOND).run(&[], 100).is_ok());
    let error = shell(&environment, "exec >&-; sleep 100").silence(SECOND).run(&[], 10).unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut, "one that closed its output is silent too");
}

#[test]
fn a_program_that_waits_for_us_is_not_silent() {
    let environment = environment();
    let mut stream = shell(&environment, "echo x").silence(SECOND / 2).stream(&[]).unwrap();
    std::thread::sleep(SECOND * 3 / 2);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let mut full = shell(&environment, "head -c 300000 /dev/zero").silence(SECOND / 2).stream(&[]).unwrap();
    std::thread::sleep(SECOND * 3 / 2);
    assert_eq!(std::io::copy(&mut full, &mut std::io::sink()).unwrap(), 300_000);
    let mut feed = Command::new("cat", &environment).silence(SECOND / 2).feed(10).unwrap();
    std::thread::sleep(SECOND * 3 / 2);
    feed.write_all(b"x").unwrap();
    assert_eq!(feed.finish().unwrap().stdout, b"x");
    let mut deaf = Command::new("sleep", &environment).arg("100").silence(SECOND / 2).feed(10).unwrap();
    let error = deaf.write_all(&vec![0; 1 << 20]).doing("x").unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut, "one that takes nothing is");
}

#[test]
fn nothing_of_a_dropped_child_survives() {
    let environment = environment();
    let mut stream = shell(&environment, "sleep 100 & echo $! $$; wait").stream(&[]).unwrap();
    let mut buffer = [0; 100];
    let length = stream.read(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(text.split_whitespace().all(lives));
    let begun = Instant::now();
    drop(stream);
    assert!(begun.elapsed() < 3 * SECOND);
    assert!(text.split_whitespace().count() == 2 && text.split_whitespace().all(is_gone), "{text}");
    let feed = shell(&environment, "trap '' TERM; cat >/dev/null; sleep 100").feed(10).unwrap();
    let group = feed.child_id();
    drop(feed);
    assert!(is_gone(&group.to_string()), "one that ignores SIGTERM too");
}

#[test]
fn a_stopped_child_is_ended_too() {
    let environment = environment();
    let begun = Instant::now();
    let error = shell(&environment, "kill -s STOP $$").timeout(SECOND / 2).run(&[], 10).unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
    assert!(begun.elapsed() < 4 * SECOND);
}

#[test]
fn what_a_program_leaves_behind_does_not_hold_us_up() {
    let begun = Instant::now();
    // The process that stays has no output of ours open: a service that was started.
    let environment = environment();
    let output = shell(&environment, "sleep 30 >/dev/null 2>&1 & echo $!").run(&[], 100).unwrap();
    let pid = output.text().unwrap().to_owned();
    assert!(begun.elapsed() < 3 * SECOND && lives(&pid));
    Command::new("kill", &environment).arg(&pid).run(&[], 100).unwrap();
    // One that holds the output could still write: what was read may not be all.
    let error = shell(&environment, "sleep 30 & echo x").run(&[], 100).unwrap_err();
    assert_eq!(error.kind(), Kind::Incomplete);
    assert!(begun.elapsed() < 12 * SECOND);
    assert!(shell(&environment, "(sleep 0.5; echo late) & echo x").run(&[], 100).unwrap().stdout == b"x\nlate\n");
}

#[test]
fn the_wish_to_stop_ends_a_silent_program() {
    let (environment, monitor) = (environment(), Arc::new(Recorder::default()));
    let wish = Arc::clone(&monitor);
    let later = std::thread::spawn(move || {
        std::thread::sleep(SECOND / 2);
        wish.signal.store(2, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let error = shell(&environment, "sleep 100").stopped_by(&*monitor).run(&[], 10).unwrap_err();
    later.join().unwrap();
    assert_eq!(error.kind(), Kind::Interrupted(2));
    assert!(begun.elapsed() < 5 * SECOND);
}

#[test]
fn standard_error_is_drained_even_if_nobody_wants_it_and_shown_to_its_last_part() {
    let noise = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of noise\" >&2; i=$((i+1)); done; echo done; exit 1";
    let error = run(noise, b"").unwrap_err().one_line();
    assert!(error.ends_with("line 19999 of noise") && error.len() < 4000, "{}", error.len());
}

/// The canary: what one child was given as a secret is in no argument, in no other child, in no error.
#[test]
fn a_secret_reaches_one_child_and_nobody_else() {
    let secret = Secret::new("canary-7f3a9c");
    let environment = environment();
    let script = "cat \"$1\"; echo \"$SECRET\"; echo could not use $SECRET >&2; read line; exit 1";
    let mut command = shell(&environment, script).secret_env("SECRET", &secret);
    let path = command.secret_file(&Secret::join([&b"user:"[..], secret.expose()])).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let mut feed = command.arg(&path).feed(1000).unwrap();
    // Others are started while it runs.
    let seen = shell(&environment, "cat /proc/self/environ; ls -l /proc/self/fd; env").run(&[], 100_000).unwrap();
    assert!(!String::from_utf8_lossy(&seen.stdout).contains("canary"));
    assert!(!String::from_utf8_lossy(&seen.stdout).contains("memfd"));
    let arguments = fs::read(format!("/proc/{}/cmdline", feed.child_id())).unwrap();
    assert!(!arguments.is_empty() && !String::from_utf8_lossy(&arguments).contains("canary"));
    feed.write_all(b"\n").unwrap();
    let error = feed.finish().unwrap_err();
    assert_eq!(error.one_line(), "sh failed with exit code 1: could not use ***");
    assert!(
        !format!("{error:?}{command_shown}", command_shown = format_args!("{:?}", shell(&environment, "x")))
            .contains("canary")
    );
    let output = shell(&environment, "cat \"$1\"").clone();
    let mut output = output;
    let path = output.secret_file(&secret).unwrap();
    assert_eq!(output.arg(&path).run(&[], 100).unwrap().text(), Some("canary-7f3a9c"));
    assert!(!path.exists(), "it is gone with the command");
}

#[test]
fn many_children_at_once_do_not_hold_each_others_pipes() {
    let environment = environment();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let begun = Instant::now();
                    assert_eq!(Command::new("cat", &environment).run(b"x", 10).unwrap().stdout, b"x");
                    assert!(begun.elapsed() < 5 * SECOND);
                }
            });
        }
    });
}
