#![expect(clippy::disallowed_methods, reason = "files of tests need not last")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::durable::{Disk, DiskChange, Faults};
use crate::error::Kind;
use crate::source::ActionKind;
use crate::source::tests_archive::{Archive, Run, apply, check, forget, kinds, picture, plan, undo};
use crate::vectorstore::{Document, Health, Inventory, document_bytes, hash_of_name};

const SORTS: [&str; 6] =
    ["healthy", "healthy-gz", "missing-metadata", "truncated-document", "truncated-metadata", "with-empty"];

/// A copy of a fixture, old enough to be believed at once or not.
fn copy(sort: &str, folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chromem").join(sort);
    let to = folder.join("vectorstore");
    assert!(Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap().success());
    to
}

/// A source of `path`, on a host where no contextd runs.
fn source(path: &Path) -> ChromemSource {
    ChromemSource { path: path.to_owned(), processes: PathBuf::from("/nonexistent") }
}

fn inventory(archive: &Archive, folder: &str) -> Inventory {
    Inventory::parse(archive.bytes(&format!("{folder}/inventory.json"))).unwrap()
}

#[test]
fn every_sort_of_store_is_captured_wiped_and_applied_as_it_was() {
    std::thread::scope(|scope| {
        for sort in SORTS {
            scope.spawn(move || {
                let dir = tempfile::tempdir().unwrap();
                let store = copy(sort, dir.path());
                let source = source(&store);
                let before = picture(&store);
                let archive = Archive::capture(&source).unwrap();
                assert_eq!(picture(&store), before, "{sort}: a capture changes nothing");
                assert_eq!(Archive::capture(&source).unwrap(), archive, "{sort}: nothing changed");
                assert_eq!(archive.facts.problems, []);
                assert_eq!(check(&source, &archive).differences, []);
                assert_eq!(kinds(&plan(&source, &archive, false)), [ActionKind::Equal]);
                fs::remove_dir_all(&store).unwrap();
                assert_ne!(check(&source, &archive).differences, []);
                assert_eq!(kinds(&plan(&source, &archive, false)), [ActionKind::Create]);
                assert!(!store.exists(), "{sort}: a plan changes nothing");
                apply(&source, &archive, false, &dir.path().join("undo"), &Disk::default()).unwrap();
                assert_eq!(picture(&store).len(), before.len());
                for (path, (_, time, bytes)) in &before {
                    assert!(matches!(picture(&store).get(path), Some((_, t, b)) if t == time && b == bytes), "{path}");
                }
                assert_eq!(check(&source, &archive).differences, []);
                assert_eq!(kinds(&plan(&source, &archive, false)), [ActionKind::Equal], "{sort}: a second run");
                assert_eq!(Archive::capture(&source).unwrap().files, archive.files);
                undo(&source, &dir.path().join("undo")).unwrap();
                assert!(!store.exists(), "{sort}: before the apply there was none");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{sort}: only the notes are left");
            });
        }
    });
}

#[test]
fn a_capture_says_of_each_collection_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("missing-metadata", dir.path());
    fs::create_dir_all(store.join(".quarantine")).unwrap();
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(store.join("e9f85bf6"))
            .arg(store.join(".quarantine"))
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(store.join("deadbeef")).unwrap();
    fs::write(store.join("registry.json"), "{}").unwrap();
    let run = Run::default();
    let archive = Archive::capture_and(&source(&store), &run, || {}).unwrap();
    let counts: Vec<_> = archive.facts.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let expected = [
        "collections 5",
        "corrupt 1",
        "documents 63",
        "empty 1",
        "files 66",
        "healthy 2",
        "quarantined 1",
        "unreadable 0",
    ];
    assert_eq!(counts, expected);
    assert_eq!(archive.facts.facts["health"], "degraded");
    assert_eq!(archive.facts.problems, []);
    let notes = run.monitor.notes.lock().unwrap().join("\n");
    assert!(notes.contains("collection e9f85bf6 is corrupt: its metadata file is missing"), "{notes}");
    assert!(notes.contains("collection .quarantine/e9f85bf6 in quarantine is quarantined: its metadata"), "{notes}");
    assert_eq!(inventory(&archive, "e9f85bf6").health, Health::Corrupt);
    assert_eq!(inventory(&archive, ".quarantine/e9f85bf6").health, Health::Quarantined);
    assert_eq!(inventory(&archive, "deadbeef").health, Health::Empty);
    let healthy = inventory(&archive, "a1ef3a3d");
    assert_eq!(
        (healthy.health, healthy.name.as_deref(), healthy.documents),
        (Health::Healthy, Some("contextd_checkpoints"), 8)
    );
    // All of it comes back, the folder that held nothing too.
    fs::remove_dir_all(&store).unwrap();
    apply(&source(&store), &archive, false, &dir.path().join("undo"), &Disk::default()).unwrap();
    assert!(store.join("deadbeef").is_dir() && store.join("registry.json").is_file());
    assert_eq!(check(&source(&store), &archive).differences, []);
}

#[test]
fn a_store_that_is_not_there_or_cannot_be_listed_is_an_error_and_never_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let absent = source(&dir.path().join("absent"));
    assert_eq!(Archive::capture(&absent).unwrap_err().kind(), Kind::NotFound);
    let run = Run::default();
    assert_eq!(absent.probe(&run.context()).unwrap_err().kind(), Kind::NotFound);
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(Archive::capture(&source(&dir.path().join("file"))).is_err());
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(source(&empty).probe(&run.context()).unwrap().missing[0].contains("no collection"));
}

#[test]
fn another_store_is_replaced_only_when_told_and_comes_back_by_undo() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("healthy", dir.path());
    let source = source(&store);
    let archive = Archive::capture(&source).unwrap();
    fs::remove_dir_all(store.join("a1ef3a3d")).unwrap();
    fs::remove_file(store.join("e9f85bf6/0cb03745.gob")).unwrap();
    fs::create_dir(store.join("75c374cb")).unwrap();
    fs::write(store.join("75c374cb/new.gob"), document_bytes(&Document::default())).unwrap();
    let changed = picture(&store);
    let told = check(&source, &archive).differences;
    let has = |object: &str, detail: &str| told.iter().any(|d| d.object.contains(object) && d.detail.contains(detail));
    assert!(has("a1ef3a3d (contextd_checkpoints)", "is not there"), "{told:?}");
    assert!(has("e9f85bf6 (contextd_memories)", "documents: 25 in the backup, 24 there"), "{told:?}");
    assert!(has("75c374cb", "is not in the backup"), "{told:?}");
    let refused = plan(&source, &archive, false);
    assert_eq!(refused.iter().filter(|action| action.kind == ActionKind::Conflict).count(), 2, "{refused:?}");
    let allowed = plan(&source, &archive, true);
    let expected = [ActionKind::Create, ActionKind::Replace, ActionKind::Equal];
    assert_eq!(kinds(&allowed), expected, "{allowed:?}");
    assert_eq!(picture(&store), changed);
    let notes = dir.path().join("undo");
    apply(&source, &archive, true, &notes, &Disk::default()).unwrap();
    assert_eq!(check(&source, &archive).differences, []);
    undo(&source, &notes).unwrap();
    assert_eq!(picture(&store), changed);
    undo(&source, &notes).unwrap();
    assert_eq!(picture(&store), changed, "an undo that is repeated does nothing");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    // Once forgotten, nothing of the old one is left.
    fs::remove_dir_all(&notes).unwrap();
    apply(&source, &archive, true, &notes, &Disk::default()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    forget(&source, &notes).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert_eq!(check(&source, &archive).differences, []);
}

#[test]
fn content_that_is_not_what_the_inventory_says_never_takes_the_place_of_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("healthy", dir.path());
    let source = source(&store);
    let mut archive = Archive::capture(&source).unwrap();
    archive.tamper("e9f85bf6/0cb03745.gob", |bytes| bytes.truncate(1000));
    fs::remove_dir_all(store.join("a1ef3a3d")).unwrap();
    let before = picture(&store);
    let error = apply(&source, &archive, true, &dir.path().join("undo"), &Disk::default()).unwrap_err();
    assert!(error.one_line().contains("is not what was captured"), "{}", error.one_line());
    assert_eq!(picture(&store), before);
}

#[derive(Debug)]
struct Die(AtomicUsize);

impl Faults for Die {
    fn before(&self, change: DiskChange, _: &Path) -> std::result::Result<(), (usize, std::io::Error)> {
        let counted = matches!(change, DiskChange::Rename | DiskChange::SyncDir | DiskChange::Remove);
        if counted && self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            return Err((0, std::io::Error::other("died")));
        }
        Ok(())
    }
}

#[test]
fn an_apply_that_dies_at_any_step_is_undone_or_done_again() {
    for step in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let store = copy("with-empty", dir.path());
        let source = source(&store);
        let archive = Archive::capture(&source).unwrap();
        fs::remove_file(store.join("e9f85bf6/2eaa39d9.gob")).unwrap();
        let before = picture(&store);
        let notes = dir.path().join("undo");
        let died = apply(&source, &archive, true, &notes, &Disk::with_faults(Arc::new(Die(step.into())))).is_err();
        if step % 2 == 0 {
            undo(&source, &notes).unwrap();
            assert_eq!(picture(&store), before, "undone after step {step}");
        }
        apply(&source, &archive, true, &dir.path().join("undo2"), &Disk::default()).unwrap();
        assert_eq!(check(&source, &archive).differences, [], "done again after step {step}");
        if !died {
            return assert!(step > 4);
        }
    }
    panic!("it never came to an end");
}

#[test]
fn contextd_that_runs_is_seen_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("with-empty", dir.path());
    let mut source = source(&store);
    let archive = Archive::capture(&source).unwrap();
    fs::remove_file(store.join("e9f85bf6/2eaa39d9.gob")).unwrap();
    let processes = dir.path().join("proc");
    for (number, name, state) in
        [("17", "contextd", "S"), ("18", "contextd", "Z"), ("19", "ctxd", "S"), ("self", "contextd", "S")]
    {
        fs::create_dir_all(processes.join(number)).unwrap();
        fs::write(processes.join(number).join("comm"), format!("{name}\n")).unwrap();
        fs::write(processes.join(number).join("stat"), format!("{number} ({name}) {state} 1 1")).unwrap();
    }
    source.processes = processes;
    let planned = plan(&source, &archive, true);
    assert_eq!((planned[0].kind, planned[0].object.as_str()), (ActionKind::Manual, "contextd"));
    assert!(planned[0].detail.starts_with("runs as process 17: stop it first"), "{}", planned[0].detail);
    let before = picture(&store);
    let error = apply(&source, &archive, true, &dir.path().join("undo"), &Disk::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Locked);
    assert_eq!(picture(&store), before);
}

/// Says to a writer that it may end, however a test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes as chromem-go does: the file is cut to nothing, then filled piece by piece, never synced.
fn write_like_contextd(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).unwrap();
    for piece in bytes.chunks(60) {
        file.write_all(piece).unwrap();
    }
}

#[test]
fn a_store_that_is_written_to_all_the_time_gives_whole_documents_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("with-empty", dir.path());
    let memories = store.join("e9f85bf6");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // One document is changed again and again, others are new, some go.
                let hot = Document { id: b"hot".to_vec(), embedding: vec![number as f32; 384], ..Document::default() };
                write_like_contextd(&memories.join(format!("{}.gob", hash_of_name(b"hot"))), &document_bytes(&hot));
                let id = format!("new-{number}");
                let new = Document { id: id.clone().into(), embedding: vec![1.0; 384], ..Document::default() };
                let path = memories.join(format!("{}.gob", hash_of_name(id.as_bytes())));
                write_like_contextd(&path, &document_bytes(&new));
                if number % 3 == 0 {
                    fs::remove_file(path).unwrap();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let ended = Stop(&stop);
        let run = Run::default();
        let result = Archive::capture_and(&source(&store), &run, || std::thread::sleep(Duration::from_millis(1)));
        drop(ended);
        let archive = result.unwrap();
        let hot = format!("e9f85bf6/{}.gob", hash_of_name(b"hot"));
        let told: Vec<_> = archive.facts.problems.iter().map(|problem| problem.path.clone()).collect();
        assert!(told.iter().all(|path| *path == hot), "{:?}", archive.facts.problems);
        let mut documents = 0;
        for (path, (_, bytes)) in &archive.files {
            let path = path.to_string();
            if path.starts_with("e9f85bf6/") && path.ends_with(".gob") && !path.ends_with("00000000.gob") {
                let document = Document::decode(bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert!(document.embedding.windows(2).all(|w| w[0] == w[1]) || document.embedding.len() < 384);
                documents += 1;
            }
        }
        assert!(documents > 4, "new documents were captured too");
        assert_eq!(inventory(&archive, "e9f85bf6").documents, documents);
        assert_eq!(inventory(&archive, "e9f85bf6").health, Health::Healthy);
        assert_eq!(archive.facts.facts.get("written_meanwhile").map(String::as_str), Some("yes"));
        // What was captured can be applied.
        fs::create_dir(dir.path().join("other")).unwrap();
        let other = source(&dir.path().join("other/vectorstore"));
        apply(&other, &archive, false, &dir.path().join("undo"), &Disk::default()).unwrap();
        assert_eq!(check(&other, &archive).differences, []);
    });
}

#[test]
fn a_document_that_is_being_written_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("with-empty", dir.path());
    let path = store.join("e9f85bf6/2eaa39d9.gob");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..100]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            write_like_contextd(&path, &whole);
        });
        let archive = Archive::capture(&source(&store)).unwrap();
        assert_eq!(archive.bytes("e9f85bf6/2eaa39d9.gob"), whole);
        assert_eq!(inventory(&archive, "e9f85bf6").health, Health::Healthy);
        assert_eq!(archive.facts.problems, []);
    });
}

#[test]
fn what_changes_after_it_was_judged_is_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("with-empty", dir.path());
    let big = store.join("00-big"); // comes first
    fs::create_dir(&big).unwrap();
    // More than is kept in memory, so that what follows is read twice.
    for number in 0..4 {
        fs::write(big.join(format!("{number}.bin")), vec![7; 12 << 20]).unwrap();
    }
    let file = store.join("e9f85bf6/2eaa39d9.gob");
    let mut document = Document::decode(&fs::read(&file).unwrap()).unwrap();
    document.content = b"changed".to_vec();
    let mut changed = Some(document);
    let run = Run::default();
    let archive = Archive::capture_and(&source(&store), &run, || {
        if let Some(document) = changed.take() {
            write_like_contextd(&file, &document_bytes(&document));
        }
    })
    .unwrap();
    let captured = Document::decode(archive.bytes("e9f85bf6/2eaa39d9.gob")).unwrap();
    assert_eq!(captured.content, b"changed");
    let other = source(&dir.path().join("other"));
    apply(&other, &archive, false, &dir.path().join("undo"), &Disk::default()).unwrap();
    assert_eq!(check(&other, &archive).differences, []);
}

#[test]
fn an_inventory_that_came_back_by_hand_is_no_file_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy("with-empty", dir.path());
    let archive = Archive::capture(&source(&store)).unwrap();
    fs::write(store.join("e9f85bf6/inventory.json"), archive.bytes("e9f85bf6/inventory.json")).unwrap();
    let again = Archive::capture(&source(&store)).unwrap();
    assert_eq!(again.paths(), archive.paths());
    assert_eq!(again.bytes("e9f85bf6/inventory.json"), archive.bytes("e9f85bf6/inventory.json"));
    assert_eq!(again.facts.problems, []);
    assert_eq!(check(&source(&store), &archive).differences, []);
    fs::write(store.join("e9f85bf6/inventory.json"), "mine").unwrap();
    assert_eq!(Archive::capture(&source(&store)).unwrap().facts.problems.len(), 1);
}
