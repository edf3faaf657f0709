//! What a run that was cut short has finished is taken over, if nothing about it has changed; a restore that was cut
//! short is continued.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ccbackup::ComponentConfig;
use ccbackup::durable::{Disk, DiskChange, Faults};
use ccbackup::engine::create;
use ccbackup::engine::restore;
use ccbackup::engine::verify::Depth;
use ccbackup::error::Kind;
use ccbackup::model::{BackupId, BackupKind, Moment};
use ccbackup::monitor::{Monitor, Recorder};

use crate::support::{Sandbox, assert_same, look, noise, write};

/// The process dies when a file of this name is about to be made.
#[derive(Debug)]
struct DiesAt {
    name: &'static str,
    dead: AtomicBool,
}

impl Faults for DiesAt {
    fn before(&self, change: DiskChange, path: &Path) -> Result<(), (usize, io::Error)> {
        if change == DiskChange::MakeFile && path.ends_with(self.name) {
            self.dead.store(true, Ordering::SeqCst);
        }
        if self.dead.load(Ordering::SeqCst) { Err((0, io::Error::other("the process is dead"))) } else { Ok(()) }
    }
}

/// A host with the components `first` and `second`, whose run died when the archive of the second was begun.
struct Cut {
    sandbox: Sandbox,
    id: BackupId,
    dir: PathBuf,
    /// Inode and time of the first component's archive.
    archive: (u64, i64, i64),
}

/// Inode numbers alone are given out again.
fn identity(path: &Path) -> Option<(u64, i64, i64)> {
    fs::metadata(path).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()))
}

/// What a run notes about its first component.
const NOTE: &str = "first.finished.json";

const TAKEN_OVER: &str = "first: taken over from the run that was cut short";

impl Cut {
    /// `earlier` backups exist.
    fn new(earlier: usize) -> Self {
        let mut sandbox = Sandbox::plain();
        sandbox.settings.components.clear();
        for name in ["first", "second"] {
            let root = sandbox.tree().join(name);
            write(&root.join("file"), name.as_bytes());
            write(&root.join("longer"), &noise(1, 40_000));
            sandbox.settings.components.push(ComponentConfig::of_files(name, vec![root]));
        }
        sandbox.now = jiff::Timestamp::now().as_second() + 3600;
        for _ in 0..earlier {
            sandbox.create();
            for name in ["first", "second"] {
                write(&sandbox.tree().join(name).join("file"), format!("{name}, changed").as_bytes());
            }
        }
        let faults = Arc::new(DiesAt { name: "second.tar.zst", dead: AtomicBool::new(false) });
        sandbox.host.disk = Disk::with_faults(faults.clone());
        assert!(sandbox.try_create().is_err());
        assert!(faults.dead.load(Ordering::SeqCst), "the fault has not fired");
        sandbox.host.disk = Disk::default();
        let id = sandbox.repo().incomplete_ids().unwrap().pop().expect("a staging folder");
        let dir = sandbox.root().join(format!(".incomplete-{id}"));
        let archive = identity(&dir.join("first.tar.zst")).unwrap();
        Self { sandbox, id, dir, archive }
    }

    /// A file of the first component; notes lie in the state folder.
    fn file(&self, name: &str) -> PathBuf {
        let folder = if name == NOTE { self.sandbox.state().copies_dir(&self.id) } else { self.dir.clone() };
        folder.join(name)
    }

    /// The next run; whether it took the first component over.
    fn go_on(&mut self) -> (create::CreateReport, bool) {
        self.sandbox.now += 60;
        let sandbox = &mut self.sandbox;
        sandbox.host.clock = ccbackup::engine::Clock::Fixed(Moment::from_unix_seconds(sandbox.now));
        let recorder = Recorder::default();
        let report = sandbox.create_watched(&recorder).unwrap_or_else(|e| panic!("{}", e.one_line()));
        let notes = recorder.notes.into_inner().unwrap();
        let said = notes.iter().any(|n| n == TAKEN_OVER);
        let archive = sandbox.root().join(report.id.as_str()).join("first.tar.zst");
        let same = identity(&archive) == Some(self.archive);
        assert_eq!(said, same, "what is said is not what was done: {notes:?}");
        assert!(sandbox.repo().incomplete_ids().unwrap().is_empty());
        let checked = sandbox.verify_with(&report.id, Depth::Deep(100.0), false).unwrap();
        assert!(checked.ok, "{:#?}", checked.findings);
        (report, same)
    }

    fn assert_restores(&self, id: &BackupId, names: &[&str]) {
        let target = self.sandbox.scratch("restored");
        self.sandbox.try_restore(id, &target, |_| {}).unwrap();
        for name in names {
            assert_same(&look(&self.sandbox.tree().join(name)), &look(&target.join(name).join(name)), name);
        }
    }
}

#[test]
fn the_next_run_takes_over_the_component_that_was_finished() {
    for earlier in [0, 1] {
        let mut cut = Cut::new(earlier);
        let (report, taken) = cut.go_on();
        assert!(taken, "after {earlier} backups");
        assert_eq!(report.id, cut.id);
        assert_eq!(report.kind == BackupKind::Incremental, earlier > 0);
        cut.assert_restores(&report.id, &["first", "second"]);
        let again = cut.sandbox.create();
        assert_eq!(again.kind, BackupKind::Incremental);
        assert!(again.components.iter().all(|c| c.new_entries == 0 && c.bytes_read == 0), "{again:#?}");
    }
}

/// The component that was taken over is as old as its capture; the run after must see what changed since.
#[test]
fn a_change_after_the_cut_is_in_the_next_backup_at_the_latest() {
    let mut cut = Cut::new(1);
    write(&cut.sandbox.tree().join("first/file"), b"changed after the cut");
    assert!(cut.go_on().1);
    let report = cut.sandbox.create();
    cut.assert_restores(&report.id, &["first", "second"]);
}

#[test]
fn a_staged_file_that_was_damaged_is_not_taken_over() {
    for name in ["first.tar.zst", "first.index.zst", NOTE] {
        let mut cut = Cut::new(1);
        let path = cut.file(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (report, taken) = cut.go_on();
        assert!(!taken, "{name}");
        cut.assert_restores(&report.id, &["first", "second"]);
    }
}

#[test]
fn a_staged_file_that_is_gone_or_cut_off_is_not_taken_over() {
    for name in ["first.tar.zst", "first.index.zst", NOTE] {
        for length in [None, Some(0), Some(20)] {
            let mut cut = Cut::new(0);
            let path = cut.file(name);
            match length {
                None => fs::remove_file(&path).unwrap(),
                Some(length) => fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap(),
            }
            let (report, taken) = cut.go_on();
            assert!(!taken, "{name} {length:?}");
            cut.assert_restores(&report.id, &["first", "second"]);
        }
    }
}

/// Whoever can write to the repository has no say in what the next run signs.
#[test]
fn the_repository_holds_no_notes_about_finished_components_and_none_there_is_believed() {
    let mut cut = Cut::new(0);
    let names: Vec<_> = fs::read_dir(&cut.dir).unwrap().map(|item| item.unwrap().file_name()).collect();
    let is_data = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".zst");
    assert!(!names.is_empty() && names.iter().all(is_data), "{names:?}");
    let planted = noise(9, 1000);
    let mut note: serde_json::Value = serde_json::from_slice(&fs::read(cut.file(NOTE)).unwrap()).unwrap();
    note["record"]["archives"][0]["sha256"] = ccbackup::model::Digest::of(&planted).to_string().into();
    write(&cut.dir.join("first.tar.zst"), &planted);
    for name in [".finished-first.json", NOTE] {
        write(&cut.dir.join(name), note.to_string().as_bytes());
    }
    let (report, taken) = cut.go_on();
    assert!(!taken);
    cut.assert_restores(&report.id, &["first", "second"]);
}

/// Without it the run after would have nothing to compare with.
#[test]
fn a_component_whose_local_index_copy_is_damaged_or_gone_is_not_taken_over() {
    for damaged in [true, false] {
        let mut cut = Cut::new(1);
        let copies = cut.sandbox.state().copies_dir(&cut.id);
        if damaged {
            let mut file = fs::OpenOptions::new().append(true).open(copies.join("first.segments")).unwrap();
            io::Write::write_all(&mut file, b"x").unwrap();
        } else {
            fs::remove_dir_all(copies).unwrap();
        }
        let (report, taken) = cut.go_on();
        assert!(!taken);
        cut.assert_restores(&report.id, &["first", "second"]);
        assert_eq!(cut.sandbox.create().kind, BackupKind::Incremental);
    }
}

#[test]
fn a_component_whose_settings_changed_is_not_taken_over() {
    #[expect(clippy::type_complexity, reason = "a table that is read once")]
    let changes: [(&str, fn(&mut Sandbox)); 5] = [
        ("rehash", |s| s.settings.rehash = true),
        ("exclude", |s| s.settings.components[0].files_mut().unwrap().rules.exclude = vec!["nothing*".into()]),
        ("level", |s| s.settings.level = 5),
        ("volumes", |s| s.settings.volume_bytes = 1 << 20),
        ("root", |s| {
            write(&s.tree().join("elsewhere/first/file"), b"another");
            s.settings.components[0].files_mut().unwrap().paths = vec![s.tree().join("elsewhere/first")];
        }),
    ];
    for (what, change) in changes {
        let mut cut = Cut::new(0);
        change(&mut cut.sandbox);
        let (report, taken) = cut.go_on();
        assert!(!taken, "{what}");
        cut.assert_restores(&report.id, if what == "root" { &["second"] } else { &["first", "second"] });
    }
}

#[test]
fn a_component_that_is_not_what_is_expected_of_it_is_not_taken_over() {
    let mut cut = Cut::new(0);
    cut.sandbox.settings.components[0].expect.min_entries = Some(4);
    // What is missing may be there by now, so it is looked at again.
    let (report, taken) = cut.go_on();
    assert!(!taken);
    assert!(report.problems[0].detail.contains("has 3 entries, at least 4 are expected"), "{report:#?}");
    cut.assert_restores(&report.id, &["first", "second"]);
}

#[test]
fn a_component_that_would_be_sealed_for_others_is_not_taken_over() {
    let mut cut = Cut::new(0);
    let key = ccbackup::keys::AesKey::generate(&cut.sandbox.identity()).unwrap();
    cut.sandbox.settings.sealer = ccbackup::archive::seal::Sealer::aes(&key);
    let (report, taken) = cut.go_on();
    assert!(!taken);
    assert!(report.encrypted);
    assert!(!cut.sandbox.root().join(report.id.as_str()).join("first.tar.zst").exists());
}

#[test]
fn a_component_on_another_base_is_not_taken_over() {
    // The base is gone: the run is a full backup, and the staged part of an incremental is no use to it.
    let mut cut = Cut::new(1);
    cut.sandbox.settings.full = true;
    let (report, taken) = cut.go_on();
    assert!(!taken);
    assert_eq!(report.kind, BackupKind::Full);
    cut.assert_restores(&report.id, &["first", "second"]);
}

#[test]
fn what_was_cut_short_long_ago_is_captured_anew() {
    for (hours, expected) in [(5, true), (7, false)] {
        let mut cut = Cut::new(0);
        cut.sandbox.now += hours * 3600;
        let (report, taken) = cut.go_on();
        assert_eq!(taken, expected, "after {hours} hours");
        cut.assert_restores(&report.id, &["first", "second"]);
    }
}

#[test]
fn a_component_that_is_no_longer_wanted_leaves_nothing_in_the_backup() {
    let mut cut = Cut::new(0);
    cut.sandbox.settings.components.remove(0);
    let (report, _) = cut.go_on();
    let names: Vec<_> = fs::read_dir(cut.sandbox.root().join(report.id.as_str())).unwrap().collect();
    assert!(names.iter().all(|n| !n.as_ref().unwrap().file_name().to_string_lossy().contains("first")), "{names:?}");
}

/// Asks to stop after so many entries.
#[derive(Debug)]
struct Impatient(AtomicI64);

impl Monitor for Impatient {
    fn stage(&self, _name: &str, _total_bytes: Option<u64>, _total_entries: Option<u64>) {}

    fn advance(&self, _bytes: u64, entries: u64) {
        self.0.fetch_sub(entries.cast_signed(), Ordering::SeqCst);
    }

    fn note(&self, _text: &str) {}

    fn stop_signal(&self) -> i32 {
        if self.0.load(Ordering::SeqCst) < 0 { 2 } else { 0 }
    }
}

/// A tree whose files lie in many frames, so that a restore has many steps.
fn many_frames(sandbox: &Sandbox) {
    for number in 0..60_u64 {
        write(&sandbox.tree().join(format!("{}/{number}", number % 7)), &noise(number, 900_000));
    }
    write(&sandbox.tree().join("large"), &noise(99, 10 << 20));
    fs::hard_link(sandbox.tree().join("large"), sandbox.tree().join("z second name")).unwrap();
    fs::set_permissions(sandbox.tree().join("3"), std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
}

/// What has which inode below a folder: a file that is written again gets another.
fn inodes(root: &Path) -> BTreeMap<PathBuf, u64> {
    let items = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|i| !i.file_type().is_dir());
    items.map(|i| (i.path().to_owned(), i.metadata().unwrap().ino())).collect()
}

#[test]
fn a_restore_that_was_cut_short_is_continued_and_writes_only_what_is_missing() {
    let mut sandbox = Sandbox::new();
    many_frames(&sandbox);
    let expected = look(&sandbox.tree());
    let id = sandbox.create().id;
    write(&sandbox.tree().join("0/0"), b"another");
    let other = sandbox.create().id;
    for entries in [0, 10, 40] {
        let target = sandbox.scratch("target");
        let options = restore::RestoreOptions { threads: 2, ..Default::default() };
        let impatient = Impatient(AtomicI64::new(entries));
        let cut = sandbox.reader().unwrap().restore(&id, &target, options, &impatient).unwrap_err();
        assert_eq!(cut.kind(), Kind::Interrupted(2));
        assert!(target.join(".ccbackup-restore.json").exists(), "the marker stays");
        let written = inodes(&target.join("files"));
        let part = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().ends_with(".part");
        assert!(written.len() < expected.len() && !written.keys().any(part), "{entries}: {written:?}");

        let refused = sandbox.try_restore(&other, &target, |_| {}).unwrap_err();
        assert_eq!(refused.kind(), Kind::WouldOverwrite, "{}", refused.one_line());
        assert_eq!(inodes(&target.join("files")), written, "a refusal changes nothing");

        let report = sandbox.try_restore(&id, &target, |_| {}).unwrap();
        assert_same(&expected, &look(&target.join("files/tree")), "continued");
        assert!(!target.join(".ccbackup-restore.json").exists());
        let now = inodes(&target.join("files"));
        let rewritten = written.iter().filter(|(path, inode)| now.get(*path) != Some(inode)).count();
        assert_eq!(rewritten, 0, "{entries}: files that were there already are written again");
        assert_eq!(report.unchanged, written.len() as u64, "{entries}");
        assert!(entries == 0 || report.unchanged > 0, "nothing was restored before the cut");
    }
}

/// A process that is killed cannot tidy up: what it was writing lies there under another name.
#[test]
fn a_restore_that_was_killed_is_continued_and_its_parts_are_swept_away() {
    let mut sandbox = Sandbox::new();
    many_frames(&sandbox);
    let expected = look(&sandbox.tree());
    let id = sandbox.create().id;
    let target = sandbox.scratch("target");
    sandbox.try_restore(&id, &target, |_| {}).unwrap();
    // The marker of a run that is still going on.
    let impatient = Impatient(AtomicI64::new(-1));
    let options = restore::RestoreOptions { overwrite: true, threads: 2, ..Default::default() };
    assert!(sandbox.reader().unwrap().restore(&id, &target, options, &impatient).is_err());
    let tree = target.join("files/tree");
    fs::remove_file(tree.join("large")).unwrap();
    fs::remove_file(tree.join("z second name")).unwrap();
    write(&tree.join(".ccbackup-0123456789abcdef.part"), b"half");
    write(&tree.join("1/1"), b"half");
    let report = sandbox.try_restore(&id, &target, |_| {}).unwrap();
    assert_same(&expected, &look(&tree), "continued");
    assert!(report.unchanged >= 50, "{report:?}");
}
