//! What is refused, with which kind and exit code, and what must stay untouched by it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use ccbackup::cli::worded;
use ccbackup::engine::chain::Chain;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::{self, Depth};
use ccbackup::engine::{Clock, restore};
use ccbackup::keys::{AesKey, Keys, generate_identity};
use ccbackup::model::{BackupId, BackupKind, Moment};
use ccbackup::monitor::Recorder;
use ccbackup::repo::Repository;
use ccbackup::repo::backup::Trust;
use ccbackup::repo::signing::Signer;
use ccbackup::{Error, Kind, Result};

use crate::support::{Sandbox, assert_same, look, noise, write};

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

// Keys.

#[test]
fn without_a_key_or_with_a_wrong_one_nothing_is_restored() {
    for (sandbox, aes) in [(Sandbox::new(), false), (Sandbox::aes(), true)] {
        let (sandbox, id) = small(sandbox);
        let other = sandbox.dir.path().join("other key");
        if aes {
            AesKey::generate(&other).unwrap();
        } else {
            generate_identity(&other, None, Moment::default()).unwrap();
        }
        let unrelated = sandbox.dir.path().join("unrelated key");
        if aes {
            generate_identity(&unrelated, None, Moment::default()).unwrap();
        } else {
            AesKey::generate(&unrelated).unwrap();
        }
        for (keys, kind) in [
            (Keys::none(), Kind::NoKey),
            (Keys::load(std::slice::from_ref(&other)).unwrap(), Kind::WrongKey),
            (Keys::load(std::slice::from_ref(&unrelated)).unwrap(), Kind::NoKey),
        ] {
            let about = format!("{kind:?}, aes {aes}");
            let session = sandbox.reader_of(&sandbox.root(), keys).unwrap();
            let target = sandbox.scratch("out");
            let result = session.restore(&id, &target, options(), &Recorder::default());
            let error = assert_refused(result, kind, 1, &about);
            assert!(error.advice().is_some(), "{about}: there must be advice");
            assert!(!target.join("files/tree").exists(), "{about}");
        }
        // Two keys of which one fits.
        let keys = Keys::load(&[other, sandbox.identity()]).unwrap();
        let session = sandbox.reader_of(&sandbox.root(), keys).unwrap();
        session.restore(&id, &sandbox.scratch("out"), options(), &Recorder::default()).unwrap();
    }
}

fn options() -> restore::RestoreOptions {
    restore::RestoreOptions { threads: 2, ..Default::default() }
}

// Trust.

#[test]
fn an_unsigned_or_foreign_backup_is_refused_unless_that_is_waived() {
    let (sandbox, id) = small(Sandbox::new());
    let other = Signer::generate(&sandbox.dir.path().join("other")).unwrap();
    let open = |signers: Vec<_>, allow_unsigned| {
        let trust = Trust { signers, allow_unsigned };
        Chain::open(&sandbox.repo(), &id, &trust, sandbox.keys())
    };
    assert_refused(open(vec![other.public()], false), Kind::WrongSigner, 5, "signed by another");
    assert_refused(open(vec![], false), Kind::Unsigned, 5, "nobody is trusted");
    assert!(open(vec![other.public(), sandbox.signer.public()], false).unwrap().backup.signer.is_some());
    assert!(open(vec![other.public()], true).unwrap().backup.signer.is_none());
    fs::remove_file(sandbox.root().join(id.as_str()).join("SHA256SUMS.sig")).unwrap();
    let error = assert_refused(open(vec![sandbox.signer.public()], false), Kind::Unsigned, 5, "no signature");
    assert!(error.advice().is_some_and(|h| worded(h).contains("--allow-unsigned")));
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
    let trust = Trust { signers: vec![], allow_unsigned: true };
    let opened = Chain::open(&sandbox.repo(), &id, &trust, Keys::none());
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
    sandbox.host.name = "stranger".into();
    sandbox.host.state_dir = sandbox.dir.path().join("stranger's state");
    let error = assert_refused(sandbox.try_create(), Kind::OtherHost, 5, "another host");
    assert!(error.one_line().contains("\"test\"") && error.advice().is_some_and(|h| worded(h).contains("--adopt")));
    assert_eq!(visible_backups(&sandbox), 1);
    sandbox.adopt = true;
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    assert!(report.full_because.is_some(), "it must say why it is a full backup");
    sandbox.adopt = false;
    assert_eq!(sandbox.create().kind, BackupKind::Incremental, "it is this host's now");
    // And the first host is the stranger from now on.
    sandbox.signer = own;
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
fn a_first_run_makes_no_repository_where_another_is_making_one() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("f"), b"x");
    fs::create_dir_all(sandbox.root()).unwrap();
    let lock = fs::File::create(sandbox.root().join(".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_refused(sandbox.try_create(), Kind::Locked, 5, "a second first run");
    assert!(!sandbox.root().join("repository.json").exists());
    drop(lock);
    sandbox.create();
}

#[test]
fn a_verification_beside_running_backups_finds_nothing_wrong() {
    let (mut sandbox, first) = small(Sandbox::new());
    let session = sandbox.reader_of(&sandbox.root(), Keys::none()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| {
            for number in 0..30 {
                write(&sandbox.tree().join("more"), &[number]);
                sandbox.create();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !creating.is_finished() {
            let options = verify::VerifyOptions { depth: Depth::Keyless, all: true, threads: 2 };
            let report = session.verify(&first, &options, &Recorder::default()).unwrap();
            assert_eq!(report.findings, []);
        }
        creating.join().unwrap();
    });
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
    assert!(error.advice().is_some_and(|h| worded(h).contains("--overwrite")));
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
fn a_selection_that_matches_nothing_is_an_error() {
    let (sandbox, id) = small(Sandbox::new());
    let nothing = Selection::new(&["no such file".to_owned()], &[]).unwrap();
    let restored = sandbox.try_restore(&id, &sandbox.scratch("out"), |o| o.selection = nothing);
    assert_refused(restored, Kind::NotFound, 1, "nothing matches");
}

#[test]
fn further_names_without_their_first_become_the_file_themselves() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("first"), b"x");
    for name in ["second", "third"] {
        fs::hard_link(sandbox.tree().join("first"), sandbox.tree().join(name)).unwrap();
    }
    let id = sandbox.create().id;
    for (globs, links) in [(&["second"][..], 1), (&["second", "third"], 2), (&["first", "second"], 2)] {
        let target = sandbox.scratch(&globs.join("-"));
        let globs: Vec<_> = globs.iter().map(|g| (*g).to_owned()).collect();
        let report = sandbox.try_restore(&id, &target, |o| o.selection = Selection::new(&globs, &[]).unwrap()).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
        for name in globs {
            let file = target.join("files/tree").join(name);
            assert_eq!(fs::read(&file).unwrap(), b"x");
            assert_eq!(fs::metadata(&file).unwrap().nlink(), links);
        }
    }
}

// Being stopped.

#[test]
fn an_interrupted_run_leaves_no_backup_and_the_next_one_works() {
    let (mut sandbox, _) = small(Sandbox::new());
    write(&sandbox.tree().join("more"), &noise(4, 100_000));
    let recorder = Recorder::default();
    recorder.signal.store(2, Ordering::Relaxed);
    sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(sandbox.now + 30));
    let result = sandbox.create_watched(&recorder);
    assert_refused(result, Kind::Interrupted(2), 130, "SIGINT");
    recorder.signal.store(15, Ordering::Relaxed);
    let result = sandbox.create_watched(&recorder);
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
    let session = sandbox.reader().unwrap();
    assert_refused(session.restore(&id, &target, options(), &recorder), Kind::Interrupted(2), 130, "SIGINT");
    recorder.signal.store(0, Ordering::Relaxed);
    session.restore(&id, &target, options(), &recorder).unwrap();
    assert_same(&look(&sandbox.tree()), &look(&target.join("files/tree")), "the restored tree");
    assert!(!target.join(".ccbackup-restore.json").exists());
}

#[test]
fn an_interrupted_verification_says_so() {
    let (sandbox, id) = small(Sandbox::new());
    let recorder = Recorder::default();
    recorder.signal.store(2, Ordering::Relaxed);
    let options = verify::VerifyOptions { depth: Depth::Keyless, all: true, threads: 2 };
    let result = sandbox.reader_of(&sandbox.root(), Keys::none()).unwrap().verify(&id, &options, &recorder);
    assert_refused(result, Kind::Interrupted(2), 130, "SIGINT");
}

// What this host remembers.

#[test]
fn a_lost_or_damaged_state_folder_makes_a_full_backup_that_says_why() {
    let (mut sandbox, _) = small(Sandbox::new());
    assert_eq!(sandbox.create().kind, BackupKind::Incremental, "as it should be");
    fs::remove_dir_all(&sandbox.host.state_dir).unwrap();
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    assert!(
        report.full_because.as_ref().is_some_and(|full| full.why.contains("index copy")),
        "{:?}",
        report.full_because
    );
    assert_eq!(sandbox.create().kind, BackupKind::Incremental);

    for item in walkdir::WalkDir::new(&sandbox.host.state_dir) {
        let item = item.unwrap();
        let name = item.file_name().to_str().unwrap();
        if item.file_type().is_file() && !matches!(name, "head.json" | "signers" | "copies.json") {
            write(item.path(), b"garbage");
        }
    }
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    assert!(report.full_because.as_ref().is_some_and(|full| full.why.contains("damaged")), "{:?}", report.full_because);
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), "the full backup");
}
