//! Whatever moment a run dies at, nothing half-done is visible, what was there before is untouched, and the next run puts
//! everything right.
//!
//! The sweeps let every single change to the disk be the last one, in the library. The tests of `kill` kill the real
//! program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ccbackup::ComponentConfig;
use ccbackup::durable::{Disk, DiskChange, Faults};
use ccbackup::engine::verify::Depth;
use ccbackup::engine::{Clock, Session};
use ccbackup::model::{BackupId, BackupKind, Moment};
use ccbackup::monitor::Recorder;
use ccbackup::repo::Repository;
use ccbackup::repo::catalog::Catalog;

use crate::support::{Sandbox, Seen, assert_same, look, noise, succeed, write};

/// How a run is hit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Blow {
    /// The process dies: this change and all later ones do not happen; of a write, half the bytes arrive.
    Death,
    /// The machine dies: as above, and files that were not synced keep only half of what was written.
    PowerCut,
    /// One change finds the disk full, then there is room again.
    FullDisk,
    /// One sync fails.
    BadSync,
}

#[derive(Debug)]
struct Strike {
    blow: Blow,
    at: u64,
    changes: AtomicU64,
    fired: AtomicBool,
    unsynced: Mutex<BTreeSet<PathBuf>>,
}

impl Strike {
    fn new(blow: Blow, at: u64) -> Arc<Self> {
        let (changes, fired, unsynced) = Default::default();
        Arc::new(Self { blow, at, changes, fired, unsynced })
    }

    fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst)
    }

    fn lose_unsynced(&self) {
        for path in std::mem::take(&mut *self.unsynced.lock().unwrap()) {
            if let Ok(file) = OpenOptions::new().write(true).open(path) {
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }
    }
}

impl Faults for Strike {
    fn before(&self, change: DiskChange, path: &Path) -> Result<(), (usize, io::Error)> {
        let is_sync = matches!(change, DiskChange::SyncFile | DiskChange::SyncDir);
        if self.blow == Blow::BadSync && !is_sync {
            return Ok(());
        }
        let lasting = matches!(self.blow, Blow::Death | Blow::PowerCut);
        if lasting && self.fired() {
            return Err((0, io::Error::other("the process is dead")));
        }
        if self.changes.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            self.fired.store(true, Ordering::SeqCst);
            let reach = if let DiskChange::Write(length) = change { length / 2 } else { 0 };
            let error = match self.blow {
                Blow::FullDisk => rustix::io::Errno::NOSPC.into(),
                Blow::BadSync => rustix::io::Errno::IO.into(),
                Blow::Death | Blow::PowerCut => io::Error::other("the process dies"),
            };
            return Err((reach, error));
        }
        let mut unsynced = self.unsynced.lock().unwrap();
        match change {
            DiskChange::MakeFile | DiskChange::Write(_) => drop(unsynced.insert(path.to_owned())),
            DiskChange::SyncFile => drop(unsynced.remove(path)),
            // What is not synced stays so under its new name, or in its folder's new name.
            DiskChange::Rename => {
                let name = path.file_name().unwrap().to_str().unwrap();
                let old = [".staged-", ".incomplete-"].map(|prefix| path.with_file_name(format!("{prefix}{name}")));
                let renamed = |file: PathBuf| match old.iter().find_map(|old| file.strip_prefix(old).ok()) {
                    Some(rest) if rest.as_os_str().is_empty() => path.to_owned(),
                    Some(rest) => path.join(rest),
                    None => file,
                };
                *unsynced = std::mem::take(&mut *unsynced).into_iter().map(renamed).collect();
            }
            _ => {}
        }
        Ok(())
    }
}

/// A host with two components, and what its disk looked like before the run that is to be hit.
struct Scene {
    sandbox: Sandbox,
    start: i64,
    /// The trees of the components.
    expected: BTreeMap<&'static str, BTreeMap<Vec<u8>, Seen>>,
}

const COMPONENTS: [&str; 2] = ["first", "second"];

impl Scene {
    /// `earlier` backups exist already.
    fn new(earlier: usize) -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.settings.components = Vec::new();
        for name in COMPONENTS {
            let root = sandbox.tree().join(name);
            write(&root.join("small"), name.as_bytes());
            write(&root.join("folder/other"), &noise(3, 3000));
            let spec = ComponentConfig::of_files(name, vec![root]);
            sandbox.settings.components.push(spec);
        }
        // Later than all timestamps of the tree, so that they are believed.
        sandbox.now = jiff::Timestamp::now().as_second() + 3600;
        for number in 0..earlier {
            sandbox.create();
            write(&sandbox.tree().join("first/changing"), &noise(10 + number as u64, 2000));
            fs::remove_file(sandbox.tree().join("second/small")).unwrap();
            write(&sandbox.tree().join("second/small"), &noise(20 + number as u64, 700));
        }
        let saved = sandbox.dir.path().join("saved");
        fs::create_dir(&saved).unwrap();
        for name in ["backups", "home"] {
            if sandbox.dir.path().join(name).exists() {
                succeed(Command::new("cp").arg("-a").arg(sandbox.dir.path().join(name)).arg(&saved));
            }
        }
        let expected = COMPONENTS.map(|name| (name, look(&sandbox.tree().join(name)))).into();
        Self { start: sandbox.now, expected, sandbox }
    }

    /// Puts the disk back to where it was.
    fn reset(&mut self) {
        let dir = self.sandbox.dir.path();
        for name in ["backups", "home"] {
            if dir.join(name).exists() {
                fs::remove_dir_all(dir.join(name)).unwrap();
            }
            if dir.join("saved").join(name).exists() {
                succeed(Command::new("cp").arg("-a").arg(dir.join("saved").join(name)).arg(dir));
            }
        }
        self.sandbox.host.disk = Disk::default();
        self.sandbox.now = self.start;
    }

    fn visible(&self) -> Vec<BackupId> {
        match Repository::open(&self.sandbox.root()) {
            Ok(repo) => Catalog::load(&repo).unwrap().backups.into_iter().map(|b| b.id).collect(),
            Err(e) if e.kind() == ccbackup::error::Kind::NotFound => Vec::new(),
            Err(e) => panic!("{}", e.one_line()),
        }
    }

    /// Every backup that can be seen is whole.
    fn assert_sound(&self, when: &str) -> Vec<BackupId> {
        let visible = self.visible();
        if let Some(newest) = visible.last() {
            let report = self.sandbox.verify_with(newest, Depth::Keyless, true).unwrap();
            assert!(report.ok, "{when}: {:#?}", report.findings);
            assert_eq!(report.backups.len(), visible.len(), "{when}");
        }
        visible
    }

    fn assert_restores(&self, id: &BackupId, when: &str) {
        let target = self.sandbox.scratch("restored");
        let report = self.sandbox.try_restore(id, &target, |_| {}).unwrap();
        assert!(report.findings.is_empty() && report.problems.is_empty(), "{when}: {report:#?}");
        for name in COMPONENTS {
            assert_same(&self.expected[name], &look(&target.join(name).join(name)), when);
        }
    }

    /// One run is hit at its `at`-th change; false when it had fewer.
    fn hit(&mut self, blow: Blow, at: u64) -> bool {
        let when = format!("{blow:?} at change {at}");
        self.reset();
        let before = contents(&self.sandbox.root());
        let earlier = self.visible();
        let strike = Strike::new(blow, at);
        self.sandbox.host.disk = Disk::with_faults(strike.clone());
        let outcome = self.sandbox.try_create();
        self.sandbox.host.disk = Disk::default();
        if !strike.fired() {
            assert!(outcome.is_ok(), "{when}: {outcome:?}");
            assert!(at > if blow == Blow::BadSync { 20 } else { 60 }, "a run has only {at} changes: what is counted?");
            return false;
        }
        if blow == Blow::PowerCut {
            strike.lose_unsynced();
        }

        let visible = self.assert_sound(&when);
        assert!(outcome.is_err() || visible.len() > earlier.len(), "{when}: the run reports success");
        assert!(visible.starts_with(&earlier) && visible.len() <= earlier.len() + 1, "{when}: {visible:?}");
        let after = contents(&self.sandbox.root());
        for (path, bytes) in
            before.iter().filter(|(path, _)| !path.ends_with("latest") && !path.ends_with("latest-good"))
        {
            assert!(after.get(path) == Some(bytes), "{when}: {} is not what it was", path.display());
        }

        let next = self.sandbox.create();
        let visible = self.assert_sound(&format!("{when}, next run"));
        assert_eq!(visible.last(), Some(&next.id), "{when}");
        assert_eq!(fs::read_link(self.sandbox.root().join("latest")).unwrap(), Path::new(next.id.as_str()));
        assert_eq!(next.full_because, None, "{when}");
        assert_eq!(next.kind == BackupKind::Full, visible.len() == 1, "{when}");
        self.assert_tidy(&next.id, &when);
        // A restore syncs a whole file system, which takes its time.
        if at.is_multiple_of(4) {
            self.assert_restores(&next.id, &when);
        }

        let last = self.sandbox.create();
        assert_eq!(last.kind, BackupKind::Incremental, "{when}");
        assert!(last.components.iter().all(|c| c.bytes_read == 0 && c.new_entries == 0), "{when}: {last:?}");
        self.assert_sound(&format!("{when}, second run"));
        true
    }

    /// Nothing of the dead run lies about.
    fn assert_tidy(&self, newest: &BackupId, when: &str) {
        let known = ["repository.json", "allowed_signers", "latest", "latest-good", ".lock"];
        for name in names(&self.sandbox.root()) {
            assert!(known.contains(&name.as_str()) || name.parse::<BackupId>().is_ok(), "{when}: {name} was left");
        }
        for folder in names(&self.sandbox.host.state_dir).into_iter().filter(|name| name != "places.json") {
            let state = names(&self.sandbox.host.state_dir.join(folder));
            let copies: Vec<_> = state.iter().filter(|n| n.parse::<BackupId>().is_ok()).collect();
            assert_eq!(copies, [newest.as_str()], "{when}: index copies");
        }
    }

    /// Hits every `stride`-th change with another beginning each day, so that all get their turn; with CCBACKUP_SWEEP_ALL
    /// set, every change.
    fn sweep(mut self, blow: Blow, stride: u64) {
        let stride = if std::env::var_os("CCBACKUP_SWEEP_ALL").is_some() { 1 } else { stride };
        let day = jiff::Timestamp::now().as_second().unsigned_abs() / 86400;
        let mut at = 1 + day % stride;
        while self.hit(blow, at) {
            at += stride;
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|i| i.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every file below a folder with its bytes, every link with its target.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let items = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let bytes = |path: &Path| match fs::read_link(path) {
        Ok(target) => target.into_os_string().into_encoded_bytes(),
        Err(_) => fs::read(path).unwrap(),
    };
    items.filter(|i| !i.file_type().is_dir()).map(|i| (i.path().to_owned(), bytes(i.path()))).collect()
}

#[test]
fn a_first_backup_may_die_at_any_change() {
    Scene::new(0).sweep(Blow::Death, 2);
}

#[test]
fn a_first_backup_may_lose_power_at_any_change() {
    Scene::new(0).sweep(Blow::PowerCut, 3);
}

#[test]
fn a_first_backup_may_find_the_disk_full_at_any_change() {
    Scene::new(0).sweep(Blow::FullDisk, 5);
}

#[test]
fn a_first_backup_may_fail_at_any_sync() {
    Scene::new(0).sweep(Blow::BadSync, 1);
}

#[test]
fn an_incremental_may_die_at_any_change() {
    Scene::new(2).sweep(Blow::Death, 2);
}

#[test]
fn an_incremental_may_lose_power_at_any_change() {
    Scene::new(2).sweep(Blow::PowerCut, 3);
}

#[test]
fn an_incremental_may_find_the_disk_full_at_any_change() {
    Scene::new(2).sweep(Blow::FullDisk, 5);
}

#[test]
fn an_incremental_may_fail_at_any_sync() {
    Scene::new(2).sweep(Blow::BadSync, 1);
}

/// Writes down every change.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(DiskChange, PathBuf)>>);

impl Faults for Log {
    fn before(&self, change: DiskChange, path: &Path) -> Result<(), (usize, io::Error)> {
        self.0.lock().unwrap().push((change, path.to_owned()));
        Ok(())
    }
}

#[test]
fn everything_is_synced_before_it_is_named_and_nothing_of_a_backup_is_written_after_it_is_visible() {
    let mut scene = Scene::new(1);
    let root = scene.sandbox.dir.path().join("a/new/backups");
    scene.sandbox.now += 60;
    scene.sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(scene.sandbox.now));
    for kind in [BackupKind::Full, BackupKind::Incremental] {
        write(&scene.sandbox.tree().join("first/changing"), format!("for {kind:?}").as_bytes());
        let log = Arc::new(Log::default());
        scene.sandbox.host.disk = Disk::with_faults(log.clone());
        scene.sandbox.now += 60;
        scene.sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(scene.sandbox.now));
        let session = Session::open_or_create(&root, scene.sandbox.host(), false).unwrap();
        let report = session.create(&scene.sandbox.settings, &Recorder::default()).unwrap();
        assert_eq!(report.kind, kind);
        let log = std::mem::take(&mut *log.0.lock().unwrap());
        assert_order(&log, &root, &report.id);
        if kind == BackupKind::Full {
            for folder in ["a", "a/new"] {
                let folder = scene.sandbox.dir.path().join(folder);
                assert!(log.contains(&(DiskChange::SyncDir, folder.clone())), "{} is not synced", folder.display());
            }
        }
    }
}

fn assert_order(log: &[(DiskChange, PathBuf)], root: &Path, id: &BackupId) {
    let staging = root.join(format!(".incomplete-{id}"));
    let published = log.iter().position(|(c, p)| *c == DiskChange::Rename && *p == root.join(id.as_str())).unwrap();
    let last = |change: fn(&DiskChange) -> bool, path: &Path, before: usize| {
        log[..before].iter().rposition(|(c, p)| change(c) && p == path)
    };
    for (at, (change, path)) in log.iter().enumerate() {
        match change {
            DiskChange::Rename => {
                assert_eq!(log[at + 1], (DiskChange::SyncDir, path.parent().unwrap().to_owned()), "{}", path.display());
                let name = path.file_name().unwrap().to_str().unwrap();
                let staged = path.with_file_name(format!(".staged-{name}"));
                let is_link = last(|c| *c == DiskChange::Symlink, path, at).is_some();
                if at != published && !is_link {
                    let written = last(|c| matches!(c, DiskChange::Write(_)), &staged, at).unwrap();
                    let synced = last(|c| *c == DiskChange::SyncFile, &staged, at);
                    assert!(synced > Some(written), "{} got its name before it was synced", path.display());
                }
            }
            DiskChange::MakeFile if path.starts_with(&staging) => {
                assert!(at < published);
                let written = last(|c| matches!(c, DiskChange::Write(_)), path, log.len()).unwrap();
                let synced = last(|c| *c == DiskChange::SyncFile, path, log.len()).unwrap();
                let folder_synced = last(|c| *c == DiskChange::SyncDir, &staging, published).unwrap();
                assert!(written < synced && synced < folder_synced, "{}", path.display());
            }
            _ => {}
        }
        if at > published && path.starts_with(root) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let links = ["latest", ".staged-latest", "latest-good", ".staged-latest-good"];
            let allowed = path == root || links.contains(&name);
            assert!(allowed, "{change:?} of {} after the backup is visible", path.display());
        }
    }
}
