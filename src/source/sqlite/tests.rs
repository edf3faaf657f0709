//! Snapshots and the kind, with writers in other processes: POSIX locks do not keep a process from itself.

#![expect(clippy::disallowed_methods, reason = "files of tests need not last")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::SqliteSource;
use super::header::companion;
use super::snapshot::{Snapshot, SnapshotReader, Wanted};
use crate::config::SqliteConfig;
use crate::durable::{Disk, DiskChange, Faults};
use crate::environment::Environment;
use crate::error::{Kind, Result};
use crate::model::{Digest, Entry, EntryKind, EntryPath, Moment, Position, Timestamp};
use crate::monitor::Recorder;
use crate::source::{ActionKind, ApplyOptions, Body, Captured, Contents, Facts, Source as _, SourceContext, UndoLog};

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

struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Self {
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

fn real_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    (dir, path)
}

fn make(path: &Path, mode: &str) {
    let c = Connection::open(path).unwrap();
    c.pragma_update(None, "journal_mode", mode).unwrap();
    c.execute_batch("CREATE TABLE accounts(id INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE log(id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX by_text ON log(text)").unwrap();
    for id in 0..100 {
        c.execute("INSERT INTO accounts VALUES(?1, 1000)", [id]).unwrap();
    }
}

fn python(path: &Path, code: &str) {
    let code = format!("import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n{code}");
    assert!(Command::new("python3").arg("-c").arg(code).arg(path).status().unwrap().success());
}

/// Runs it in a process that ends without closing anything.
fn killed(path: &Path, code: &str) {
    let code = format!(
        "import os,sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n{code}\nos.kill(os.getpid(), 9)"
    );
    assert!(!Command::new("python3").arg("-c").arg(code).arg(path).status().unwrap().success());
}

fn snapshot(path: &Path, scratch: &Path, facts: bool) -> Result<(Vec<u8>, Snapshot)> {
    let snapshot = Snapshot::open(path, Wanted { scratch, facts, recover: false })?;
    let mut bytes = Vec::new();
    let read = SnapshotReader::new(&snapshot).read_to_end(&mut bytes);
    read.map_err(|e| e.downcast::<crate::Error>().unwrap())?;
    Ok((bytes, snapshot))
}

fn assert_sum_holds(bytes: &[u8], dir: &Path) {
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
        for _ in 0..8 {
            let (bytes, snapshot) = snapshot(&path, &dir, true).unwrap();
            let facts = snapshot.facts().unwrap();
            assert_eq!((facts.sound, facts.rows.as_ref().unwrap()["accounts"]), (Some(true), 100), "{mode}");
            assert_sum_holds(&bytes, &dir);
            different.insert(bytes);
        }
        assert!(different.len() > 4, "{mode}: the writer wrote");
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

/// A backup in memory.
#[derive(Debug, Default)]
struct Backup {
    objects: BTreeMap<String, (Entry, Vec<u8>)>,
    facts: Facts,
}

impl Contents for Backup {
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn captured_from(&self) -> Moment {
        Moment::from_unix_seconds(1)
    }
    fn entries(&self) -> Result<Box<dyn Iterator<Item = Result<Entry>> + '_>> {
        Ok(Box::new(self.objects.values().map(|(entry, _)| Ok(entry.clone()))))
    }
    fn find(&self, path: &EntryPath) -> Result<Option<Entry>> {
        Ok(self.objects.get(&*path.escaped()).map(|(entry, _)| entry.clone()))
    }
    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(io::Cursor::new(&self.objects[&*entry.path.escaped()].1)))
    }
    fn read(&self, entry: &Entry, _: u64) -> Result<Vec<u8>> {
        Ok(self.objects[&*entry.path.escaped()].1.clone())
    }
    fn restore_into(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}

struct Place {
    _dir: tempfile::TempDir,
    dir: PathBuf,
    environment: Environment,
    monitor: Recorder,
}

impl Place {
    fn new() -> Self {
        let (_dir, dir) = real_dir();
        fs::create_dir(dir.join("scratch")).unwrap();
        fs::create_dir(dir.join("data")).unwrap();
        Self { _dir, dir, environment: Environment::default(), monitor: Recorder::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("data/x.db")
    }

    fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    fn source(&self) -> SqliteSource {
        SqliteSource::new(SqliteConfig { path: vec![self.dir.join("data/*.db")] })
    }

    fn with<T>(&self, run: impl FnOnce(&SourceContext<'_>) -> T) -> T {
        let scratch = self.scratch();
        run(&SourceContext {
            component: "db",
            environment: &self.environment,
            monitor: &self.monitor,
            scratch: &scratch,
            now: Moment::from_unix_seconds(1_800_000_000),
        })
    }

    fn capture(&self) -> Result<Backup> {
        self.with(|context| {
            let source = self.source();
            let Captured::Objects(mut objects) = source.capture(context)? else { panic!("objects") };
            let mut backup = Backup::default();
            while let Some(object) = objects.next()? {
                let mut bytes = Vec::new();
                match object.body {
                    Body::Bytes(all) => bytes = all,
                    Body::Stream(mut stream) => drop(stream.read_to_end(&mut bytes).unwrap()),
                }
                let owner = object.owner.unwrap_or_default();
                let entry = entry(object.path, &bytes, object.mode, owner);
                backup.objects.insert(entry.path.escaped().into_owned(), (entry, bytes));
            }
            backup.facts = objects.finish()?;
            Ok(backup)
        })
    }

    fn plan(&self, backup: &Backup, overwrite: bool) -> Vec<ActionKind> {
        self.with(|context| {
            let source = self.source();
            let plan = source.plan_apply(backup, &ApplyOptions { overwrite }, context).unwrap();
            plan.actions().iter().map(|a| a.kind).collect()
        })
    }

    fn apply(&self, backup: &Backup, disk: &Disk, overwrite: bool) -> Result<()> {
        self.with(|context| {
            let source = self.source();
            let plan = source.plan_apply(backup, &ApplyOptions { overwrite }, context)?;
            plan.apply(&mut UndoLog::open(&self.dir.join("undo"), disk)?)
        })
    }

    fn differences(&self, backup: &Backup) -> usize {
        self.with(|context| self.source().check(backup, context)).unwrap().differences.len()
    }

    fn undo(&self) -> Result<()> {
        let steps = UndoLog::read(&self.dir.join("undo"))?;
        self.with(|context| self.source().undo(&steps, &self.dir.join("undo"), context))
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.join("data")).unwrap();
        let mut names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn entry(path: EntryPath, bytes: &[u8], mode: u32, (uid, gid): (u32, u32)) -> Entry {
    let time = Timestamp { seconds: 0, nanoseconds: 0 };
    let kind = EntryKind::File {
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
        extents: Vec::new(),
        in_pieces: false,
        regions: None,
        chunks: Vec::new(),
        unsettled: false,
    };
    let home = Position { backup: "20261121-200000".parse().unwrap(), volume: 0, offset: 0 };
    let (user, group) = (String::new(), String::new());
    Entry { path, kind, mode, uid, gid, user, group, mtime: time, ctime: time, inode: 1, xattrs: Vec::new(), home }
}

#[test]
fn capture_wipe_apply_check_is_equal_and_a_second_apply_finds_nothing_to_do() {
    let place = Place::new();
    for mode in ["wal", "delete"] {
        make(&place.path(), mode);
        let backup = place.capture().unwrap();
        assert_eq!(backup.facts.counts["rows"], 100);
        assert_eq!(backup.objects.keys().last().unwrap(), "inventory.json");
        let again = place.capture().unwrap();
        assert!(backup.objects.values().map(|o| &o.1).eq(again.objects.values().map(|o| &o.1)));
        fs::remove_file(place.path()).unwrap();
        // What a lost database left behind must not get into the one that comes back.
        fs::write(companion(&place.path(), "-wal"), vec![7; 5000]).unwrap();
        assert_eq!(place.plan(&backup, false), [ActionKind::Create]);
        place.apply(&backup, &Disk::default(), false).unwrap();
        let names = place.names();
        assert!(names.len() == 2 && names[0].starts_with(".ccbackup-before-") && names[1] == "x.db", "{names:?}");
        assert_eq!((place.differences(&backup), place.plan(&backup, false)), (0, vec![ActionKind::Equal]));
        python(&place.path(), "c.execute('insert into log(text) values(1)')");
        assert_eq!(place.differences(&backup), 1);
        place.undo().unwrap();
        assert_eq!(place.names(), ["x.db-wal"]);
        fs::remove_file(companion(&place.path(), "-wal")).unwrap();
        fs::remove_dir_all(place.dir.join("undo")).unwrap();
    }
    assert_eq!(place.with(|c| place.source().capture(c).map(drop)).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_is_there_is_replaced_only_when_told_and_when_nobody_has_it_open_and_comes_back() {
    let place = Place::new();
    make(&place.path(), "wal");
    let backup = place.capture().unwrap();
    // Its log holds what is newest, as after a crash.
    killed(&place.path(), "c.execute('update accounts set v = 5')");
    assert!(companion(&place.path(), "-wal").metadata().unwrap().len() > 0);
    assert_eq!(place.plan(&backup, false), [ActionKind::Conflict]);
    assert_eq!(place.plan(&backup, true), [ActionKind::Replace]);
    {
        let _writer = Writer::start(&place.path());
        assert_eq!(place.plan(&backup, true), [ActionKind::Conflict]);
    }
    place.apply(&backup, &Disk::default(), true).unwrap();
    assert_eq!((place.differences(&backup), place.plan(&backup, true)), (0, vec![ActionKind::Equal]));
    assert_eq!(place.names().len(), 2, "{:?}", place.names());
    place.undo().unwrap();
    place.undo().unwrap();
    assert_eq!(place.names(), ["x.db"]);
    let c = Connection::open(place.path()).unwrap();
    // The writer moved money of the old database.
    assert_eq!(c.query_row("SELECT sum(v) FROM accounts", [], |r| r.get::<_, i64>(0)).unwrap(), 500);
}

#[test]
fn a_backup_whose_rows_are_not_those_of_its_inventory_is_refused_before_anything_is_replaced() {
    let place = Place::new();
    make(&place.path(), "delete");
    let mut backup = place.capture().unwrap();
    let (_, bytes) = backup.objects.get_mut("inventory.json").unwrap();
    *bytes = String::from_utf8(bytes.clone()).unwrap().replace("\"accounts\": 100", "\"accounts\": 101").into_bytes();
    fs::remove_file(place.path()).unwrap();
    let refused = place.apply(&backup, &Disk::default(), false).unwrap_err();
    assert_eq!(refused.kind(), Kind::Damage);
    assert_eq!(place.names(), [""; 0]);
}

/// Lets so many changes of the disk happen, then none.
#[derive(Debug)]
struct Dies(AtomicUsize);

impl Faults for Dies {
    fn before(&self, _: DiskChange, _: &Path) -> std::result::Result<(), (usize, io::Error)> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| (0, io::Error::other("the power is out")))
    }
}

#[test]
fn an_apply_that_dies_anywhere_leaves_the_old_or_the_new_and_undo_brings_the_old() {
    let place = Place::new();
    make(&place.path(), "wal");
    let backup = place.capture().unwrap();
    let sum = |place: &Place| {
        Connection::open(place.path())
            .and_then(|c| c.query_row("SELECT sum(v) FROM accounts", [], |r| r.get::<_, i64>(0)))
            .unwrap()
    };
    let mut died = 0;
    for allowed in 0.. {
        python(&place.path(), "c.execute('update accounts set v = 5')");
        let result = place.apply(&backup, &Disk::with_faults(Arc::new(Dies(AtomicUsize::new(allowed)))), true);
        assert!(matches!(sum(&place), 500 | 100_000), "after {allowed} changes");
        let undo = place.dir.join("undo");
        if undo.is_dir() {
            place.undo().unwrap();
            assert_eq!(sum(&place), 500, "after {allowed} changes and the undo");
            fs::remove_dir_all(undo).unwrap();
        }
        if result.is_ok() {
            break;
        }
        died += 1;
    }
    assert!(died > 8, "{died}");
}

#[test]
fn a_damaged_database_is_captured_as_it_is_and_that_is_a_problem() {
    let place = Place::new();
    make(&place.path(), "delete");
    python(&place.path(), "c.executemany('insert into log(text) values(?)', ((str(i)*50,) for i in range(500)))");
    let mut bytes = fs::read(place.path()).unwrap();
    let at = bytes.len() - 4096 * 3;
    bytes[at..at + 2000].fill(0xee);
    fs::write(place.path(), &bytes).unwrap();
    let backup = place.capture().unwrap();
    assert_eq!(backup.facts.problems.len(), 1, "{:?}", backup.facts);
    fs::remove_file(place.path()).unwrap();
    place.apply(&backup, &Disk::default(), false).unwrap();
    assert!(fs::read(place.path()).unwrap() == bytes);
}

#[test]
fn a_writer_in_wal_mode_never_waits_for_a_snapshot() {
    let (_dir, dir) = real_dir();
    let path = dir.join("x.db");
    make(&path, "wal");
    let _keeper = Connection::open(&path).unwrap();
    _keeper.execute("DELETE FROM log", []).unwrap();
    let opened = Snapshot::open(&path, Wanted { scratch: &dir, facts: false, recover: false }).unwrap();
    let begun = Instant::now();
    python(
        &path,
        "c.execute('pragma busy_timeout=0')\nfor i in range(100): c.execute('insert into log(text) values(?)', (i,))",
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut bytes = Vec::new();
    SnapshotReader::new(&opened).read_to_end(&mut bytes).unwrap();
    assert_sum_holds(&bytes, &dir);
}

#[test]
fn the_log_of_a_database_that_sqlite_cannot_read_is_kept_and_comes_back() {
    let place = Place::new();
    make(&place.path(), "wal");
    let backup = place.capture().unwrap();
    let (wal, journal) = (companion(&place.path(), "-wal"), companion(&place.path(), "-journal"));
    fs::write(place.path(), "encrypted, or worse".repeat(1000)).unwrap();
    fs::write(&wal, "the newest of it").unwrap();
    fs::write(&journal, "and its journal").unwrap();
    let before: Vec<_> = [place.path(), wal.clone(), journal.clone()].map(|path| fs::read(path).unwrap()).into();
    place.apply(&backup, &Disk::default(), true).unwrap();
    assert_eq!(place.differences(&backup), 0);
    place.undo().unwrap();
    place.undo().unwrap();
    let after: Vec<_> = [place.path(), wal, journal].map(|path| fs::read(path).unwrap()).into();
    assert!(after == before, "{:?}", place.names());
    assert_eq!(place.names().len(), 3, "{:?}", place.names());
}

#[test]
fn a_database_that_somebody_put_there_since_is_not_undone() {
    let place = Place::new();
    make(&place.path(), "delete");
    let backup = place.capture().unwrap();
    python(&place.path(), "c.execute('update accounts set v = 5')");
    place.apply(&backup, &Disk::default(), true).unwrap();
    let newer = place.dir.join("newer");
    fs::write(&newer, "of somebody").unwrap();
    fs::rename(&newer, place.path()).unwrap();
    let refused = place.undo().unwrap_err();
    assert_eq!(refused.kind(), Kind::WouldOverwrite, "{}", refused.one_line());
    assert_eq!(fs::read(place.path()).unwrap(), b"of somebody");
    fs::remove_dir_all(place.dir.join("undo")).unwrap();
    fs::remove_file(place.path()).unwrap();
    place.apply(&backup, &Disk::default(), true).unwrap();
    fs::write(&newer, "of somebody").unwrap();
    fs::rename(&newer, place.path()).unwrap();
    place.undo().unwrap();
    assert_eq!(fs::read(place.path()).unwrap(), b"of somebody", "what was made where nothing was is no one else's");
}
