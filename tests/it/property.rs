//! Random trees, random changes, and after every sequence all ways back: each backup by the tool, by its own script, by the
//! second reader, and again after backups that nothing depends on were removed.
//!
//! PROPTEST_CASES sets the number of sequences. Failures are kept in tests/proptest-regressions.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use ccbackup::engine::verify::Depth;
use ccbackup::model::BackupId;
use ccbackup::repo::catalog::Catalog;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use crate::oracle::Pair;
use crate::support::{Sandbox, Seen, assert_same, look, noise, write};

/// A change of a tree. Numbers pick from what is there at that time; what cannot be done is left out.
#[derive(Clone, Debug)]
enum Change {
    Write {
        folder: u16,
        name: Name,
        length: usize,
        seed: u64,
    },
    /// Large files share content, so that pieces of them are known.
    WriteLarge {
        folder: u16,
        name: Name,
        cut: usize,
        insert: u8,
    },
    Folder {
        folder: u16,
        name: Name,
    },
    Symlink {
        folder: u16,
        name: Name,
        target: Name,
    },
    HardLink {
        file: u16,
        folder: u16,
        name: Name,
    },
    Copy {
        file: u16,
        folder: u16,
        name: Name,
    },
    Rename {
        entry: u16,
        folder: u16,
        name: Name,
    },
    Remove {
        entry: u16,
    },
    Swap {
        entry: u16,
    },
    Modify {
        file: u16,
        at: usize,
        seed: u64,
    },
    Append {
        file: u16,
        length: usize,
    },
    Resize {
        file: u16,
        length: u64,
    },
    Mode {
        entry: u16,
        mode: u32,
    },
    Time {
        entry: u16,
        seconds: u64,
        nanoseconds: u32,
    },
    /// New content behind the old size and time.
    Hide {
        file: u16,
        seed: u64,
    },
    Attribute {
        entry: u16,
        name: Name,
        value: Vec<u8>,
    },
}

type Name = Vec<u8>;

fn name() -> impl Strategy<Value = Name> {
    let piece = prop::sample::select(vec![
        &b"\n"[..],
        b"\xff",
        b"\\",
        b"\\n",
        b"\\134",
        b"%",
        b"%s",
        b"-",
        b" ",
        b"\t",
        b"\"",
        b"'",
        b"*",
        b"[",
        b"?",
        b"$x",
        b".",
        b"..",
        b"=",
        b"\x01",
        b"\x7f",
        "é".as_bytes(),
        "日本".as_bytes(),
        "\u{202e}".as_bytes(),
        b"a",
        b"a",
        b"b",
        b"name",
    ]);
    vec(piece, 1..5).prop_map(|pieces| pieces.concat()).prop_filter("names of folders", |n| n != b"." && n != b"..")
}

fn change() -> impl Strategy<Value = Change> {
    let length = prop_oneof![Just(0), 1_usize..600, 500_usize..20_000];
    let (n, seed) = (any::<u16>(), any::<u64>());
    prop_oneof![
        8 => (n, name(), length.clone(), seed)
            .prop_map(|(folder, name, length, seed)| Change::Write { folder, name, length, seed }),
        1 => (n, name(), 0_usize..4, any::<u8>())
            .prop_map(|(folder, name, cut, insert)| Change::WriteLarge { folder, name, cut, insert }),
        3 => (n, name()).prop_map(|(folder, name)| Change::Folder { folder, name }),
        1 => (n, name(), name()).prop_map(|(folder, name, target)| Change::Symlink { folder, name, target }),
        1 => (n, n, name()).prop_map(|(file, folder, name)| Change::HardLink { file, folder, name }),
        2 => (n, n, name()).prop_map(|(file, folder, name)| Change::Copy { file, folder, name }),
        3 => (n, n, name()).prop_map(|(entry, folder, name)| Change::Rename { entry, folder, name }),
        2 => n.prop_map(|entry| Change::Remove { entry }),
        1 => n.prop_map(|entry| Change::Swap { entry }),
        3 => (n, any::<usize>(), seed).prop_map(|(file, at, seed)| Change::Modify { file, at, seed }),
        2 => (n, length).prop_map(|(file, length)| Change::Append { file, length }),
        1 => (n, 0_u64..30_000).prop_map(|(file, length)| Change::Resize { file, length }),
        2 => (n, 0_u32..0o10000).prop_map(|(entry, mode)| Change::Mode { entry, mode }),
        2 => (n, 0_u64..1_700_000_000, 0_u32..1_000_000_000)
            .prop_map(|(entry, seconds, nanoseconds)| Change::Time { entry, seconds, nanoseconds }),
        3 => (n, seed).prop_map(|(file, seed)| Change::Hide { file, seed }),
        1 => (n, name(), vec(any::<u8>(), 0..40))
            .prop_map(|(entry, name, value)| Change::Attribute { entry, name, value }),
    ]
}

/// All entries below the root that `wanted` takes, in order.
fn entries(root: &Path, wanted: impl Fn(&fs::FileType) -> bool) -> Vec<PathBuf> {
    let items = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    items.filter(|i| wanted(&i.file_type())).map(walkdir::DirEntry::into_path).collect()
}

fn pick(from: Vec<PathBuf>, number: u16) -> Option<PathBuf> {
    (!from.is_empty()).then(|| from[usize::from(number) % from.len()].clone())
}

struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn file(&self, number: u16) -> Option<PathBuf> {
        pick(entries(self.0, fs::FileType::is_file), number)
    }

    /// Anything but the root.
    fn entry(&self, number: u16) -> Option<PathBuf> {
        pick(entries(self.0, |_| true).split_off(1), number)
    }

    /// A place in a folder; what is there now may be a file or link, which is removed first when `free`.
    fn place(&self, folder: u16, name: &Name) -> Option<PathBuf> {
        let folder = pick(entries(self.0, fs::FileType::is_dir), folder)?;
        let place = folder.join(OsStr::from_bytes(name));
        match place.symlink_metadata() {
            Ok(meta) if meta.is_dir() => None,
            Ok(_) => fs::remove_file(&place).ok().map(|()| place),
            Err(_) => Some(place),
        }
    }

    fn apply_all(&self, changes: &[Change]) {
        for change in changes {
            self.apply(change).unwrap_or_default();
        }
    }

    /// Does a change if it can be done.
    fn apply(&self, change: &Change) -> Option<()> {
        match change {
            Change::Write { folder, name, length, seed } => {
                write(&self.place(*folder, name)?, &noise(*seed, *length));
            }
            Change::WriteLarge { folder, name, cut, insert } => {
                static SHARED: LazyLock<Vec<u8>> = LazyLock::new(|| noise(4711, 9 << 20));
                let mut bytes = SHARED.clone();
                bytes.drain(..cut << 19);
                let middle = bytes.len() / 2;
                bytes.splice(middle..middle, vec![*insert; usize::from(*insert)]);
                write(&self.place(*folder, name)?, &bytes);
            }
            Change::Folder { folder, name } => fs::create_dir(self.place(*folder, name)?).ok()?,
            Change::Symlink { folder, name, target } => {
                symlink(OsStr::from_bytes(target), self.place(*folder, name)?).unwrap();
            }
            Change::HardLink { file, folder, name } => {
                let place = self.place(*folder, name)?;
                fs::hard_link(self.file(*file)?, place).unwrap();
            }
            Change::Copy { file, folder, name } => {
                let place = self.place(*folder, name)?;
                fs::copy(self.file(*file)?, place).unwrap();
            }
            // A folder cannot be moved into itself.
            Change::Rename { entry, folder, name } => {
                let place = self.place(*folder, name)?;
                fs::rename(self.entry(*entry)?, place).ok()?;
            }
            Change::Remove { entry } => remove(&self.entry(*entry)?),
            Change::Swap { entry } => {
                let path = self.entry(*entry)?;
                let was_folder = path.symlink_metadata().unwrap().is_dir();
                remove(&path);
                if was_folder {
                    write(&path, b"a folder before");
                } else {
                    write(&path.join("in a file's place"), b"x");
                }
            }
            Change::Modify { file, at, seed } => {
                let file = open(&self.file(*file)?);
                let length = file.metadata().unwrap().len();
                file.write_all_at(&noise(*seed, 9), *at as u64 % (length + 1)).unwrap();
            }
            Change::Append { file, length } => {
                let file = open(&self.file(*file)?);
                file.write_all_at(&noise(3, *length), file.metadata().unwrap().len()).unwrap();
            }
            Change::Resize { file, length } => open(&self.file(*file)?).set_len(*length).unwrap(),
            Change::Mode { entry, mode } => {
                let path = self.entry(*entry)?;
                let meta = path.symlink_metadata().unwrap();
                // Readable for whoever runs this test.
                let readable = if meta.is_dir() { 0o700 } else { 0o600 };
                if !meta.is_symlink() {
                    fs::set_permissions(path, fs::Permissions::from_mode(mode | readable)).unwrap();
                }
            }
            Change::Time { entry, seconds, nanoseconds } => {
                let time = SystemTime::UNIX_EPOCH + Duration::new(*seconds, *nanoseconds);
                let path = self.entry(*entry)?;
                if !path.is_symlink() {
                    File::open(path).unwrap().set_modified(time).unwrap();
                }
            }
            Change::Hide { file, seed } => {
                let file = open(&self.file(*file)?);
                let before = file.metadata().unwrap();
                file.write_all_at(&noise(*seed, before.len().min(700).try_into().unwrap()), 0).unwrap();
                file.set_modified(before.modified().unwrap()).unwrap();
            }
            Change::Attribute { entry, name, value } => {
                let path = self.entry(*entry)?;
                if !path.is_symlink() {
                    let name = [b"user.", &name[..]].concat();
                    rustix::fs::lsetxattr(&path, &name[..], value, rustix::fs::XattrFlags::empty()).unwrap();
                }
            }
        }
        Some(())
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

fn remove(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// Changes before a backup, and how it is made.
#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    full: bool,
}

#[derive(Clone, Debug)]
struct Story {
    first: Vec<Change>,
    steps: Vec<Step>,
    /// The clock shows the real time, and changes come in the very moment after a backup. Else all timestamps are old
    /// enough to be believed.
    racing: bool,
    /// Which of the backups that are not needed is removed.
    removed: u16,
    sealing: u8,
}

fn story() -> impl Strategy<Value = Story> {
    let step = (vec(change(), 1..10), prop::bool::weighted(0.15)).prop_map(|(changes, full)| Step { changes, full });
    (vec(change(), 4..20), vec(step, 1..=3), any::<bool>(), any::<u16>(), 0_u8..4)
        .prop_map(|(first, steps, racing, removed, sealing)| Story { first, steps, racing, removed, sealing })
}

type Look = BTreeMap<Vec<u8>, Seen>;

fn back_up(sandbox: &mut Sandbox, story: &Story, made: &mut Vec<(BackupId, Look)>) {
    if story.racing {
        // The sandbox adds its minute before each run.
        sandbox.now = jiff::Timestamp::now().as_second() - 60;
    }
    let report = sandbox.create();
    made.push((report.id, look(&sandbox.tree())));
    if !story.racing {
        // Longer than the kernel's clock for ctime ticks: with believed timestamps it must differ.
        std::thread::sleep(Duration::from_millis(11));
    }
}

fn assert_all_come_back(sandbox: &Sandbox, made: &[(BackupId, Look)], by_hand: &[(BackupId, Look)], when: &str) {
    for (id, expected) in made {
        let restored = sandbox.restore(id);
        assert_same(expected, &look(&restored), &format!("{when}: {id} by the tool"));
        fs::remove_dir_all(restored.ancestors().nth(2).unwrap()).unwrap();
    }
    for (id, expected) in by_hand {
        let restored = sandbox.restore_by_hand(id);
        assert_same(expected, &look(&restored), &format!("{when}: {id} by hand"));
        fs::remove_dir_all(restored.ancestors().nth(2).unwrap()).unwrap();
        let mut pair = Pair::of(sandbox);
        assert_same(expected, &look(&pair.restore_by_reader(id)), &format!("{when}: {id} by the second reader"));
    }
    let newest = &made.last().unwrap().0;
    let report = sandbox.verify_with(newest, Depth::Keyless, true).unwrap();
    assert!(report.ok, "{when}: {:#?}", report.findings);
}

/// Backups before the last that no other depends on.
fn not_needed(sandbox: &Sandbox) -> Vec<BackupId> {
    let catalog = Catalog::load(&sandbox.repo()).unwrap();
    let manifests = catalog.backups.iter().map(|b| b.manifest.as_ref().unwrap());
    let needed: BTreeSet<_> = manifests.flat_map(|m| m.depends_on.iter().map(|d| d.id.clone())).collect();
    let mut ids: Vec<_> = catalog.backups.iter().map(|b| b.id.clone()).collect();
    ids.pop();
    ids.retain(|id| !needed.contains(id));
    ids
}

fn run(story: &Story) {
    let mut sandbox = match story.sealing {
        0 | 1 => Sandbox::new(),
        2 => Sandbox::aes(),
        _ => Sandbox::plain(),
    };
    sandbox.now = jiff::Timestamp::now().as_second() + 3600;
    let root = sandbox.tree();
    let tree = Tree(&root);
    tree.apply_all(&story.first);
    let mut made = Vec::new();
    back_up(&mut sandbox, story, &mut made);
    for step in &story.steps {
        tree.apply_all(&step.changes);
        sandbox.settings.full = step.full;
        back_up(&mut sandbox, story, &mut made);
    }
    assert_all_come_back(&sandbox, &made, &made[made.len() - 1..], "all kept");

    let spare = not_needed(&sandbox);
    if !spare.is_empty() {
        let removed = &spare[usize::from(story.removed) % spare.len()];
        fs::remove_dir_all(sandbox.root().join(removed.as_str())).unwrap();
        made.retain(|(id, _)| id != removed);
        let last_two = &made[made.len().saturating_sub(2)..];
        assert_all_come_back(&sandbox, &made, last_two, &format!("without {removed}"));
        sandbox.settings.full = false;
        back_up(&mut sandbox, story, &mut made);
        assert_all_come_back(&sandbox, &made[made.len() - 1..], &[], &format!("built without {removed}"));
    }
}

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().map_or(25, |n| n.parse().expect("PROPTEST_CASES is a number"));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/property.txt");
    Config {
        cases,
        max_shrink_time: 120_000,
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_backup_of_a_random_history_comes_back_by_all_ways(story in story()) {
        run(&story);
    }
}
