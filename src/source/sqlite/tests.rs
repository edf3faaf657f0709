//! Snapshots and the kind, with writers in other processes: POSIX locks do not keep a process from itself.

#![expect(clippy::disallowed_methods, reason = "files of tests need not last")]

use super::header::companion;
use super::snapshot::{Snapshot, SnapshotReader, Wanted};
use crate::error::Result;

use rusqlite::Connection;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Moves money between 100 accounts for ever; the sum stays 100 000.
const WRITER: &str = r#"
import random, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
c.execute("pragma synchronous=off")
print("ready", flush=True)
n = 0
while True:
    c.execute("begin immediate")
    a, b = random.sample(range(100), 2)
    c.execute("update accounts set v = v - 7 where id = ?", (a,))
    c.execute("update accounts set v = v + 7 where id = ?", (b,))
    c.execute("insert into log(text) values(?)", ("x" * random.randrange(3000),))
    if n % 50 == 49: c.execute("delete from log where id < (select max(id) - 200 from log)")
    c.execute("commit")
    n += 1
"#;

pub(super) struct Writer(Child);

impl Writer {
    pub(super) fn start(path: &Path) -> Self {
        let python = Command::new("python3").arg("-c").arg(WRITER).arg(path).stdout(Stdio::piped()).spawn();
        let mut writer = Self(python.expect("python3 is needed"));
        let mut ready = [0; 5];
        writer.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(super) fn real_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    (dir, path)
}

pub(super) fn make(path: &Path, mode: &str) {
    let c = Connection::open(path).unwrap();
    c.pragma_update(None, "journal_mode", mode).unwrap();
    c.execute_batch("CREATE TABLE accounts(id INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE log(id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX by_text ON log(text)").unwrap();
    for id in 0..100 {
        c.execute("INSERT INTO accounts VALUES(?1, 1000)", [id]).unwrap();
    }
}

pub(super) fn python(path: &Path, code: &str) {
    let code = format!("import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n{code}");
    assert!(Command::new("python3").arg("-c").arg(code).arg(path).status().unwrap().success());
}

/// Runs it in a process that ends without closing anything.
pub(super) fn killed(path: &Path, code: &str) {
    let code = format!(
        "import os,sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n{code}\nos.kill(os.getpid(), 9)"
    );
    assert!(!Command::new("python3").arg("-c").arg(code).arg(path).status().unwrap().success());
}

pub(super) fn snapshot(path: &Path, scratch: &Path, facts: bool) -> Result<(Vec<u8>, Snapshot)> {
    let snapshot = Snapshot::open(path, Wanted { scratch, facts, recover: false })?;
    let mut bytes = Vec::new();
    let read = SnapshotReader::new(&snapshot).read_to_end(&mut bytes);
    read.map_err(|e| e.downcast::<crate::Error>().unwrap())?;
    Ok((bytes, snapshot))
}

pub(super) fn assert_sum_holds(bytes: &[u8], dir: &Path) {
    let copy = dir.join("copy.db");
    for end in ["", "-wal", "-shm"] {
        fs::remove_file(companion(&copy, end)).ok();
    }
    fs::write(&copy, bytes).unwrap();
    let c = Connection::open(&copy).unwrap();
    let sum: i64 = c.query_row("SELECT sum(v) FROM accounts", [], |r| r.get(0)).unwrap();
    let check: String = c.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!((sum, check.as_str()), (100_000, "ok"));
}

#[test]
fn a_database_that_is_written_all_the_time_is_captured_as_one_state() {
    for mode in ["wal", "delete", "persist", "truncate"] {
        let (_dir, dir) = real_dir();
        let path = dir.join("busy.db");
        make(&path, mode);
        let writer = Writer::start(&path);
        let mut different = std::collections::BTreeSet::new();
        // How much it writes between two of them depends on the machine.
        for _ in 0..2000 {
            let (bytes, snapshot) = snapshot(&path, &dir, true).unwrap();
            let facts = snapshot.facts().unwrap();
            assert_eq!((facts.sound, facts.rows.as_ref().unwrap()["accounts"]), (Some(true), 100), "{mode}");
            assert_sum_holds(&bytes, &dir);
            different.insert(bytes);
            if different.len() > 4 {
                break;
            }
        }
        assert!(different.len() > 4, "{mode}: the writer wrote nothing");
        drop(writer);
    }
}

#[test]
fn equal_data_are_equal_bytes_with_and_without_a_log() {
    let (_dir, dir) = real_dir();
    let path = dir.join("x.db");
    make(&path, "wal");
    // Killed, it leaves its log behind.
    killed(&path, "c.execute(\"insert into log(text) values('in the log')\")");
    assert!(companion(&path, "-wal").metadata().unwrap().len() > 0);
    let (first, _) = snapshot(&path, &dir, false).unwrap();
    let (again, _) = snapshot(&path, &dir, false).unwrap();
    assert!(first == again && first.windows(10).any(|w| w == b"in the log"));
    python(
        &path,
        "c.execute('select * from log').fetchall(); c.execute('pragma wal_checkpoint(truncate)').fetchall(); c.close()",
    );
    let (checkpointed, _) = snapshot(&path, &dir, false).unwrap();
    assert!(first == checkpointed && first == fs::read(&path).unwrap());
}

#[test]
fn a_database_at_rest_is_read_without_anything_being_made_beside_it() {
    let (_dir, dir) = real_dir();
    let path = dir.join("odd name?#%.db");
    for mode in ["wal", "delete"] {
        make(&path, mode);
        let (bytes, taken) = snapshot(&path, &dir, true).unwrap();
        assert!(bytes == fs::read(&path).unwrap());
        assert_eq!((taken.mode(), taken.facts().unwrap().sound), (mode, Some(true)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "{mode}");
        fs::remove_file(&path).unwrap();
    }
    make(&path, "wal");
    let opened = Snapshot::open(&path, Wanted { scratch: &dir, facts: false, recover: false }).unwrap();
    python(&path, "c.execute('delete from accounts')");
    let refused = SnapshotReader::new(&opened).read_to_end(&mut Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("written to while it was read"), "{refused}");
}

#[test]
fn a_large_database_that_is_no_wal_is_held_sealed_and_its_writer_goes_on() {
    let (_dir, dir) = real_dir();
    let path = dir.join("large.db");
    make(&path, "delete");
    let c = Connection::open(&path).unwrap();
    c.execute_batch("CREATE TABLE big(x BLOB); BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) INSERT INTO big SELECT randomblob(65000) FROM n; COMMIT").unwrap();
    drop(c);
    let opened = Snapshot::open(&path, Wanted { scratch: &dir, facts: true, recover: false }).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    python(&path, "c.execute('pragma busy_timeout=0'); c.execute('update accounts set v = v + 1')");
    let mut bytes = Vec::new();
    SnapshotReader::new(&opened).read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() > 32 << 20);
    assert_sum_holds(&bytes, &dir);
}

#[test]
fn a_lost_lock_is_an_error_and_no_torn_copy() {
    let (_dir, dir) = real_dir();
    let path = dir.join("x.db");
    make(&path, "wal");
    let keeper = Connection::open(&path).unwrap();
    keeper.execute("DELETE FROM accounts WHERE id = 1", []).unwrap();
    let opened = Snapshot::open(&path, Wanted { scratch: &dir, facts: false, recover: false }).unwrap();
    // Closing any descriptor of the file in this process ends all its locks.
    drop(fs::File::open(&path).unwrap());
    let refused = SnapshotReader::new(&opened).read_to_end(&mut Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("lock"), "{refused}");
}

#[test]
fn a_transaction_that_a_crash_cut_short_is_rolled_back_only_where_that_is_allowed() {
    let (_dir, dir) = real_dir();
    let path = dir.join("x.db");
    make(&path, "delete");
    killed(
        &path,
        "c.execute('pragma cache_size=1'); c.execute('begin'); c.execute('update accounts set v = 0')\n\
         for i in range(2000): c.execute('insert into log(text) values(?)', (str(i) * 300,))",
    );
    assert!(companion(&path, "-journal").metadata().unwrap().len() > 0);
    let refused = snapshot(&path, &dir, false).unwrap_err();
    assert!(refused.one_line().contains("a crash cut short"), "{}", refused.one_line());
    let opened = Snapshot::open(&path, Wanted { scratch: &dir, facts: true, recover: true }).unwrap();
    let mut bytes = Vec::new();
    SnapshotReader::new(&opened).read_to_end(&mut bytes).unwrap();
    assert_sum_holds(&bytes, &dir);
}

#[test]
fn what_is_no_database_is_refused_by_name_and_an_empty_file_is_an_empty_database() {
    let (_dir, dir) = real_dir();
    let path = dir.join("text.db");
    fs::write(&path, "this is text, and long enough to be read as a header of a database, which it is not").unwrap();
    assert!(snapshot(&path, &dir, false).unwrap_err().one_line().contains("text.db is not a SQLite database"));
    fs::write(&path, b"SQLite format 3\0 and then nothing that makes sense").unwrap();
    assert!(snapshot(&path, &dir, true).is_err());
    fs::write(&path, "").unwrap();
    let (bytes, taken) = snapshot(&path, &dir, true).unwrap();
    assert_eq!((bytes.len(), taken.facts().unwrap().sound), (0, Some(true)));
}
