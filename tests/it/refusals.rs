//! What is refused, with which kind and exit code; and what a capture leaves out or could not take, said as it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use ccbackup::engine::create::{self, Report};
use ccbackup::engine::query;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::Depth;
use ccbackup::engine::{Clock, restore};
use ccbackup::keys::{AesKey, Keys, generate_identity};
use ccbackup::model::{BackupId, BackupKind};
use ccbackup::monitor::{Monitor, Recorder};
use ccbackup::repo::Repository;
use ccbackup::repo::signing::Signer;
use ccbackup::{Error, Kind, Result};

use crate::support::{Sandbox, assert_same, is_root, look, noise, shell, succeed, write};

fn assert_refused<T>(result: Result<T>, kind: Kind, exit_code: u8, about: &str) -> Error {
    let Err(error) = result else { panic!("{about}: it was accepted") };
    assert_eq!(error.kind(), kind, "{about}: {}", error.one_line());
    assert_eq!(error.kind().exit_code(), exit_code, "{about}");
    error
}

fn small(mut sandbox: Sandbox) -> (Sandbox, BackupId) {
    write(&sandbox.tree().join("one"), b"one");
    write(&sandbox.tree().join("dir/two"), &noise(1, 2000));
    let id = sandbox.create().id;
    (sandbox, id)
}

fn visible_backups(sandbox: &Sandbox) -> usize {
    let names = fs::read_dir(sandbox.root()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.parse::<BackupId>().is_ok()).count()
}

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

// Keys.

#[test]
fn without_a_key_or_with_a_wrong_one_nothing_is_restored() {
    for (sandbox, aes) in [(Sandbox::new(), false), (Sandbox::aes(), true)] {
        let (sandbox, id) = small(sandbox);
        let other = sandbox.dir.path().join("other key");
        if aes {
            AesKey::generate(&other).unwrap();
        } else {
            generate_identity(&other, None, "2026-01-17T14:30:00Z").unwrap();
        }
        let unrelated = sandbox.dir.path().join("unrelated key");
        if aes {
            generate_identity(&unrelated, None, "2026-01-17T14:30:00Z").unwrap();
        } else {
            AesKey::generate(&unrelated).unwrap();
        }
        for (keys, kind) in [
            (Keys::none(), Kind::NoKey),
            (Keys::load(std::slice::from_ref(&other)).unwrap(), Kind::WrongKey),
            (Keys::load(std::slice::from_ref(&unrelated)).unwrap(), Kind::NoKey),
        ] {
            let about = format!("{kind:?}, aes {aes}");
            let chain = ccbackup::engine::chain::Chain::open(&sandbox.repo(), &id, &sandbox.trust(), keys).unwrap();
            let target = sandbox.scratch("out");
            let options = options();
            let error =
                assert_refused(restore::restore(&chain, &target, &options, &Recorder::default()), kind, 1, &about);
            assert!(error.hint_text().is_some(), "{about}: there must be advice");
            assert!(!target.join("files/tree").exists(), "{about}");
        }
        // Two keys of which one fits.
        let keys = Keys::load(&[other, sandbox.identity()]).unwrap();
        let chain = ccbackup::engine::chain::Chain::open(&sandbox.repo(), &id, &sandbox.trust(), keys).unwrap();
        restore::restore(&chain, &sandbox.scratch("out"), &options(), &Recorder::default()).unwrap();
    }
}

fn options() -> restore::Options {
    restore::Options {
        components: vec![],
        selection: Selection::new(&[], &[]).unwrap(),
        overwrite: false,
        delete: false,
        threads: 2,
        disk: ccbackup::durable::Disk::default(),
    }
}

// Trust.

#[test]
fn an_unsigned_or_foreign_backup_is_refused_unless_that_is_waived() {
    let (sandbox, id) = small(Sandbox::new());
    let other = Signer::generate(&sandbox.dir.path().join("other")).unwrap();
    let open = |signers: Vec<_>, allow_unsigned| {
        let trust = ccbackup::repo::backup::Trust { signers, allow_unsigned };
        ccbackup::engine::chain::Chain::open(&sandbox.repo(), &id, &trust, sandbox.keys())
    };
    assert_refused(open(vec![other.public()], false), Kind::WrongSigner, 5, "signed by another");
    assert_refused(open(vec![], false), Kind::Unsigned, 5, "nobody is trusted");
    assert!(open(vec![other.public(), sandbox.signer.public()], false).unwrap().backup.signer.is_some());
    assert!(open(vec![other.public()], true).unwrap().backup.signer.is_none());
    fs::remove_file(sandbox.root().join(id.as_str()).join("SHA256SUMS.sig")).unwrap();
    let error = assert_refused(open(vec![sandbox.signer.public()], false), Kind::Unsigned, 5, "no signature");
    assert!(error.hint_text().is_some_and(|h| h.contains("--allow-unsigned")));
    assert!(open(vec![], true).unwrap().backup.signer.is_none());
}

#[test]
fn a_waived_signature_does_not_waive_the_digests() {
    let (sandbox, id) = small(Sandbox::plain());
    let dir = sandbox.root().join(id.as_str());
    fs::remove_file(dir.join("SHA256SUMS.sig")).unwrap();
    let mut manifest = fs::read(dir.join("manifest.json")).unwrap();
    manifest.push(b'\n');
    write(&dir.join("manifest.json"), &manifest);
    let trust = ccbackup::repo::backup::Trust { signers: vec![], allow_unsigned: true };
    let opened = ccbackup::engine::chain::Chain::open(&sandbox.repo(), &id, &trust, Keys::none());
    assert_refused(opened, Kind::Damage, 4, "a changed manifest");
}

#[test]
fn a_newer_format_is_refused_by_its_name() {
    let (mut sandbox, _) = small(Sandbox::new());
    let path = sandbox.root().join("repository.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 2");
    write(&path, text.as_bytes());
    assert_refused(Repository::open(&sandbox.root()), Kind::NewerFormat, 1, "opened");
    assert_refused(sandbox.try_create(), Kind::NewerFormat, 1, "written to");
    assert_eq!(visible_backups(&sandbox), 1);
}

// Who may write.

#[test]
fn the_repository_of_another_host_is_refused_until_it_is_adopted() {
    let (mut sandbox, first) = small(Sandbox::new());
    let stranger = Signer::generate(&sandbox.dir.path().join("stranger")).unwrap();
    let own = std::mem::replace(&mut sandbox.signer, stranger);
    sandbox.settings.host_id = Some(sandbox.signer.public().fingerprint());
    sandbox.settings.host = "stranger".into();
    sandbox.settings.state_dir = sandbox.dir.path().join("stranger's state");
    let error = assert_refused(sandbox.try_create(), Kind::OtherHost, 5, "another host");
    assert!(error.one_line().contains("\"test\"") && error.hint_text().is_some_and(|h| h.contains("--adopt")));
    assert_eq!(visible_backups(&sandbox), 1);
    sandbox.settings.adopt = true;
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    assert!(report.full_because.is_some(), "it must say why it is a full backup");
    sandbox.settings.adopt = false;
    assert_eq!(sandbox.create().kind, BackupKind::Incremental, "it is this host's now");
    // And the first host is the stranger from now on.
    sandbox.signer = own;
    sandbox.settings.host_id = Some(sandbox.signer.public().fingerprint());
    assert_refused(sandbox.try_create(), Kind::OtherHost, 5, "the first host");
    assert!(sandbox.chain(&first).is_ok());
}

#[test]
fn a_clock_that_stands_before_the_newest_backup_is_refused() {
    let (mut sandbox, _) = small(Sandbox::new());
    sandbox.now -= 3600;
    assert_refused(sandbox.try_create(), Kind::ClockBack, 5, "an hour back");
    assert_eq!(visible_backups(&sandbox), 1);
    sandbox.now += 3600;
    sandbox.create();
    // The same second is no step back; the second backup of it gets a name of its own.
    sandbox.now -= 60;
    let twin = sandbox.create();
    assert!(twin.id.as_str().ends_with("-2"), "{}", twin.id);
}

#[test]
fn two_runs_at_once_are_refused_and_readers_are_not() {
    let (mut sandbox, id) = small(Sandbox::new());
    let guard = sandbox.repo().lock().unwrap();
    assert_refused(sandbox.repo().lock(), Kind::Locked, 5, "a second lock");
    assert_refused(sandbox.try_create(), Kind::Locked, 5, "a second run");
    assert!(sandbox.verify(&id, Depth::Keyless).ok);
    sandbox.restore(&id);
    drop(guard);
    sandbox.create();
}

#[test]
fn a_folder_that_is_no_repository_is_refused_and_left_alone() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.root().join("thesis.txt"), b"precious");
    let before = look(&sandbox.root());
    assert_refused(sandbox.try_create(), Kind::WouldOverwrite, 5, "a folder with something in it");
    assert_same(&before, &look(&sandbox.root()), "the folder");
    assert_refused(Repository::open(&sandbox.root()), Kind::NotFound, 1, "opened");
    assert_refused(Repository::open(&sandbox.dir.path().join("nothing")), Kind::NotFound, 1, "nothing there");
    // A repository that lost its record is damaged, not new.
    let (mut sandbox, _) = small(Sandbox::new());
    fs::remove_file(sandbox.root().join("repository.json")).unwrap();
    assert_refused(sandbox.try_create(), Kind::Damage, 4, "no repository.json");
    assert_refused(Repository::open(&sandbox.root()), Kind::Damage, 4, "no repository.json");
}

// Restoring over something.

#[test]
fn a_target_that_is_not_empty_is_refused_and_left_alone() {
    let (sandbox, id) = small(Sandbox::new());
    let target = sandbox.dir.path().join("target");
    write(&target.join("files/tree/one"), b"mine");
    let before = look(&target);
    let error = assert_refused(sandbox.try_restore(&id, &target, |_| {}), Kind::WouldOverwrite, 5, "not empty");
    assert!(error.hint_text().is_some_and(|h| h.contains("--overwrite")));
    assert_same(&before, &look(&target), "the target");
    let deleting = sandbox.try_restore(&id, &target, |o| o.delete = true);
    assert_refused(deleting, Kind::WouldOverwrite, 5, "--delete alone does not overwrite");
    assert_same(&before, &look(&target), "the target");
    let partly = sandbox.try_restore(&id, &target, |o| {
        (o.overwrite, o.delete) = (true, true);
        o.selection = Selection::new(&["one".into()], &[]).unwrap();
    });
    assert_refused(partly, Kind::Usage, 2, "--delete with a selection");
    assert_same(&before, &look(&target), "the target");
}

#[test]
fn overwriting_writes_only_what_differs_and_deleting_removes_what_is_not_in_the_backup() {
    let (sandbox, id) = small(Sandbox::new());
    let target = sandbox.dir.path().join("target");
    sandbox.try_restore(&id, &target, |_| {}).unwrap();
    let tree = target.join("files/tree");
    let good = look(&tree);
    let inode = |name: &str| fs::metadata(tree.join(name)).unwrap().ino();
    let (one, two) = (inode("one"), inode("dir/two"));
    write(&tree.join("one"), b"ONE");
    write(&tree.join("extra/file"), b"extra");
    let report = sandbox.try_restore(&id, &target, |o| o.overwrite = true).unwrap();
    assert_eq!(fs::read(tree.join("one")).unwrap(), b"one");
    assert_eq!((inode("dir/two"), report.unchanged, report.bytes_written), (two, 1, 3));
    assert_ne!(inode("one"), one, "a file that may be open elsewhere is replaced, not written into");
    assert!(tree.join("extra/file").exists() && report.deleted.is_empty());
    let report = sandbox.try_restore(&id, &target, |o| (o.overwrite, o.delete) = (true, true)).unwrap();
    assert_eq!(report.bytes_written, 0);
    assert_eq!(
        report.deleted.iter().cloned().collect::<BTreeSet<_>>(),
        ["files/tree/extra".to_owned(), "files/tree/extra/file".to_owned()].into()
    );
    assert_same(&good, &look(&tree), "the tree");
}

#[test]
fn a_further_name_without_its_first_is_refused_with_advice() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("first"), b"x");
    fs::hard_link(sandbox.tree().join("first"), sandbox.tree().join("second")).unwrap();
    let id = sandbox.create().id;
    let select =
        |globs: &[&str]| Selection::new(&globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>(), &[]).unwrap();
    let alone = sandbox.try_restore(&id, &sandbox.scratch("alone"), |o| o.selection = select(&["second"]));
    let error = assert_refused(alone, Kind::NotFound, 1, "a further name alone");
    assert!(error.hint_text().is_some_and(|h| h.contains("tree/first")), "{}", error.one_line());
    let both = sandbox.scratch("both");
    sandbox.try_restore(&id, &both, |o| o.selection = select(&["first", "second"])).unwrap();
    assert_eq!(fs::metadata(both.join("files/tree/second")).unwrap().nlink(), 2);
}

// Being stopped.

#[test]
fn an_interrupted_run_leaves_no_backup_and_the_next_one_works() {
    let (mut sandbox, _) = small(Sandbox::new());
    write(&sandbox.tree().join("more"), &noise(4, 100_000));
    let recorder = Recorder::default();
    recorder.signal.store(2, Ordering::Relaxed);
    sandbox.settings.clock = Clock::Fixed(sandbox.now + 30);
    let result = create::create(&sandbox.root(), &sandbox.settings, &sandbox.signer, &recorder);
    assert_refused(result, Kind::Interrupted(2), 130, "SIGINT");
    recorder.signal.store(15, Ordering::Relaxed);
    let result = create::create(&sandbox.root(), &sandbox.settings, &sandbox.signer, &recorder);
    assert_refused(result, Kind::Interrupted(15), 143, "SIGTERM");
    assert_eq!(visible_backups(&sandbox), 1);
    let report = sandbox.create();
    assert_eq!(visible_backups(&sandbox), 2);
    let left = fs::read_dir(sandbox.root()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|n| !n.starts_with(".incomplete-")), "the staging folder must be gone");
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), "the backup after");
}

#[test]
fn an_interrupted_restore_is_gone_on_with() {
    let (sandbox, id) = small(Sandbox::new());
    let target = sandbox.scratch("target");
    let recorder = Recorder::default();
    recorder.signal.store(2, Ordering::Relaxed);
    let chain = sandbox.chain(&id).unwrap();
    assert_refused(restore::restore(&chain, &target, &options(), &recorder), Kind::Interrupted(2), 130, "SIGINT");
    recorder.signal.store(0, Ordering::Relaxed);
    restore::restore(&chain, &target, &options(), &recorder).unwrap();
    assert_same(&look(&sandbox.tree()), &look(&target.join("files/tree")), "the restored tree");
    assert!(!target.join(".ccbackup-restore.json").exists());
    let error = sandbox.verify_interrupted(&id);
    assert_refused(error, Kind::Interrupted(2), 130, "verify");
}

impl Sandbox {
    fn verify_interrupted(&self, id: &BackupId) -> Result<()> {
        let recorder = Recorder::default();
        recorder.signal.store(2, Ordering::Relaxed);
        let options = ccbackup::engine::verify::Options { depth: Depth::Keyless, all: true, threads: 2 };
        let (repo, state) = (self.repo(), self.state());
        ccbackup::engine::verify::verify(&repo, id, &self.trust(), &Keys::none(), &state, &options, &recorder).map(drop)
    }
}

// What a capture leaves out.

#[test]
fn excludes_marked_folders_caches_and_the_repository_itself_are_left_out() {
    let mut sandbox = Sandbox::new();
    // The repository lies inside what it backs up, as happens when a whole system is captured.
    sandbox.settings.components[0].roots = vec![sandbox.dir.path().to_owned()];
    sandbox.settings.components[0].exclude =
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
        sandbox.settings.components[0].exclude = vec![glob.into()];
        assert_refused(sandbox.try_create(), Kind::Usage, 2, glob);
    }
}

// What a capture cannot take.

#[test]
fn unreadable_files_are_problems_and_the_rest_is_stored() {
    if !is_root() {
        return unreadable_files_without_privileges();
    }
    // Root may read everything, so the test below runs as nobody, from a copy of this program that nobody may start.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(65534), Some(65534)).unwrap();
    let name = "refusals::unreadable_files_without_privileges";
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    nobody.args(["--exact", name, "--ignored", "--nocapture"]).env("TMPDIR", &scratch).env("HOME", &scratch);
    let output = succeed(nobody.current_dir("/"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "the test must have run: {said}");
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
fn create_meddled(sandbox: &mut Sandbox, deed: impl FnMut(u32) + Send) -> Report {
    write(&sandbox.tree().join("a large"), &noise(8, 12 << 20));
    sandbox.settings.threads = 1;
    sandbox.now += 60;
    sandbox.settings.clock = Clock::Fixed(sandbox.now);
    let meddler = Meddler { deed: Mutex::new((0, deed)), signal: AtomicI32::new(0) };
    let report = create::create(&sandbox.root(), &sandbox.settings, &sandbox.signer, &meddler)
        .unwrap_or_else(|e| panic!("create failed: {}", e.one_line()));
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

fn problems(report: &Report) -> BTreeSet<(&str, &str)> {
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
    for name in ["tree/now a folder", "tree/now a link", "tree/now another"] {
        assert!(found.contains(&("changed", name)), "{name}: {found:?}");
    }
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
    assert!(report.problems.iter().all(|p| p.kind == "changed"), "{:?}", report.problems);
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

// What this host remembers.

#[test]
fn a_lost_or_damaged_state_folder_makes_a_full_backup_that_says_why() {
    let (mut sandbox, _) = small(Sandbox::new());
    assert_eq!(sandbox.create().kind, BackupKind::Incremental, "as it should be");
    fs::remove_dir_all(&sandbox.settings.state_dir).unwrap();
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    assert!(report.full_because.as_deref().is_some_and(|w| w.contains("index copy")), "{:?}", report.full_because);
    assert_eq!(sandbox.create().kind, BackupKind::Incremental);

    for item in walkdir::WalkDir::new(&sandbox.settings.state_dir) {
        let item = item.unwrap();
        let name = item.file_name().to_str().unwrap();
        if item.file_type().is_file() && !matches!(name, "head.json" | "signers" | "copies.json") {
            write(item.path(), b"garbage");
        }
    }
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    assert!(report.full_because.as_deref().is_some_and(|w| w.contains("damaged")), "{:?}", report.full_because);
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), "the full backup");
}
