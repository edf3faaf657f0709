//! SQLite: the kind, and databases in use inside of trees. Writers are processes of their own, for SQLite's locks do not keep
//! a process from itself.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ccbackup::config::{FilesConfig, SourceConfig, SqliteConfig, SqliteReading};
use ccbackup::engine::create::CreateReport;
use ccbackup::model::BackupKind;
use ccbackup::{ComponentConfig, Recorder};

use crate::contract::{Guard, Subject, contract};
use crate::support::{Sandbox, succeed};

/// Moves money between 100 accounts for ever; the sum stays 100 000.
const WRITER: &str = r#"
import random, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
c.execute("pragma synchronous=off")
print("ready", flush=True)
while True:
    c.execute("begin immediate")
    a, b = random.sample(range(100), 2)
    c.execute("update accounts set v = v - 7 where id = ?", (a,))
    c.execute("update accounts set v = v + 7 where id = ?", (b,))
    c.execute("insert into log(text) values(?)", ("x" * random.randrange(3000),))
    c.execute("delete from log where id < (select max(id) - 200 from log)")
    c.execute("commit")
"#;

struct Process(Child);

impl Process {
    fn start(code: &str, path: &Path) -> Self {
        let python = Command::new("python3").arg("-c").arg(code).arg(path).stdout(Stdio::piped()).spawn();
        let mut process = Self(python.expect("this test needs python3"));
        process.0.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs statements in a process that ends well, or without closing anything.
fn python(path: &Path, code: &str, is_killed: bool) {
    let end = if is_killed { "os.kill(os.getpid(), 9)" } else { "c.close()" };
    let code = format!("import os,sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n{code}\n{end}");
    let status = Command::new("python3").arg("-c").arg(code).arg(path).status().unwrap();
    assert_eq!(status.success(), !is_killed);
}

fn make(path: &Path, mode: &str) {
    let code = format!(
        "c.execute('pragma journal_mode={mode}').fetchall(); c.execute('begin')\n\
         c.execute('create table accounts(id integer primary key, v integer)')\n\
         c.execute('create table log(id integer primary key, text text)')\n\
         c.execute('create index by_text on log(text)')\n\
         for i in range(100): c.execute('insert into accounts values(?, 1000)', (i,))\n\
         c.execute('commit')"
    );
    python(path, &code, false);
}

/// What the vendor's own client says.
fn ask(path: &Path, sql: &str) -> String {
    let output = succeed(Command::new("sqlite3").arg(path).arg(sql));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn beside(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

/// Databases of every journal mode.
struct Databases {
    dir: tempfile::TempDir,
}

impl Databases {
    fn start() -> Option<Self> {
        if Command::new("sqlite3").arg("--version").output().is_err() {
            eprintln!("SKIPPED: sqlite3 is not there, install the package sqlite3");
            return None;
        }
        Some(Self { dir: tempfile::tempdir().unwrap() })
    }

    fn root(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap()
    }

    fn all(&self) -> Vec<PathBuf> {
        ["wal.db", "deep/delete.db", "deep/odd name?%.db"].iter().map(|name| self.root().join(name)).collect()
    }
}

impl Subject for Databases {
    fn component(&self) -> ComponentConfig {
        let path = vec![self.root().join("wal.db"), self.root().join("deep/*.db")];
        let source = SourceConfig::Sqlite(SqliteConfig { path });
        ComponentConfig { name: "databases".into(), source, ..ComponentConfig::default() }
    }

    fn fill(&mut self) {
        fs::create_dir(self.root().join("deep")).unwrap();
        for (path, mode) in self.all().iter().zip(["wal", "delete", "truncate"]) {
            make(path, mode);
        }
    }

    fn change(&mut self) {
        python(&self.all()[0], "c.execute('update accounts set v = 5 where id < 10')", true);
        python(
            &self.all()[1],
            "c.execute('insert into log(text) values(1)'); c.execute('delete from accounts')",
            false,
        );
    }

    fn wipe(&mut self) {
        for path in self.all() {
            for end in ["", "-wal", "-shm", "-journal"] {
                fs::remove_file(beside(&path, end)).ok();
            }
        }
    }

    fn fingerprint(&self) -> String {
        let all = self.all();
        let dump = |path: &PathBuf| if path.exists() { ask(path, ".dump") } else { "nothing".into() };
        all.iter().map(dump).collect::<Vec<_>>().join("\n--\n")
    }

    fn churn(&mut self) -> Option<Guard> {
        let writers: Vec<_> = self.all().iter().map(|path| Process::start(WRITER, path)).collect();
        Some(Box::new(writers))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        struct Healed(PathBuf, PathBuf);
        impl Drop for Healed {
            fn drop(&mut self) {
                fs::rename(&self.1, &self.0).unwrap();
            }
        }
        let (path, away) = (self.all()[0].clone(), self.root().join("away"));
        fs::rename(&path, &away).unwrap();
        fs::write(&path, "this was a database").unwrap();
        Some(Box::new(Healed(path, away)))
    }
}

contract!(databases, Databases::start);

#[test]
fn a_database_comes_back_by_hand_and_the_vendors_client_takes_it() {
    let Some(mut databases) = Databases::start() else { return };
    databases.fill();
    let before = databases.fingerprint();
    let mut sandbox = Sandbox::new();
    sandbox.settings.components = vec![ComponentConfig { name: "files".into(), ..databases.component() }];
    let id = sandbox.create().id;
    let by_hand = sandbox.restore_by_hand(&id);
    let below = by_hand.parent().unwrap().join("databases");
    let of = |path: &PathBuf| below.join(path.strip_prefix("/").unwrap());
    let dumps: Vec<_> = databases.all().iter().map(|path| ask(&of(path), ".dump")).collect();
    assert_eq!(dumps.join("\n--\n"), before);
    assert!(databases.all().iter().all(|path| ask(&of(path), "pragma integrity_check") == "ok"));
    let inventory = fs::read_to_string(by_hand.parent().unwrap().join("inventory.json")).unwrap();
    assert!(inventory.contains("\"accounts\": 100"), "{inventory}");
}

/// A sandbox with a database in its tree, whose clock is ahead of all timestamps.
fn tree(mode: &str) -> (Sandbox, PathBuf) {
    let mut sandbox = Sandbox::new();
    sandbox.now = jiff::Timestamp::now().as_second() + 3600;
    fs::write(sandbox.tree().join("a file"), "beside it").unwrap();
    let path = sandbox.tree().join("app.db");
    make(&path, mode);
    (sandbox, path)
}

fn read_again(report: &CreateReport) -> (u64, u64) {
    (report.components[0].new_entries, report.components[0].bytes_read)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_database_that_is_written_to_inside_a_tree_is_captured_as_one_state() {
    for mode in ["wal", "delete"] {
        let (mut sandbox, path) = tree(mode);
        let writer = Process::start(WRITER, &path);
        for _ in 0..5 {
            let id = sandbox.create().id;
            let restored = sandbox.restore(&id);
            assert_eq!(names(&restored), ["a file", "app.db"], "{mode}");
            let restored = restored.join("app.db");
            assert_eq!(ask(&restored, "select sum(v) from accounts; pragma integrity_check"), "100000\nok", "{mode}");
        }
        drop(writer);
    }
}

#[test]
fn a_log_that_changed_makes_a_database_new_and_an_untouched_one_stays_unread() {
    let (mut sandbox, path) = tree("wal");
    // Killed, a program leaves its log behind.
    python(&path, "c.execute(\"insert into log(text) values('first')\")", true);
    assert!(beside(&path, "-wal").metadata().unwrap().len() > 0);
    sandbox.create();
    let report = sandbox.create();
    assert_eq!((report.kind, read_again(&report)), (BackupKind::Incremental, (0, 0)));
    assert_eq!(names(&sandbox.restore(&report.id)), ["a file", "app.db"]);
    let modified = path.metadata().unwrap().modified().unwrap();
    python(
        &path,
        "c.execute('pragma wal_autocheckpoint=0'); c.execute(\"insert into log(text) values('second')\")",
        true,
    );
    assert_eq!(path.metadata().unwrap().modified().unwrap(), modified, "only the log was written to");
    let id = sandbox.create().id;
    let restored = sandbox.restore(&id).join("app.db");
    assert_eq!(ask(&restored, "select text from log order by id"), "first\nsecond");
    let report = sandbox.create();
    assert_eq!(read_again(&report), (0, 0));
}

#[test]
fn a_large_database_in_use_is_streamed_and_a_second_backup_stores_what_changed() {
    let (mut sandbox, path) = tree("wal");
    python(
        &path,
        "c.execute('create table big(x blob)'); c.execute('begin')\n\
         for i in range(400): c.execute('insert into big values(?)', (os.urandom(60000),))\n\
         c.execute('commit')",
        false,
    );
    let keeper = "import sqlite3,sys,time\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n\
                  c.execute(\"insert into log(text) values('kept open')\")\nprint('ready',flush=True)\ntime.sleep(600)";
    let keeper = Process::start(keeper, &path);
    let first = sandbox.create();
    assert!(first.bytes_stored > 20 << 20);
    python(&path, "c.execute(\"insert into log(text) values('more')\")", false);
    let second = sandbox.create();
    assert!(second.bytes_stored < 8 << 20, "{}", second.bytes_stored);
    let restored = sandbox.restore(&second.id);
    assert_eq!(names(&restored), ["a file", "app.db"]);
    assert_eq!(ask(&restored.join("app.db"), "select text from log; pragma integrity_check"), "kept open\nmore\nok");
    drop(keeper);
}

#[test]
fn when_told_to_read_a_database_is_a_file_like_any_other() {
    let (mut sandbox, path) = tree("wal");
    python(&path, "c.execute(\"insert into log(text) values('in the log')\")", true);
    let config = FilesConfig { paths: vec![sandbox.tree()], sqlite: SqliteReading::Read, ..FilesConfig::default() };
    sandbox.settings.components[0].source = SourceConfig::Files(config);
    let id = sandbox.create().id;
    assert_eq!(names(&sandbox.restore(&id)), ["a file", "app.db", "app.db-shm", "app.db-wal"]);
    // What was read as it is never passes for one state.
    sandbox.settings.components[0] = ComponentConfig::of_files("files", vec![sandbox.tree()]);
    let id = sandbox.create().id;
    let restored = sandbox.restore(&id);
    assert_eq!(names(&restored), ["a file", "app.db"]);
    assert_eq!(ask(&restored.join("app.db"), "select text from log"), "in the log");
}

#[test]
fn a_log_that_nobody_has_open_is_captured_with_its_database() {
    let (mut sandbox, path) = tree("wal");
    python(&path, "c.execute(\"insert into log(text) values('in the log')\")", true);
    fs::remove_file(beside(&path, "-shm")).unwrap();
    let id = sandbox.create().id;
    assert_eq!(names(&sandbox.tree()), ["a file", "app.db", "app.db-wal"], "nothing is made in a tree");
    let restored = sandbox.restore(&id);
    assert_eq!(names(&restored), ["a file", "app.db", "app.db-wal"]);
    assert_eq!(ask(&restored.join("app.db"), "select text from log"), "in the log");
}

#[test]
fn a_database_that_cannot_be_had_as_one_state_is_read_with_all_that_belongs_to_it_and_that_is_a_problem() {
    let (mut sandbox, path) = tree("wal");
    // A transaction that a crash cut short: only a program that writes to the database may roll it back.
    python(&path, "c.execute('pragma journal_mode=delete').fetchall()", false);
    python(
        &path,
        "c.execute('pragma cache_size=1'); c.execute('begin'); c.execute('update accounts set v = 0')\n\
         for i in range(2000): c.execute('insert into log(text) values(?)', (str(i) * 300,))",
        true,
    );
    let report = sandbox.try_create().unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].detail.contains("a crash cut short"), "{:?}", report.problems);
    let restored = sandbox.restore(&report.id);
    assert_eq!(names(&restored), ["a file", "app.db", "app.db-journal"]);
    assert_eq!(ask(&restored.join("app.db"), "select sum(v) from accounts; pragma integrity_check"), "100000\nok");
}

#[test]
fn a_component_that_names_a_database_as_its_root_has_what_is_in_the_log() {
    let (mut sandbox, path) = tree("wal");
    python(&path, "c.execute(\"insert into log(text) values('in the log')\")", true);
    sandbox.settings.components = vec![ComponentConfig::of_files("files", vec![path])];
    let id = sandbox.create().id;
    let restored = sandbox.restore(&id).with_file_name("app.db");
    assert_eq!(ask(&restored, "select text from log"), "in the log");
}

#[test]
fn a_note_names_what_belongs_to_a_database() {
    let (sandbox, path) = tree("wal");
    python(&path, "c.execute('delete from log')", true);
    let monitor = Recorder::default();
    sandbox.create_watched(&monitor).unwrap();
    let notes = monitor.notes.lock().unwrap().clone();
    assert!(notes.iter().any(|note| note.contains("app.db-wal")), "{notes:?}");
}
