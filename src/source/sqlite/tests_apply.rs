//! The kind: captured, lost, put back, undone.

#![expect(clippy::disallowed_methods, reason = "files of tests need not last")]

use super::SqliteSource;
use super::header::companion;
use super::snapshot::{Snapshot, SnapshotReader, Wanted};
use super::tests::{Writer, assert_sum_holds, killed, make, python, real_dir};
use crate::config::SqliteConfig;
use crate::durable::{Disk, DiskChange, Faults};
use crate::environment::Environment;
use crate::error::{Kind, Result};
use crate::model::{Digest, Entry, EntryKind, EntryPath, Moment, Position, Timestamp};
use crate::monitor::Recorder;
use crate::source::{ActionKind, ApplyOptions, Body, Captured, Contents, Facts, Source as _, SourceContext, UndoLog};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
