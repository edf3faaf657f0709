//! What a source sees of a backup: every file as it was, in pieces of any size, and never a part that passes for a whole.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use ccbackup::durable::Disk;
use ccbackup::engine::apply::ComponentContents;
use ccbackup::error::Kind;
use ccbackup::model::{BackupId, Entry, EntryKind, EntryPath};
use ccbackup::source::Contents;
use ccbackup::{Error, Recorder, Result};

use crate::support::{Sandbox, assert_same, awkward_tree, look, noise, write};

fn with_contents<T>(sandbox: &Sandbox, id: &BackupId, work: impl FnOnce(&dyn Contents) -> T) -> T {
    let monitor = Recorder::default();
    work(&ComponentContents::open(&sandbox.chain(id).unwrap(), "files", &Disk::default(), 2, &monitor).unwrap())
}

fn entry(contents: &dyn Contents, path: &str) -> Entry {
    contents.find(&EntryPath::new(path.as_bytes().to_vec()).unwrap()).unwrap().expect(path)
}

/// Reads with a buffer of this size.
fn read_by(contents: &dyn Contents, entry: &Entry, size: usize) -> std::io::Result<Vec<u8>> {
    let mut reader = contents.open(entry).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), vec![0; size]);
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(bytes),
            taken => bytes.extend_from_slice(&piece[..taken]),
        }
    }
}

fn kind_of(error: std::io::Error) -> Kind {
    error.downcast::<Error>().expect("an error of ours").kind()
}

#[test]
fn every_file_is_read_as_it_was_whatever_the_size_of_the_pieces() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    write(&tree.join("empty"), b"");
    write(&tree.join("small"), b"hello");
    write(&tree.join("large"), &noise(1, 20 << 20));
    fs::hard_link(tree.join("small"), tree.join("small too")).unwrap();
    let file = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(2, 70_000), 3 << 20).unwrap();
    file.set_len(9 << 20).unwrap();
    fs::File::create(tree.join("only a hole")).unwrap().set_len(1 << 20).unwrap();
    sandbox.create();
    // In the next backup the large one is in pieces, old and new.
    let mut changed = noise(1, 20 << 20);
    changed[5 << 20..(5 << 20) + 100].fill(9);
    write(&tree.join("large"), &changed);
    let id = sandbox.create().id;
    with_contents(&sandbox, &id, |contents| {
        for name in ["empty", "small", "small too", "large", "sparse", "only a hole"] {
            let entry = entry(contents, &format!("tree/{name}"));
            let expected = fs::read(tree.join(name)).unwrap();
            for size in [1 << 20, 4096 + 7, 64 << 10] {
                assert!(read_by(contents, &entry, size).unwrap() == expected, "{name} in pieces of {size}");
            }
            assert!(contents.read(&entry, expected.len() as u64).unwrap() == expected, "{name}");
            if let Some(less) = (expected.len() as u64).checked_sub(1) {
                assert_eq!(contents.read(&entry, less).unwrap_err().kind(), Kind::Failed, "{name}");
            }
        }
        let folder = entry(contents, "tree");
        assert!(contents.open(&folder).is_err() && contents.read(&folder, 1).is_err());
        assert_eq!(contents.find(&EntryPath::new(*b"nowhere").unwrap()).unwrap(), None);
        assert_eq!(contents.entries().unwrap().count(), 7);
    });
}

#[test]
fn everything_comes_back_into_a_new_folder_and_into_no_other() {
    let mut sandbox = Sandbox::new();
    awkward_tree(&sandbox.tree());
    let id = sandbox.create().id;
    let target = sandbox.scratch("staged");
    with_contents(&sandbox, &id, |contents| {
        contents.restore_into(&target).unwrap();
        assert_same(&look(&sandbox.tree()), &look(&target.join("tree")), "restored as a whole");
        assert_eq!(contents.restore_into(&target).unwrap_err().kind(), Kind::WouldOverwrite);
    });
    let names: Vec<_> = fs::read_dir(&target).unwrap().flatten().map(|item| item.file_name()).collect();
    assert_eq!(names, ["tree"], "nothing else is left there");
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x55);
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_end_of_a_damaged_file_is_an_error_and_nothing_after_it() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("large"), &noise(3, 20 << 20));
    let id = sandbox.create().id;
    damage(&sandbox.root().join(id.as_str()).join("files.tar.zst"));
    with_contents(&sandbox, &id, |contents| {
        let large = entry(contents, "tree/large");
        assert_eq!(kind_of(read_by(contents, &large, 64 << 10).unwrap_err()), Kind::Damage);
        let mut reader = contents.open(&large).unwrap();
        let error = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err();
        assert_eq!(kind_of(error), Kind::Damage);
        assert_eq!(kind_of(reader.read(&mut [0; 10]).unwrap_err()), Kind::Damage, "an error is not followed by an end");
        assert_eq!(contents.read(&large, u64::MAX).unwrap_err().kind(), Kind::Damage);
        let target = sandbox.scratch("staged");
        assert!(contents.restore_into(&target).unwrap_err().is_damage());
        assert!(!target.join("tree/large").exists());
    });
}

#[test]
fn a_lost_part_of_an_index_is_an_error_among_the_entries() {
    let mut sandbox = Sandbox::plain();
    for number in 0..3000 {
        write(&sandbox.tree().join(format!("file {number}")), format!("{number}").as_bytes());
    }
    let id = sandbox.create().id;
    damage(&sandbox.root().join(id.as_str()).join("files.index.zst"));
    with_contents(&sandbox, &id, |contents| {
        let entries: Result<Vec<_>> = contents.entries().and_then(Iterator::collect);
        assert!(entries.unwrap_err().is_damage(), "a shorter list is never a whole one");
        assert!(contents.entries().is_err(), "and later it is known from the beginning");
        assert!(contents.restore_into(&sandbox.scratch("staged")).unwrap_err().is_damage());
    });
}

#[test]
fn what_the_source_knew_comes_back() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), b"x");
    let id = sandbox.create().id;
    with_contents(&sandbox, &id, |contents| {
        assert_eq!(contents.facts(), &ccbackup::source::Facts::default(), "a tree knows nothing but its entries");
        assert_eq!(contents.captured_from().unix_seconds(), sandbox.now);
        let kinds: Vec<_> = contents.entries().unwrap().map(|e| matches!(e.unwrap().kind, EntryKind::Dir)).collect();
        assert_eq!(kinds, [true, false]);
    });
}
