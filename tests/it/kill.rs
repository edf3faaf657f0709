//! Signals to the real program: whenever they come, nothing half-done is published, and what is asked of a run that shall
//! not disturb is kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::support::{Seen, assert_same, look, noise, shell, succeed, write};

/// The real program, with a home and a repository of its own.
struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..40 {
            write(&dir.path().join(format!("tree/{number}")), &noise(number, 400_000));
        }
        Self { dir }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("CCBACKUP_HOME", self.path("home"));
        command.current_dir(self.dir.path()).arg("--repo").arg(self.path("backups")).args(arguments);
        command
    }

    fn create(&self) -> Command {
        self.command(&["create", "--encrypt", "--path", "tree"])
    }

    fn start(&self) -> Child {
        self.create().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn assert_last_is_whole(&self) -> BTreeMap<Vec<u8>, Seen> {
        succeed(&mut self.command(&["verify", "--all"]));
        let target = self.path("out");
        let identity = self.path("home/identity.txt");
        let mut restore = self.command(&["restore", "latest", "--target", "out", "--identity"]);
        succeed(restore.arg(identity));
        let seen = look(&target.join("files/tree"));
        assert_same(&look(&self.path("tree")), &seen, "restored after the kills");
        fs::remove_dir_all(target).unwrap();
        seen
    }
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn killing_the_program_at_random_moments_never_harms_the_repository() {
    let program = Program::new();
    let begun = Instant::now();
    succeed(&mut Program::new().create());
    // How long a run takes at most; learned again from runs that ended before they were hit.
    let mut span = begun.elapsed();
    let (mut killed, mut visible) = (0, 0);
    for round in 0..20_u64 {
        for number in 0..6 {
            write(&program.path("tree").join(number.to_string()), &noise(1000 + round * 10 + number, 400_000));
        }
        let mut child = program.start();
        std::thread::sleep(span.mul_f64((round * 7 % 20) as f64 / 20.0) + Duration::from_millis(1));
        signal(&child, Signal::KILL);
        let was_killed = child.wait().unwrap().code().is_none();
        killed += u32::from(was_killed);
        span = span.mul_f64(if was_killed { 1.2 } else { 0.6 });
        visible = fs::read_dir(program.path("backups")).map_or(0, |items| {
            items.filter(|i| i.as_ref().unwrap().file_name().to_string_lossy().starts_with("20")).count()
        });
        if visible > 0 {
            succeed(&mut program.command(&["verify", "--all"]));
        }
    }
    assert!(killed >= 5, "only {killed} of 20 runs were killed before their end");
    succeed(&mut program.create());
    program.assert_last_is_whole();
    let incomplete = shell("ls -A backups | grep -c '^.incomplete' || true", program.dir.path()).stdout;
    assert_eq!(incomplete, b"0\n", "after {visible} visible backups");
}

#[test]
fn an_interrupted_program_says_so_with_its_exit_code_and_publishes_nothing() {
    for (number, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let program = Program::new();
        let mut child = program.start_and_wait(&[]);
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!program.path("backups/latest").exists());
        succeed(&mut program.create());
        program.assert_last_is_whole();
    }
}

impl Program {
    /// A run that is in the middle: its staging folder is there.
    fn start_and_wait(&self, arguments: &[&str]) -> Child {
        let mut child = self.create().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        let incomplete = |item: std::io::Result<fs::DirEntry>| {
            item.unwrap().file_name().to_string_lossy().starts_with(".incomplete")
        };
        while !fs::read_dir(self.path("backups")).is_ok_and(|mut items| items.any(incomplete)) {
            assert!(begun.elapsed() < Duration::from_secs(30) && child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        child
    }
}

/// Niceness of a running process.
fn niceness(process: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold anything; niceness is the 17th field behind it.
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn a_run_that_nobody_watches_stands_back_and_a_wish_wins() {
    let own = niceness(std::process::id());
    for (arguments, expected) in [(vec![], if own == 0 { 10 } else { own }), (vec!["--nice", "19"], 19)] {
        let program = Program::new();
        // Slow enough to be looked at.
        let mut child = program.start_and_wait(&[&["--limit-rate", "1K"][..], &arguments].concat());
        let nice = niceness(child.id());
        signal(&child, Signal::INT);
        assert_eq!((nice, child.wait().unwrap().code()), (expected, Some(130)), "{arguments:?}");
    }
}

#[test]
fn a_limited_run_is_not_faster_than_its_limit_and_stores_the_same() {
    let program = Program::new();
    // 16 MB, of which the first second's worth is free.
    let begun = Instant::now();
    succeed(program.create().args(["--limit-rate", "8M"]));
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    program.assert_last_is_whole();
}
