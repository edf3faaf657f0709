//! Golden repositories: every version of this program must restore what an earlier one wrote.
//!
//! What lies under fixtures/format/v1 is never changed. A change of the format gets a new folder beside it, made by
//! `cargo test --test it make_golden -- --ignored` (as root, so that owners other than the builder's are recorded). Of this
//! version it makes what is not there yet.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use ccbackup::engine::chain::Chain;
use ccbackup::engine::query;
use ccbackup::engine::restore::RestoreOptions;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::{self, Depth};
use ccbackup::engine::{Host, Session};
use ccbackup::keys::Keys;
use ccbackup::model::{BackupId, BackupKind, EntryKind, EntryPath};
use ccbackup::monitor::Recorder;
use ccbackup::repo::Repository;
use ccbackup::repo::backup::Trust;
use serde_json::{Map, Value, json};

use crate::support::{Sandbox, is_root, succeed, write};

/// Every folder of fixtures/format/v1; each has a test below.
pub(crate) const GOLDEN: [&str; 4] = ["aes-256-gcm", "age", "none", "pieces-segments-volumes"];
const KEY_FILE: &str = "TEST-KEY-do-not-use";
const SIGNER_FILE: &str = "TEST-SIGNER.pub";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format/v1")
}

#[test]
fn the_golden_age_chain_is_restored_by_tool_and_script() {
    check("age");
}

#[test]
fn the_golden_aes_chain_is_restored_by_tool_and_script() {
    check("aes-256-gcm");
}

#[test]
fn the_golden_clear_chain_is_restored_by_tool_and_script() {
    check("none");
}

#[test]
fn the_golden_chain_of_several_pieces_segments_and_volumes_is_restored_by_tool_and_script() {
    check("pieces-segments-volumes");
    let golden = Golden::open("pieces-segments-volumes");
    let ids = golden.expect["backups"].as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap().parse().unwrap());
    let ids: Vec<BackupId> = ids.collect();
    let open = |id: &BackupId| Chain::open(&golden.repo(), id, &golden.trust, golden.keys.clone()).unwrap();
    let first = open(&ids[0]).backup.manifest.components[0].clone();
    assert!(first.archives.len() >= 3 && first.index.own_segments >= 3, "{first:#?}");
    let chain = open(&ids[1]);
    let inventory = chain.inventory("files").unwrap();
    for backup in &ids {
        assert!(inventory.segments().iter().any(|s| s.backup == *backup), "a segment of {backup}");
    }
    let large = inventory.find(&EntryPath::new(&b"tree/large"[..]).unwrap()).unwrap().unwrap();
    let EntryKind::File { extents, in_pieces: true, .. } = large.kind else { panic!("{large:#?}") };
    let pieces_of: BTreeSet<_> = extents.iter().map(|e| (e.backup.clone(), e.volume)).collect();
    assert!(ids.iter().all(|id| pieces_of.iter().any(|p| p.0 == *id)), "{extents:#?}");
    assert!(pieces_of.iter().any(|p| p.1 > 0), "{extents:#?}");
}

#[test]
fn every_golden_repository_has_its_test_and_all_are_small() {
    let items = fs::read_dir(fixtures()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(items.collect::<BTreeSet<_>>(), GOLDEN.map(str::to_owned).into());
    let this = include_str!("golden.rs");
    for name in GOLDEN {
        assert!(this.contains(&format!("check(\"{name}\");")), "no test restores {name}");
    }
    let files = walkdir::WalkDir::new(fixtures()).into_iter().map(|f| f.unwrap().metadata().unwrap());
    let bytes: u64 = files.filter(std::fs::Metadata::is_file).map(|m| m.len()).sum();
    assert!((10_000..400 << 10).contains(&bytes), "{bytes} bytes");
}

pub(crate) struct Golden {
    pub(crate) dir: PathBuf,
    pub(crate) expect: Value,
    keys: Keys,
    pub(crate) trust: Trust,
}

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        let dir = fixtures().join(name);
        let expect = serde_json::from_slice(&fs::read(dir.join("EXPECT.json")).unwrap()).unwrap();
        let key = dir.join(KEY_FILE);
        let keys = if key.exists() { Keys::load(&[key]).unwrap() } else { Keys::none() };
        let signer = fs::read_to_string(dir.join(SIGNER_FILE)).unwrap().parse().unwrap();
        Self { dir, expect, keys, trust: Trust { signers: vec![signer], allow_unsigned: false } }
    }

    pub(crate) fn identity(&self) -> Option<PathBuf> {
        let key = self.dir.join(KEY_FILE);
        key.exists().then_some(key)
    }

    fn repo(&self) -> Repository {
        Repository::open(&self.dir.join("repository")).unwrap()
    }

    fn session(&self, state_dir: &Path) -> Session {
        let host = Host::new(state_dir, None);
        Session::open(&self.dir.join("repository"), host, self.trust.clone(), self.keys.clone()).unwrap()
    }
}

fn check(name: &str) {
    let golden = Golden::open(name);
    let scratch = tempfile::tempdir().unwrap();
    let backups = golden.expect["backups"].as_array().unwrap();
    let kinds: Vec<_> = backups.iter().map(|b| b["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["full", "incremental"]);
    for backup in backups {
        let id: BackupId = backup["id"].as_str().unwrap().parse().unwrap();
        let chain = Chain::open(&golden.repo(), &id, &golden.trust, golden.keys.clone()).unwrap();
        compare(&backup["owners"], &owners(&chain), &format!("{name}/{id}: owners in the index"));

        let target = scratch.path().join(format!("tool-{id}"));
        let options = RestoreOptions { threads: 2, ..Default::default() };
        let report = golden.session(scratch.path()).restore(&id, &target, options, &Recorder::default()).unwrap();
        assert!(report.findings.is_empty() && report.problems.is_empty(), "{report:#?}");
        compare(&backup["entries"], &describe(&target.join("files/tree")), &format!("{name}/{id} by the tool"));
        if is_root() {
            compare(&backup["owners"], &owners_of(&target.join("files")), &format!("{name}/{id}: restored owners"));
        }

        let target = scratch.path().join(format!("script-{id}"));
        let mut script = Command::new("sh");
        script.arg(golden.dir.join("repository").join(id.as_str()).join("restore.sh")).arg("-o").arg(&target);
        if name != "none" {
            script.arg("-i").arg(golden.dir.join(KEY_FILE));
        }
        script.arg("-d").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aes-decrypt.py"));
        succeed(&mut script);
        compare(&backup["entries"], &describe(&target.join("files/tree")), &format!("{name}/{id} by its script"));
    }
    let newest = backups[1]["id"].as_str().unwrap().parse().unwrap();
    let options = verify::VerifyOptions { depth: Depth::Deep(100.0), all: true, threads: 2 };
    let report = golden.session(scratch.path()).verify(&newest, &options, &Recorder::default()).unwrap();
    assert!(report.ok && report.backups.len() == 2, "{:#?}", report.findings);
}

fn compare(expected: &Value, found: &Value, about: &str) {
    let (expected, found) = (expected.as_object().unwrap(), found.as_object().unwrap());
    assert!(!expected.is_empty());
    for (path, what) in expected {
        assert_eq!(found.get(path), Some(what), "{about}: {path}");
    }
    assert_eq!(expected.len(), found.len(), "{about}: there is more than expected");
}

/// Owner and group by path, as the index records them.
fn owners(chain: &std::sync::Arc<Chain>) -> Value {
    let mut owners = Map::new();
    let all = Selection::new(&[], &[]).unwrap();
    query::entries(chain, &all, &mut |_, entry| {
        if !matches!(entry.kind, EntryKind::Hardlink { .. }) {
            owners.insert(entry.path.to_string(), json!([entry.uid, entry.gid]));
        }
        Ok(())
    })
    .unwrap();
    Value::Object(owners)
}

/// The same of a folder; of an inode with several names only the first.
fn owners_of(folder: &Path) -> Value {
    let mut inodes = BTreeSet::new();
    let mut owners = Map::new();
    for (name, path) in walk(folder).into_iter().filter(|(name, _)| !name.is_empty()) {
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() || inodes.insert(meta.ino()) {
            owners.insert(name, json!([meta.uid(), meta.gid()]));
        }
    }
    Value::Object(owners)
}

/// Everything but owners that a tree is made of, by escaped path.
fn describe(root: &Path) -> Value {
    let mut entries = Map::new();
    let mut inodes = std::collections::HashMap::new();
    for (name, path) in walk(root) {
        let meta = path.symlink_metadata().unwrap();
        let mut entry = json!({
            "mode": format!("{:04o}", meta.permissions().mode() & 0o7777),
            "mtime": format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()),
        });
        let kind = meta.file_type();
        entry["type"] = json!(if kind.is_dir() {
            "dir"
        } else if kind.is_symlink() {
            entry["target"] = json!(fs::read_link(&path).unwrap().to_str().unwrap());
            entry.as_object_mut().unwrap().shift_remove("mode");
            "symlink"
        } else if kind.is_file() {
            let sum = succeed(Command::new("sha256sum").arg("-z").arg("--").arg(&path)).stdout;
            entry["size"] = json!(meta.len());
            entry["sha256"] = json!(std::str::from_utf8(&sum[..64]).unwrap());
            entry["holes"] = json!(meta.blocks() * 512 + 65536 < meta.len());
            "file"
        } else {
            "other"
        });
        if let Some(value) = xattr(&path) {
            entry["user.golden"] = json!(value);
        }
        if !kind.is_dir() && meta.nlink() > 1 {
            entry["first_name"] = json!(inodes.entry(meta.ino()).or_insert_with(|| name.clone()));
        }
        entries.insert(name, entry);
    }
    Value::Object(entries)
}

fn xattr(path: &Path) -> Option<String> {
    let mut value = [0; 100];
    let length = rustix::fs::lgetxattr(path, "user.golden", &mut value[..]).ok()?;
    Some(value[..length].escape_ascii().to_string())
}

fn walk(root: &Path) -> Vec<(String, PathBuf)> {
    let items = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|item| {
        let path = item.unwrap().into_path();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_encoded_bytes().to_owned();
        (ccbackup::model::escape_path(&name).into_owned(), path)
    });
    items.collect()
}

/// Compresses well, so that the fixtures stay small.
fn lines(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).flat_map(|n| format!("line {:06} of a large text\n", n % 5000).into_bytes()).collect()
}

fn touch(path: &Path, time: &str) {
    succeed(Command::new("touch").arg("-h").arg("-d").arg(format!("@{time}")).arg(path));
}

fn first_tree(tree: &Path) {
    write(&tree.join("plain"), b"golden\n");
    write(&tree.join("empty"), b"");
    write(&tree.join("dir/deeper/file"), b"deep\n");
    write(&tree.join("dir/new\nline \u{65e5}\u{672c}"), b"odd name\n");
    write(&tree.join("removed later"), b"gone\n");
    write(&tree.join("setuid"), b"x");
    write(&tree.join("large"), &lines(0, 350_000));
    fs::hard_link(tree.join("plain"), tree.join("second name")).unwrap();
    std::os::unix::fs::symlink("dir/deeper", tree.join("link")).unwrap();
    fs::create_dir(tree.join("empty dir")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 1 << 20).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(tree.join("plain"), "user.golden", b"\x00value", flags).unwrap();
    std::os::unix::fs::chown(tree.join("setuid"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(tree.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(tree.join("empty dir"), fs::Permissions::from_mode(0o1750)).unwrap();
}

fn second_tree(tree: &Path) {
    write(&tree.join("plain"), b"golden, changed\n");
    fs::remove_file(tree.join("removed later")).unwrap();
    write(&tree.join("added"), b"new\n");
    let mut large = lines(0, 350_000);
    large.splice(4_000_000..4_000_010, *b"a changed piece");
    write(&tree.join("large"), &large);
    fs::rename(tree.join("dir"), tree.join("moved")).unwrap();
}

/// Names of empty files, of which some end a segment: only so a small tree has several (FORMAT.md §7).
fn names_that_end_segments() -> Vec<String> {
    let ends = |name: &str| {
        let text = format!("tree/many/{name}");
        let fnv = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
        (hash ^ hash >> 32) & 127 == 0
    };
    let name = |n: usize| {
        let mut tries = (0..).map(|more: u32| format!("{n:03}-{more}"));
        if n % 70 == 69 { tries.find(|name| ends(name)) } else { tries.next() }
    };
    (0..150).map(|n| name(n).unwrap()).collect()
}

fn first_wide_tree(tree: &Path) {
    for name in names_that_end_segments() {
        write(&tree.join("many").join(name), b"");
    }
    write(&tree.join("before"), b"in the first volume\n");
    write(&tree.join("large"), &lines(0, 350_000));
    write(&tree.join("zzz"), b"in the last volume\n");
}

fn second_wide_tree(tree: &Path) {
    let names = names_that_end_segments();
    write(&tree.join("many").join(names.last().unwrap()), b"in the second backup\n");
    let mut large = lines(0, 350_000);
    // Of the same length: in text that repeats itself boundaries of chunks would not find back.
    large[9_000_000..9_000_010].copy_from_slice(b"changed it");
    write(&tree.join("large"), &large);
}

#[test]
#[ignore = "makes fixtures, of which none that is there may change"]
fn make_golden() {
    assert!(is_root(), "owners can only be set by root");
    let mut wide = Sandbox::new();
    wide.settings.volume_bytes = 1;
    wide.now = 1_800_000_000; // ahead of all timestamps, so that they are believed
    type Change = fn(&Path);
    let trees: [Change; 2] = [first_tree, second_tree];
    let all: [(&str, Sandbox, [Change; 2]); 4] = [
        ("age", Sandbox::new(), trees),
        ("aes-256-gcm", Sandbox::aes(), trees),
        ("none", Sandbox::plain(), trees),
        ("pieces-segments-volumes", wide, [first_wide_tree, second_wide_tree]),
    ];
    for (name, mut sandbox, changes) in all {
        let dir = fixtures().join(name);
        if dir.exists() {
            continue; // golden repositories are never changed
        }
        sandbox.host.name = "golden".into();
        sandbox.settings.level = 19;
        let tree = sandbox.tree();
        let mut backups = Vec::new();
        for (change, time) in changes.into_iter().zip([1_700_000_000_u64, 1_710_000_000]) {
            change(&tree);
            // What an earlier turn has touched stays as it is, or no segment would be the same again.
            let untouched = |path: &Path| path.symlink_metadata().unwrap().mtime() > 1_720_000_000;
            let mut paths: Vec<_> = walk(&tree).into_iter().map(|(_, path)| path).collect();
            paths.reverse();
            paths.retain(|path| untouched(path));
            for (at, path) in paths.iter().enumerate() {
                touch(path, &format!("{}.{:09}", time + at as u64, at * 1_001_001));
            }
            let report = sandbox.create();
            let chain = sandbox.chain(&report.id).unwrap();
            let kind = if report.kind == BackupKind::Full { "full" } else { "incremental" };
            backups.push(json!({
                "id": report.id, "kind": kind, "owners": owners(&chain), "entries": describe(&tree),
            }));
        }
        fs::create_dir_all(&dir).unwrap();
        succeed(Command::new("cp").arg("-a").arg(sandbox.root()).arg(dir.join("repository")));
        fs::remove_file(dir.join("repository/.lock")).unwrap();
        if sandbox.identity().exists() {
            fs::copy(sandbox.identity(), dir.join(KEY_FILE)).unwrap();
        }
        write(&dir.join(SIGNER_FILE), format!("{}\n", sandbox.signer.public()).as_bytes());
        let expect = serde_json::to_string_pretty(&json!({ "backups": backups })).unwrap();
        write(&dir.join("EXPECT.json"), format!("{expect}\n").as_bytes());
    }
}
