//! What lies beyond a limit, or holds nothing, costs itself and never the backup; what was only distrusted costs nothing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ccbackup::engine::verify::Depth;
use ccbackup::model::BackupKind;

use crate::support::{Sandbox, assert_same, look, noise, write};

/// A folder on a file system that takes files of any size; none when there is no such place here.
fn huge_files() -> Option<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("ccbackup-limits").tempdir_in("/dev/shm").ok()?;
    let file = File::create(dir.path().join("probe")).ok()?;
    file.set_len(1 << 62).ok()?;
    fs::remove_file(dir.path().join("probe")).ok()?;
    Some(dir)
}

#[test]
fn files_beyond_the_largest_size_are_problems_and_sums_do_not_overflow() {
    let Some(dir) = huge_files() else {
        eprintln!("SKIPPED: /dev/shm takes no files of 2^62 bytes here, so nothing was tested");
        return;
    };
    let mut sandbox = Sandbox::new();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    sandbox.settings.components[0].files_mut().unwrap().paths = vec![tree.clone()];
    write(&tree.join("small"), b"small");
    for (name, size) in [("beyond", (1_u64 << 60) + 1), ("two EiB", 2 << 60)] {
        let file = File::create(tree.join(name)).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"x", size - 1).unwrap();
    }
    for number in 0..20 {
        File::create(tree.join(format!("largest {number:02}"))).unwrap().set_len(1 << 60).unwrap();
    }
    for _ in 0..2 {
        let report = sandbox.try_create().unwrap();
        let found: Vec<_> = report.problems.iter().map(|p| (p.kind.as_str(), p.path.as_str())).collect();
        assert_eq!(found, [("unsupported", "tree/beyond"), ("unsupported", "tree/two EiB")]);
        assert_eq!(report.components[0].entries, 22);
        let verified = sandbox.verify(&report.id, Depth::Deep(100.0));
        assert!(verified.ok, "{:?}", verified.findings);
        let target = dir.path().join("out");
        let restored = sandbox.try_restore(&report.id, &target, |_| {}).unwrap();
        assert!(restored.findings.is_empty(), "{:?}", restored.findings);
        assert_eq!(fs::read(target.join("files/tree/small")).unwrap(), b"small");
        assert_eq!(fs::metadata(target.join("files/tree/largest 19")).unwrap().len(), 1 << 60);
        fs::remove_dir_all(target).unwrap();
        // A file system that cannot hold such files costs only them.
        let elsewhere = sandbox.scratch("elsewhere");
        let restored = sandbox.try_restore(&report.id, &elsewhere, |_| {}).unwrap();
        assert_eq!(fs::read(elsewhere.join("files/tree/small")).unwrap(), b"small");
        assert!(restored.findings.is_empty(), "{:?}", restored.findings);
        let unmade = (0..20).filter(|n| !elsewhere.join(format!("files/tree/largest {n:02}")).exists()).count();
        let said = restored.problems.iter().filter(|p| p.kind.as_str() == "not-restored").count();
        assert_eq!((unmade, said), (said, restored.problems.len()), "{:?}", restored.problems);
    }
}

#[test]
fn a_component_without_an_entry_is_said_and_later_backups_go_on() {
    let mut sandbox = Sandbox::new();
    let socket = sandbox.dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    write(&sandbox.tree().join("file"), b"1");
    let mut empty = sandbox.settings.components[0].clone();
    empty.name = "empty".into();
    empty.files_mut().unwrap().paths = vec![socket.clone()];
    let mut own = empty.clone();
    own.name = "own".into();
    own.files_mut().unwrap().paths = vec![sandbox.root()];
    sandbox.settings.components.insert(0, empty);
    sandbox.settings.components.push(own);
    fs::create_dir(sandbox.root()).unwrap();
    for run in 0..3 {
        if run == 2 {
            // Something is there after all.
            fs::remove_file(&socket).unwrap();
            write(&socket, b"a file now");
        }
        let report = sandbox.try_create().unwrap();
        let found: Vec<_> = report.problems.iter().map(|p| (p.kind.as_str(), p.path.as_str())).collect();
        let all = [("unsupported", "socket"), ("unsupported", "backups")];
        assert_eq!(found, if run < 2 { &all[..] } else { &all[1..] });
        assert_eq!(report.kind, if run == 0 { BackupKind::Full } else { BackupKind::Incremental });
        let verified = sandbox.verify(&report.id, Depth::Deep(100.0));
        assert!(verified.ok, "{:?}", verified.findings);
        let target = sandbox.scratch("out");
        let restored = sandbox.try_restore(&report.id, &target, |_| {}).unwrap();
        assert!(restored.findings.is_empty() && restored.problems.is_empty());
        assert_same(&look(&sandbox.tree()), &look(&target.join("files/tree")), "the other component");
    }
}

/// A backup whose start lies `seconds` behind the last change of the tree.
fn after(sandbox: &mut Sandbox, seconds: i64) -> ccbackup::engine::create::CreateReport {
    sandbox.now = jiff::Timestamp::now().as_second() + seconds - 60;
    sandbox.create()
}

#[test]
fn timestamps_of_files_are_believed_after_a_minute_and_distrust_costs_one_reading() {
    for (seconds, read_again) in [(30, true), (59, true), (70, false)] {
        let mut sandbox = Sandbox::new();
        write(&sandbox.tree().join("file"), &noise(1, 5000));
        write(&sandbox.tree().join("large"), &noise(2, 9 << 20));
        after(&mut sandbox, seconds);
        let second = sandbox.create();
        let component = &second.components[0];
        assert_eq!(component.bytes_read > 0, read_again, "{seconds} s");
        assert_eq!(component.new_entries, 0, "{seconds} s");
        let archives = sandbox.chain(&second.id).unwrap().backup.manifest.components[0].archives.len();
        assert_eq!(archives, 0, "nothing of what was only read again is stored, {seconds} s");
    }
}

#[test]
fn a_large_file_in_pieces_that_is_only_read_again_stores_nothing() {
    let mut sandbox = Sandbox::new();
    let large = sandbox.tree().join("large");
    write(&large, &noise(1, 12 << 20));
    sandbox.create();
    File::options().write(true).open(&large).unwrap().write_all_at(b"changed", 5 << 20).unwrap();
    let second = sandbox.create();
    assert_eq!(second.components[0].new_entries, 1);
    let third = sandbox.create();
    let manifest = &sandbox.chain(&third.id).unwrap().backup.manifest;
    assert_eq!((third.components[0].new_entries, manifest.components[0].archives.len()), (0, 0));
    assert!(third.components[0].bytes_read > 0);
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&third.id)), "after three backups");
}

#[test]
fn a_base_that_lost_a_file_is_noticed_and_a_full_backup_says_why() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("files.tar.zst.age", |path| fs::remove_file(path).unwrap()),
        ("files.tar.zst.age", |path| File::options().write(true).open(path).unwrap().set_len(100).unwrap()),
        ("files.index.zst.age", |path| fs::remove_file(path).unwrap()),
        ("manifest.json", |path| write(path, b"{}\n")),
    ];
    for (name, harm) in harms {
        for depth in 0..2 {
            let mut sandbox = Sandbox::new();
            write(&sandbox.tree().join("file"), &noise(1, 5000));
            let first = sandbox.create().id;
            write(&sandbox.tree().join("more"), &noise(2, 5000));
            let second = sandbox.create().id;
            let harmed = if depth == 0 { &second } else { &first };
            harm(&sandbox.root().join(harmed.as_str()).join(name));
            let report = sandbox.create();
            assert_eq!(report.kind, BackupKind::Full, "{name}");
            let why = report.full_because.as_ref().map(|full| full.why.as_str()).unwrap_or_default();
            // What cannot be read at all is not the newest any more.
            if (name, depth) != ("manifest.json", 0) {
                assert!(why.contains(harmed.as_str()) && why.contains(name), "{why}");
            }
            assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), "the full backup");
        }
    }
}

#[test]
fn what_is_planted_as_an_incomplete_backup_is_never_followed_and_takes_nothing_from_the_next() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("file"), b"1");
    let first = sandbox.create();
    let victim: PathBuf = sandbox.dir.path().join("victim");
    write(&victim.join("precious"), b"precious");
    let root = sandbox.root();
    std::os::unix::fs::symlink(&victim, root.join(".incomplete-20260117-150000")).unwrap();
    write(&root.join(".incomplete-20260117-150001"), b"a file");
    write(&root.join(".incomplete-20260117-150002/.finished-files.json"), b"{}");
    fs::create_dir(root.join(format!(".incomplete-{}", first.id))).unwrap();
    assert_eq!(sandbox.create().kind, BackupKind::Incremental);
    assert_eq!(fs::read(victim.join("precious")).unwrap(), b"precious");
    let folders = sandbox.repo().incomplete_ids().unwrap();
    assert!(folders.is_empty(), "{folders:?}");
}
