//! A system that gives no more threads makes a run slower or ends it with an error: never a panic, never a hang, and
//! never half a backup.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{is_root, noise, shell, succeed, write};

/// From this limit on everything has enough; below it each thread is refused once.
const ENOUGH: u32 = 12;
/// `timeout` ends what hangs with this code.
const HANGS: i32 = 124;

/// A user of its own, who has no other processes; limits do not hold for root.
struct User {
    dir: tempfile::TempDir,
    id: u32,
}

impl User {
    /// `number` tells the users of tests apart that run at once.
    fn new(number: u32) -> Self {
        let id = 40_000 + std::process::id() % 10_000 * 2 + number;
        let user = Self { dir: tempfile::tempdir().unwrap(), id };
        fs::set_permissions(user.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = user.path("ccbackup");
        fs::copy(env!("CARGO_BIN_EXE_ccbackup"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        for i in 0..300 {
            write(&user.path("app").join(format!("{i}")), &noise(i, 20_000));
        }
        write(&user.path("app/large"), &noise(1000, 10 << 20));
        user.own();
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn own(&self) {
        if is_root() {
            shell(&format!("chown -R {id}:{id} .", id = self.id), self.dir.path());
        }
    }

    fn run(&self, line: &str, limit: u32) -> Output {
        let mut command = Command::new("timeout");
        command.args(["60", "prlimit", &format!("--nproc={limit}")]);
        if is_root() {
            let id = self.id.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command.arg(self.path("ccbackup")).args(line.split(' ')).args(["--threads", "2"]);
        command.current_dir(self.dir.path()).env("CCBACKUP_HOME", self.path("keys")).env_remove("HOME");
        command.output().unwrap()
    }

    /// Runs with every limit; gives the codes that came.
    fn run_with_every_limit(&self, line: &str, mut after: impl FnMut(bool)) -> BTreeMap<i32, u32> {
        let mut codes = BTreeMap::new();
        for limit in 1..=ENOUGH {
            let output = self.run(line, limit);
            let err = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code().unwrap();
            assert_ne!(code, HANGS, "`{line}` hangs with {limit} threads");
            assert!(!err.contains("defect") && !err.contains("unexpectedly"), "{line}, {limit}: {err}");
            match code {
                0 => {}
                1 => assert!(err.contains("the system gives no more threads") && err.contains("ulimit -u"), "{err}"),
                _ => panic!("`{line}` with {limit} threads ended with {code}: {err}"),
            }
            after(code == 0);
            *codes.entry(code).or_default() += 1;
        }
        codes
    }
}

fn backups(repository: &Path) -> usize {
    let Ok(items) = fs::read_dir(repository) else { return 0 };
    items.filter(|item| item.as_ref().unwrap().file_name().to_str().unwrap().starts_with("20")).count()
}

/// Some limits are too low and some high enough. Without root the limit counts what else the user runs.
fn assert_both(codes: &BTreeMap<i32, u32>, line: &str) {
    assert!(!is_root() || (codes.contains_key(&0) && codes.contains_key(&1)), "{line}: {codes:?}");
}

#[test]
fn a_backup_is_complete_or_not_there_whichever_thread_is_refused() {
    let user = User::new(0);
    let mut published = 0;
    let codes = user.run_with_every_limit("create --encrypt --path app --full", |done| {
        published += usize::from(done);
        assert_eq!(backups(&user.path("backups")), published);
    });
    assert_both(&codes, "create");
    let codes = user.run_with_every_limit("create --encrypt --path app --dry-run", |_| {});
    assert_both(&codes, "--dry-run");
    if published > 0 {
        succeed(Command::new(user.path("ccbackup")).args(["verify", "--all", "--deep", "--allow-unsigned"]).args([
            "--identity",
            user.path("keys/identity.txt").to_str().unwrap(),
            "--repo",
            user.path("backups").to_str().unwrap(),
        ]));
    }
}

#[test]
fn a_check_or_a_restore_ends_with_all_or_an_error_whichever_thread_is_refused() {
    let user = User::new(1);
    let mut create = Command::new(user.path("ccbackup"));
    create.args(["create", "--encrypt", "--path", "app"]).current_dir(user.dir.path());
    succeed(create.env("CCBACKUP_HOME", user.path("keys")));
    user.own();
    for line in ["verify", "verify --deep", "restore --target out --overwrite"] {
        assert_both(&user.run_with_every_limit(line, |_| {}), line);
    }
    for line in ["list", "show", "ls", "cat latest files/app/large"] {
        for limit in [1, 2, 3] {
            let output = user.run(line, limit);
            assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
