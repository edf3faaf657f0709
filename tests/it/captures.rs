//! What a capture leaves out on purpose, and what it could not take: both are said, and the archive is sound.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use ccbackup::Kind;
use ccbackup::engine::Clock;
use ccbackup::engine::create::CreateReport;
use ccbackup::engine::query;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::Depth;
use ccbackup::model::{BackupId, Moment};
use ccbackup::monitor::Monitor;

use crate::support::{Sandbox, assert_same, is_root, look, noise, run_as_nobody, shell, write};

/// Escaped paths of a backup's entries.
fn paths(sandbox: &Sandbox, id: &BackupId) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let all = Selection::new(&[], &[]).unwrap();
    query::entries(&sandbox.chain(id).unwrap(), &all, &mut |_, entry| {
        paths.insert(entry.path.to_string());
        Ok(())
    })
    .unwrap();
    paths
}

#[test]
fn excludes_marked_folders_caches_and_the_repository_itself_are_left_out() {
    let mut sandbox = Sandbox::new();
    // The repository lies inside what it backs up, as happens when a whole system is captured.
    sandbox.settings.components[0].files_mut().unwrap().paths = vec![sandbox.dir.path().to_owned()];
    sandbox.settings.components[0].files_mut().unwrap().rules.exclude =
        ["*.log", "tree/cache-of-mine/", "tree/private/*", "home"].map(str::to_owned).to_vec();
    let tree = sandbox.tree();
    for kept in ["kept", "log", "cache-of-mine.txt", "deep/down/kept", "private-not"] {
        write(&tree.join(kept), b"k");
    }
    for lost in ["a.log", "deep/b.log", "cache-of-mine/x", "private/y", "marked/z", "cached/w"] {
        write(&tree.join(lost), b"l");
    }
    write(&tree.join("marked/.nobackup"), b"");
    write(&tree.join("cached/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\n# more\n");
    sandbox.settings.components[0].files_mut().unwrap().rules.exclude_caches = true;
    sandbox.settings.components[0].files_mut().unwrap().rules.exclude_if_present = vec![".nobackup".into()];
    let first = sandbox.create();
    let name = sandbox.dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    let second = sandbox.create();
    for id in [first.id, second.id] {
        let found = paths(&sandbox, &id);
        let has = |path: &str| found.contains(&format!("{name}/{path}"));
        for kept in ["kept", "log", "cache-of-mine.txt", "deep/down/kept", "private-not", "marked", "cached", "private"]
        {
            assert!(has(&format!("tree/{kept}")), "{kept} must be there: {found:#?}");
        }
        for lost in ["a.log", "deep/b.log", "cache-of-mine", "cache-of-mine/x", "private/y", "marked/z", "cached/w"] {
            assert!(!has(&format!("tree/{lost}")), "{lost} must be left out: {found:#?}");
        }
        assert!(!has("home"), "{found:#?}");
        assert!(!found.iter().any(|p| p.contains("manifest.json") || p.ends_with(".age")), "{found:#?}");
    }
}

#[test]
fn a_glob_that_means_nothing_is_refused() {
    for glob in ["!kept", "a//b", "../x", "[", "a/./b"] {
        let mut sandbox = Sandbox::new();
        sandbox.settings.components[0].files_mut().unwrap().rules.exclude = vec![glob.into()];
        assert_eq!(sandbox.try_create().unwrap_err().kind(), Kind::Usage, "{glob}");
    }
}

#[test]
fn unreadable_files_are_problems_and_the_rest_is_stored() {
    if !is_root() {
        return unreadable_files_without_privileges();
    }
    run_as_nobody("captures::unreadable_files_without_privileges");
}

#[test]
#[ignore = "must not be run by root; the test above runs it as nobody"]
fn unreadable_files_without_privileges() {
    assert!(!is_root(), "root may read everything");
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    write(&tree.join("good"), b"good");
    write(&tree.join("locked"), b"locked");
    write(&tree.join("large and locked"), &noise(1, 9 << 20));
    write(&tree.join("closed/inside"), b"inside");
    fs::hard_link(tree.join("locked"), tree.join("locked again")).unwrap();
    for (name, mode) in [("locked", 0o000), ("large and locked", 0o200), ("closed", 0o000)] {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let report = sandbox.try_create().unwrap();
    let problems: BTreeSet<_> = report.problems.iter().map(|p| (p.kind.as_str(), p.path.as_str())).collect();
    let unreadable = ["tree/closed", "tree/large and locked", "tree/locked", "tree/locked again"];
    assert_eq!(problems, unreadable.map(|p| ("unreadable", p)).into());
    let found = paths(&sandbox, &report.id);
    assert_eq!(found, ["tree", "tree/closed", "tree/good"].map(str::to_owned).into());
    let verified = sandbox.verify(&report.id, Depth::Deep(100.0));
    assert!(verified.ok && verified.captured_with_problems == 4, "{verified:#?}");
    let out = sandbox.restore(&report.id);
    assert_eq!(fs::read(out.join("good")).unwrap(), b"good");
    // Once they can be read, the next backup has them.
    for (name, mode) in [("locked", 0o600), ("large and locked", 0o600), ("closed", 0o700)] {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let report = sandbox.create();
    assert_same(&look(&tree), &look(&sandbox.restore(&report.id)), "all is readable now");
}

/// Does something to the tree when the first bytes of a large file have been read, and at every further piece.
struct Meddler<F: FnMut(u32) + Send> {
    deed: Mutex<(u32, F)>,
    signal: AtomicI32,
}

impl<F: FnMut(u32) + Send> std::fmt::Debug for Meddler<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl<F: FnMut(u32) + Send> Monitor for Meddler<F> {
    fn stage(&self, _: &str, _: Option<u64>, _: Option<u64>) {}

    fn advance(&self, bytes: u64, _: u64) {
        if bytes > 0 {
            let mut deed = self.deed.lock().unwrap();
            deed.0 += 1;
            let count = deed.0;
            (deed.1)(count);
        }
    }

    fn note(&self, _: &str) {}

    fn stop_signal(&self) -> i32 {
        self.signal.load(Ordering::Relaxed)
    }
}

/// A backup of a tree that changes while its first file, a large one, is read. One worker, so that all else comes after.
fn create_meddled(sandbox: &mut Sandbox, deed: impl FnMut(u32) + Send) -> CreateReport {
    write(&sandbox.tree().join("a large"), &noise(8, 12 << 20));
    sandbox.settings.threads = 1;
    sandbox.now += 60;
    sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(sandbox.now));
    let meddler = Meddler { deed: Mutex::new((0, deed)), signal: AtomicI32::new(0) };
    let report = sandbox.create_watched(&meddler).unwrap_or_else(|e| panic!("create failed: {}", e.one_line()));
    assert!(meddler.deed.lock().unwrap().0 > 1, "nobody meddled");
    report
}

/// The archive is sound whatever happened to the source, and both ways back agree; the next run is clean.
fn sound_and_made_good(sandbox: &mut Sandbox, id: &BackupId) {
    let report = sandbox.verify(id, Depth::Deep(100.0));
    assert!(report.ok, "{:#?}", report.findings);
    assert_same(&look(&sandbox.restore(id)), &look(&sandbox.restore_by_hand(id)), "tool and script");
    let next = sandbox.create();
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&next.id)), "the next backup");
}

fn problems(report: &CreateReport) -> BTreeSet<(&str, &str)> {
    report.problems.iter().map(|p| (p.kind.as_str(), p.path.as_str())).collect()
}

#[test]
fn files_that_vanish_or_become_something_else_are_problems() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    for name in ["gone", "kept", "now a folder", "now a link", "now another"] {
        write(&tree.join(name), name.as_bytes());
    }
    fs::hard_link(tree.join("gone"), tree.join("gone too")).unwrap();
    let deed = |count| {
        if count == 1 {
            for name in ["gone", "gone too", "now a folder", "now a link"] {
                fs::remove_file(tree.join(name)).unwrap();
            }
            fs::create_dir(tree.join("now a folder")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", tree.join("now a link")).unwrap();
            write(&tree.join("new"), b"another inode");
            shell("mv new 'now another'", &tree);
        }
    };
    let report = create_meddled(&mut sandbox, deed);
    let found = problems(&report);
    assert!(found.contains(&("vanished", "tree/gone")), "{found:?}");
    for name in ["tree/now a folder", "tree/now a link"] {
        assert!(found.contains(&("vanished", name)), "{name}: {found:?}");
    }
    // Programs save files by a rename: what is there now is as good.
    assert!(found.iter().all(|p| p.1 != "tree/now another"), "{found:?}");
    let stored = paths(&sandbox, &report.id);
    assert!(stored.contains("tree/kept") && stored.contains("tree/a large"), "{stored:?}");
    assert!(!stored.contains("tree/gone"), "{stored:?}");
    sound_and_made_good(&mut sandbox, &report.id);
}

fn meddle_with_the_large_file(deed: impl Fn(&Path) + Send + Sync) {
    let mut sandbox = Sandbox::new();
    let large = sandbox.tree().join("a large");
    let report = create_meddled(&mut sandbox, |_| deed(&large));
    assert_eq!(problems(&report), [("changed", "tree/a large")].into());
    sound_and_made_good(&mut sandbox, &report.id);
    // The same where the file is known already and only its pieces are stored.
    let mut sandbox = Sandbox::new();
    let large = sandbox.tree().join("a large");
    write(&large, &noise(8, 12 << 20));
    sandbox.create();
    let report = create_meddled(&mut sandbox, |_| deed(&large));
    assert_eq!(problems(&report), [("changed", "tree/a large")].into());
    sound_and_made_good(&mut sandbox, &report.id);
}

#[test]
fn a_large_file_that_grows_while_it_is_read_is_stored_soundly_and_said() {
    meddle_with_the_large_file(|large| {
        fs::OpenOptions::new().append(true).open(large).unwrap().write_all(b"more").unwrap();
    });
}

#[test]
fn a_large_file_that_is_written_to_while_it_is_read_is_stored_soundly_and_said() {
    meddle_with_the_large_file(|large| {
        let file = fs::OpenOptions::new().write(true).open(large).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &noise(1, 5000), 11 << 20).unwrap();
    });
}

#[test]
fn a_large_file_that_is_cut_while_it_is_read_is_stored_soundly_and_said() {
    meddle_with_the_large_file(|large| {
        let length = fs::metadata(large).unwrap().len();
        fs::OpenOptions::new().write(true).open(large).unwrap().set_len(length / 8 * 7).unwrap();
    });
}

#[test]
fn large_files_of_any_length_get_through_with_one_worker() {
    let mut sandbox = Sandbox::plain();
    sandbox.settings.threads = 1;
    for mebibytes in [8, 12, 16, 20, 24, 28, 32, 36, 40, 44] {
        write(&sandbox.tree().join(format!("{mebibytes}")), &noise(mebibytes, (mebibytes as usize) << 20));
    }
    sandbox.create();
}

#[test]
fn small_files_that_are_rewritten_all_the_time_come_back_as_something_that_was_there() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    let names: Vec<_> = (0..50).map(|n| format!("f{n}")).collect();
    for name in &names {
        write(&tree.join(name), &vec![0; 50_000]);
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in (0_u8..=255).cycle().skip(1) {
                for name in &names {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let length = 30_000 + usize::from(round) * 100;
                    write(&tree.join(name), &vec![round; length]);
                }
            }
        });
        let reports: Vec<_> = (0..4).map(|_| sandbox.try_create()).collect();
        stop.store(true, Ordering::Relaxed);
        reports.into_iter().map(|r| r.unwrap()).last().unwrap()
    });
    assert!(report.problems.iter().all(|p| p.kind.as_str() == "changed"), "{:?}", report.problems);
    let torn: BTreeSet<_> = report.problems.iter().map(|p| p.path.clone()).collect();
    let restored = restored_with_problems(&sandbox, &report.id);
    for name in &names {
        let content = fs::read(restored.join(name)).unwrap();
        let whole = content.windows(2).all(|w| w[0] == w[1]);
        assert!(whole || torn.contains(&format!("tree/{name}")), "{name} is torn and no problem was noted");
    }
    sound_and_made_good(&mut sandbox, &report.id);
}

fn restored_with_problems(sandbox: &Sandbox, id: &BackupId) -> PathBuf {
    let target = sandbox.scratch("torn");
    let report = sandbox.try_restore(id, &target, |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    target.join("files/tree")
}
