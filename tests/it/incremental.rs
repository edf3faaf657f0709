//! An incremental backup stores what is new and nothing else, misses no change, and says why when it cannot be one.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ccbackup::ComponentConfig;
use ccbackup::archive::seal::Sealer;
use ccbackup::engine::Clock;
use ccbackup::engine::create;
use ccbackup::engine::verify::Depth;
use ccbackup::error::Kind;
use ccbackup::keys::generate_identity;
use ccbackup::model::{BackupId, BackupKind, ComponentRecord, Manifest, Moment};
use ccbackup::monitor::Recorder;
use ccbackup::repo::catalog::Catalog;

use crate::support::{Sandbox, assert_same, look, noise, succeed, write};

/// A sandbox whose clock is ahead of all timestamps, so that they are believed.
fn settled(mut sandbox: Sandbox) -> Sandbox {
    sandbox.now = jiff::Timestamp::now().as_second() + 3600;
    sandbox
}

fn record(sandbox: &Sandbox, id: &BackupId, component: &str) -> ComponentRecord {
    let catalog = Catalog::load(&sandbox.repo()).unwrap();
    let listed = catalog.backups.iter().find(|b| b.id == *id).unwrap();
    listed.manifest.as_ref().unwrap().component(component).unwrap().clone()
}

fn archive_bytes(sandbox: &Sandbox, id: &BackupId) -> u64 {
    record(sandbox, id, "files").archives.iter().map(|a| a.size_bytes).sum()
}

/// An incremental backup that must come back as the tree is.
fn incremental(sandbox: &mut Sandbox) -> create::CreateReport {
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Incremental, "{:?}", report.full_because);
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), "restored incremental");
    let checked = sandbox.verify_with(&report.id, Depth::Deep(100.0), false).unwrap();
    assert!(checked.ok, "{:#?}", checked.findings);
    report
}

#[test]
fn an_unchanged_tree_is_not_read_and_stores_no_archive_and_no_segment() {
    let mut sandbox = settled(Sandbox::new());
    for number in 0..1000 {
        write(&sandbox.tree().join(format!("{}/{number}", number % 10)), &noise(number, 100));
    }
    sandbox.create();
    let report = incremental(&mut sandbox);
    let record = record(&sandbox, &report.id, "files");
    assert!(record.archives.is_empty(), "{record:?}");
    assert_eq!((record.index.own_segments, record.new_entries, record.bytes_read), (0, 0, 0));
    assert!(record.index.segments >= 2 && report.bytes_stored < 4000, "{record:?}");
}

#[test]
fn ten_changed_files_of_twenty_thousand_store_little_and_reuse_the_index() {
    let mut sandbox = settled(Sandbox::new());
    for number in 0..20_000_u64 {
        write(&sandbox.tree().join(format!("{:02}/{}", number % 50, number)), &number.to_le_bytes());
    }
    let full = sandbox.create();
    let whole = record(&sandbox, &full.id, "files").index;
    for number in 0..10 {
        write(&sandbox.tree().join(format!("07/{}", 7 + number * 50)), b"changed");
    }
    let report = sandbox.create();
    let changed = record(&sandbox, &report.id, "files");
    assert_eq!((changed.new_entries, changed.bytes_read), (10, 70));
    assert!(changed.index.segments >= 20 && changed.index.segments.abs_diff(whole.segments) <= 4, "{changed:?}");
    assert!((1..=4).contains(&changed.index.own_segments), "{changed:?} after {whole:?}");
    assert!(report.bytes_stored < full.bytes_stored / 8, "{} of {}", report.bytes_stored, full.bytes_stored);
    // A name that is added does not move the boundaries of all that follow.
    write(&sandbox.tree().join("00/added"), b"");
    let report = sandbox.create();
    let added = record(&sandbox, &report.id, "files").index;
    assert!((1..=4).contains(&added.own_segments), "{added:?}");
    // So many files are compared by one program and not one by one.
    let restored = sandbox.restore(&report.id);
    succeed(Command::new("diff").arg("-r").arg(sandbox.tree()).arg(restored));
}

#[test]
fn a_moved_folder_stores_no_content() {
    let mut sandbox = settled(Sandbox::new());
    for number in 0..30 {
        write(&sandbox.tree().join(format!("folder/sub/{number}")), &noise(number, 100_000));
    }
    write(&sandbox.tree().join("folder/large"), &noise(77, 9 << 20));
    let full = sandbox.create();
    fs::rename(sandbox.tree().join("folder"), sandbox.tree().join("moved")).unwrap();
    let report = incremental(&mut sandbox);
    assert!(full.bytes_stored > 12_000_000);
    assert!(report.bytes_stored < 40_000, "{}", report.bytes_stored);
}

#[test]
fn a_copied_large_file_stores_no_content() {
    let mut sandbox = settled(Sandbox::new());
    write(&sandbox.tree().join("large"), &noise(1, 20 << 20));
    sandbox.create();
    fs::copy(sandbox.tree().join("large"), sandbox.tree().join("copy")).unwrap();
    let report = incremental(&mut sandbox);
    assert!(report.bytes_stored < 20_000, "{}", report.bytes_stored);
    // What the copy refers to stays when its original is gone.
    fs::remove_file(sandbox.tree().join("large")).unwrap();
    assert!(incremental(&mut sandbox).bytes_stored < 20_000);
}

#[test]
fn a_changed_byte_of_a_large_file_stores_a_few_chunks() {
    let mut sandbox = settled(Sandbox::new());
    let path = sandbox.tree().join("database");
    write(&path, &noise(5, 32 << 20));
    sandbox.create();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"!", 17 << 20).unwrap();
    let report = incremental(&mut sandbox);
    assert!((200_000..=8 << 20).contains(&report.bytes_stored), "{}", report.bytes_stored);
    // What is inserted moves all that follows, and is found all the same.
    let mut bytes = fs::read(&path).unwrap();
    bytes.splice((3 << 20)..(3 << 20), *b"inserted");
    file.write_all_at(&bytes, 0).unwrap();
    let report = incremental(&mut sandbox);
    assert!((200_000..=8 << 20).contains(&report.bytes_stored), "{}", report.bytes_stored);
}

#[test]
fn a_change_of_metadata_refers_to_the_content() {
    let mut sandbox = settled(Sandbox::new());
    let (small, large) = (sandbox.tree().join("small"), sandbox.tree().join("large"));
    write(&small, &noise(1, 600_000));
    write(&large, &noise(2, 9 << 20));
    sandbox.create();
    for path in [&small, &large] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    succeed(Command::new("setfattr").args(["-n", "user.note", "-v", "new"]).arg(&small));
    let report = incremental(&mut sandbox);
    assert_eq!(report.components[0].new_entries, 2);
    assert!(archive_bytes(&sandbox, &report.id) < 10_000);
}

/// A file that is touched but not changed keeps its line in the index once it was read.
#[test]
fn a_file_that_was_written_again_with_the_same_bytes_and_time_stores_nothing() {
    let mut sandbox = settled(Sandbox::new());
    let path = sandbox.tree().join("file");
    write(&path, &noise(1, 50_000));
    sandbox.create();
    same_time_again(&path, &noise(1, 50_000));
    let report = incremental(&mut sandbox);
    assert_eq!((report.components[0].new_entries, report.components[0].bytes_read), (1, 50_000), "its ctime is new");
    assert!(archive_bytes(&sandbox, &report.id) < 2000);
}

/// Writes a file in place and hides it: same size, inode and mtime.
fn same_time_again(path: &Path, bytes: &[u8]) {
    let before = fs::metadata(path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    assert_eq!(before.len(), bytes.len() as u64);
    file.write_all_at(bytes, 0).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(path).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[test]
fn a_change_that_hides_behind_its_old_time_is_noticed() {
    let mut sandbox = settled(Sandbox::new());
    let (small, large) = (sandbox.tree().join("small"), sandbox.tree().join("large"));
    write(&small, b"0");
    write(&large, &noise(0, 9 << 20));
    sandbox.create();
    for round in 1..5_u8 {
        std::thread::sleep(Duration::from_millis(12));
        same_time_again(&small, &[b'0' + round]);
        same_time_again(&large, &noise(u64::from(round), 9 << 20));
        incremental(&mut sandbox);
    }
}

/// With the real clock: changes in the very moment of a backup, again and again, none of them missed.
#[test]
fn changes_within_the_second_of_a_backup_keep_being_noticed() {
    let mut sandbox = Sandbox::new();
    let path = sandbox.tree().join("file");
    write(&path, b"000");
    sandbox.host.clock = Clock::System;
    for round in 0..12 {
        same_time_again(&path, format!("{round:03}").as_bytes());
        let report = sandbox.create_watched(&Recorder::default()).unwrap();
        let expected = look(&sandbox.tree());
        assert_same(&expected, &look(&sandbox.restore(&report.id)), &format!("round {round}"));
    }
}

/// Timestamps as young as the last capture prove nothing, even when nothing about the file differs.
#[test]
fn timestamps_are_believed_only_when_they_are_older_than_the_last_capture() {
    let mut sandbox = Sandbox::plain();
    let path = sandbox.tree().join("file");
    write(&path, &noise(1, 5000));
    let changed = fs::metadata(&path).unwrap().ctime();
    let bytes_read = |sandbox: &mut Sandbox, now: i64| {
        sandbox.now = now - 60;
        sandbox.create().components[0].bytes_read
    };
    assert_eq!(bytes_read(&mut sandbox, changed), 5000);
    assert_eq!(bytes_read(&mut sandbox, changed + 2), 5000, "it could have been written in that second");
    assert_eq!(bytes_read(&mut sandbox, changed + 60), 5000, "the run before was too early to believe anything");
    assert_eq!(
        bytes_read(&mut sandbox, changed + 61),
        5000,
        "a page in memory may have been written unseen for so long"
    );
    assert_eq!(bytes_read(&mut sandbox, changed + 62), 0);
    // A modification time in the future says nothing about when the file will change.
    let future = SystemTime::UNIX_EPOCH + Duration::from_secs(changed.unsigned_abs() + 1_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(future).unwrap();
    for later in [1000, 2000, 3000] {
        assert_eq!(bytes_read(&mut sandbox, changed + later), 5000);
    }
}

#[test]
fn rehash_reads_what_looks_unchanged_and_stores_nothing_of_it() {
    let mut sandbox = settled(Sandbox::new());
    write(&sandbox.tree().join("file"), &noise(1, 5000));
    write(&sandbox.tree().join("large"), &noise(2, 9 << 20));
    sandbox.create();
    sandbox.settings.rehash = true;
    let report = incremental(&mut sandbox);
    assert_eq!((report.components[0].new_entries, report.components[0].bytes_read), (0, 5000 + (9 << 20)));
    assert!(report.bytes_stored < 4000, "{}", report.bytes_stored);
}

#[test]
fn a_component_that_is_added_later_is_whole_beside_an_incremental_one() {
    let mut sandbox = settled(Sandbox::new());
    write(&sandbox.tree().join("file"), &noise(1, 50_000));
    sandbox.create();
    let more = sandbox.dir.path().join("more");
    write(&more.join("file"), &noise(2, 60_000));
    sandbox.settings.components.push(ComponentConfig::of_files("more", vec![more.clone()]));
    let report = incremental(&mut sandbox);
    assert_eq!(report.components.iter().map(|c| c.bytes_read).collect::<Vec<_>>(), [0, 60_000]);
    assert_same(&look(&more), &look(&sandbox.dir.path().join(format!("restored-{}/more/more", report.id))), "more");
    let again = incremental(&mut sandbox);
    assert!(again.components.iter().all(|c| c.bytes_read == 0), "{again:#?}");
    // One that is left out for a while begins anew.
    sandbox.settings.components.pop();
    incremental(&mut sandbox);
}

#[test]
fn what_is_excluded_later_is_not_in_the_next_backup() {
    let mut sandbox = settled(Sandbox::new());
    for name in ["keep/a", "keep/b.log", "cache/deep/c", "z.log"] {
        write(&sandbox.tree().join(name), name.as_bytes());
    }
    sandbox.create();
    sandbox.settings.components[0].files_mut().unwrap().rules.exclude = vec!["**/*.log".into(), "**/cache".into()];
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Incremental);
    assert_eq!(report.components[0].bytes_read, 0);
    for restored in [sandbox.restore(&report.id), sandbox.restore_by_hand(&report.id)] {
        let paths: Vec<_> = look(&restored).into_keys().map(|p| String::from_utf8(p).unwrap()).collect();
        assert_eq!(paths, ["", "keep", "keep/a"]);
    }
    sandbox.settings.components[0].files_mut().unwrap().rules.exclude.clear();
    incremental(&mut sandbox);
}

fn newest_manifest(sandbox: &Sandbox) -> Manifest {
    Catalog::load(&sandbox.repo()).unwrap().backups.pop().unwrap().manifest.unwrap()
}

/// The run is a full backup, its reason contains `why`, and it is one that stands alone.
fn assert_full(sandbox: &mut Sandbox, why: &str) {
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Full);
    let said = report.full_because.expect("a reason").why;
    assert!(said.contains(why), "{said:?} does not say {why:?}");
    assert!(newest_manifest(sandbox).depends_on.is_empty());
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), why);
    sandbox.settings.full = false;
    let next = incremental(sandbox);
    assert_eq!(next.full_because, None);
}

#[test]
fn a_run_that_cannot_build_on_the_last_one_is_full_and_says_why() {
    let mut sandbox = settled(Sandbox::new());
    write(&sandbox.tree().join("file"), &noise(1, 5000));
    assert_eq!(sandbox.create().full_because, None, "a first backup needs no reason");

    sandbox.settings.full = true;
    assert_full(&mut sandbox, "was asked for");

    let other = generate_identity(&sandbox.dir.path().join("other"), None, Moment::default()).unwrap();
    let (old_identity, new_identity) = (sandbox.identity(), sandbox.dir.path().join("other"));
    sandbox.settings.sealer = Sealer::age(&[other]).unwrap();
    fs::rename(&old_identity, sandbox.dir.path().join("old")).unwrap();
    fs::rename(new_identity, old_identity).unwrap();
    assert_full(&mut sandbox, "keys or cipher");

    let newest = |sandbox: &Sandbox| newest_manifest(sandbox).id;
    let copies = sandbox.state().copies_dir(&newest(&sandbox));
    fs::remove_dir_all(copies).unwrap();
    assert_full(&mut sandbox, "no index copy");

    for (name, why) in [("files.lines.zst", "is damaged"), ("files.segments", "is damaged")] {
        let path = sandbox.state().copies_dir(&newest(&sandbox)).join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
        assert_full(&mut sandbox, why);
    }
    fs::remove_file(sandbox.state().copies_dir(&newest(&sandbox)).join("files.segments")).unwrap();
    assert_full(&mut sandbox, "cannot be read");

    fs::write(sandbox.state().copies_dir(&newest(&sandbox)).join("copies.json"), "{").unwrap();
    assert_full(&mut sandbox, "no index copy");

    // The newest depends on the one before, which somebody removes.
    let manifest = newest_manifest(&sandbox);
    let needed = &manifest.depends_on.first().expect("an incremental").id;
    fs::remove_dir_all(sandbox.root().join(needed.as_str())).unwrap();
    assert_full(&mut sandbox, "missing or changed");

    sandbox.settings.components[0].name = "renamed".into();
    let report = sandbox.create();
    assert!(report.full_because.unwrap().why.contains("other components"));
}

/// The host that backs up holds public keys only.
#[test]
fn a_host_without_any_identity_makes_incrementals_and_verifies_but_reads_nothing() {
    let mut sandbox = settled(Sandbox::new());
    write(&sandbox.tree().join("file"), &noise(1, 5000));
    let elsewhere = sandbox.dir.path().join("elsewhere");
    fs::rename(sandbox.identity(), &elsewhere).unwrap();
    sandbox.create();
    write(&sandbox.tree().join("added"), b"more");
    let report = sandbox.create();
    assert_eq!(report.kind, BackupKind::Incremental);
    let checked = sandbox.verify_with(&report.id, Depth::Keyless, true).unwrap();
    assert!(checked.ok && checked.backups.len() == 2, "{checked:#?}");

    let target = sandbox.scratch("target");
    let refused = sandbox.try_restore(&report.id, &target, |_| {}).unwrap_err();
    assert_eq!(refused.kind(), Kind::NoKey, "{}", refused.one_line());
    assert!(!target.join("files").exists());
    assert_eq!(
        sandbox.verify_with(&report.id, Depth::Deep(100.0), false).map_err(|e| e.kind()).err(),
        Some(Kind::NoKey)
    );

    fs::rename(elsewhere, sandbox.identity()).unwrap();
    fs::remove_dir_all(sandbox.scratch("target")).ok();
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&report.id)), "with the key");
}

/// Backups name their parents: a name that was removed must not come back as another backup.
#[test]
fn a_name_within_a_second_is_given_out_once() {
    let mut sandbox = Sandbox::plain();
    let now = sandbox.now;
    let create = |sandbox: &mut Sandbox| {
        sandbox.now = now;
        write(&sandbox.tree().join("file"), b"x");
        sandbox.settings.full = true;
        sandbox.create().id
    };
    let ids = [create(&mut sandbox), create(&mut sandbox), create(&mut sandbox)];
    for id in &ids[..2] {
        fs::remove_dir_all(sandbox.root().join(id.as_str())).unwrap();
    }
    let newest = create(&mut sandbox);
    assert_eq!(newest.as_str(), format!("{}-4", ids[0]));
    let report = sandbox.verify_with(&newest, Depth::Keyless, true).unwrap();
    assert!(report.ok, "{:#?}", report.findings);
}
