//! Damage of one object costs only what needs it: everything else is restored, listed and verified, and what is lost is
//! named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ccbackup::ComponentConfig;
use ccbackup::Kind;
use ccbackup::archive::frame::SeekTable;
use ccbackup::engine::query::{self, Change};
use ccbackup::engine::restore;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::{Depth, Finding};
use ccbackup::model::BackupId;
use ccbackup::monitor::Recorder;
use serde_json::json;

use crate::damage::{Tree, contents, flip};
use crate::forge::{Forge, INDEX, with};
use crate::support::{Sandbox, is_root, noise, run_as_nobody, write};

/// A tree whose index has many segments.
fn many_files(sandbox: &Sandbox) -> Tree {
    for number in 0..3000 {
        write(&sandbox.tree().join(format!("{}/{number:04}", number / 750)), format!("content {number}").as_bytes());
    }
    contents(&sandbox.tree())
}

/// Restores what can be restored, all of which must be right.
fn restored(sandbox: &Sandbox, id: &BackupId, expected: &Tree) -> (restore::RestoreReport, Tree) {
    let target = sandbox.scratch("out");
    let report = sandbox.try_restore(id, &target, |_| {}).unwrap_or_else(|e| panic!("gave up: {}", e.one_line()));
    let found = target.join("files/tree");
    let found = if found.exists() { contents(&found) } else { Tree::new() };
    for (path, content) in &found {
        assert!(expected.get(path) == Some(content), "{} came back wrong", path.display());
    }
    (report, found)
}

/// Where the frames of an unencrypted index file lie: offset and length.
fn frames(index: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(index).unwrap();
    let footer = bytes.last_chunk().unwrap();
    let table = bytes.len() as u64 - SeekTable::table_size_from_footer(footer).unwrap();
    let table = SeekTable::parse(&bytes, table).unwrap();
    (0..table.frames()).map(|n| (table.frame(n).stored_offset, table.frame(n).stored_length)).collect()
}

/// How many entries the findings say are lost.
fn lost(findings: &[Finding]) -> usize {
    let count = |f: &Finding| f.detail.split(' ').find_map(|word| word.parse::<usize>().ok()).unwrap();
    findings.iter().map(count).sum()
}

fn listed(sandbox: &Sandbox, id: &BackupId) -> (BTreeSet<PathBuf>, Vec<Finding>) {
    let mut paths = BTreeSet::new();
    let findings = query::entries(&sandbox.chain(id).unwrap(), &Selection::new(&[], &[]).unwrap(), &mut |_, entry| {
        let path = Path::new(entry.path.as_os_str());
        paths.extend(path.strip_prefix("tree").ok().map(Path::to_owned));
        Ok(())
    });
    (paths, findings.unwrap())
}

#[test]
fn a_flipped_bit_in_an_index_costs_the_entries_of_its_segments_alone() {
    for mut sandbox in [Sandbox::plain(), Sandbox::new(), Sandbox::aes()] {
        let tree = many_files(&sandbox);
        let id = sandbox.create().id;
        let record = sandbox.chain(&id).unwrap().backup.manifest.components[0].clone();
        assert!(record.index.segments > 8, "{}", record.index.segments);
        let index = sandbox.root().join(id.as_str()).join(&record.index.name);
        let size = fs::metadata(&index).unwrap().len();
        flip(&index, size / 3, 4);
        let (report, found) = restored(&sandbox, &id, &tree);
        assert!(
            !report.findings.is_empty() && report.findings.iter().all(|f| f.kind.to_string() == "index"),
            "{report:#?}"
        );
        assert!(report.findings.iter().all(|f| f.path.starts_with("files/tree")), "{:#?}", report.findings);
        assert_eq!(report.entries + lost(&report.findings) as u64, record.entries);
        assert!(found.len() > 300, "{} of 3000 came back", found.len());
        let (names, findings) = listed(&sandbox, &id);
        assert_eq!(names.iter().filter(|p| p.components().count() == 2).count(), found.len());
        assert_eq!(findings, report.findings);
        let verified = sandbox.verify(&id, Depth::Deep(100.0));
        assert_eq!(verified.entries, report.entries, "deep verification reads what can be read");
        assert!(report.findings.iter().all(|f| verified.findings.contains(f)), "{:#?}", verified.findings);
        let plan = preview(&sandbox, &id, &sandbox.scratch("none"));
        assert_eq!((plan.entries, plan.findings), (report.entries, report.findings));
    }
}

fn preview(sandbox: &Sandbox, id: &BackupId, target: &Path) -> restore::RestoreReport {
    let options = restore::RestoreOptions { overwrite: true, delete: true, threads: 2, ..Default::default() };
    sandbox.reader().unwrap().preview_restore(id, target, options, &Recorder::default()).unwrap()
}

#[test]
fn each_lost_segment_is_named_and_nothing_is_deleted_because_of_it() {
    let mut sandbox = Sandbox::plain();
    let tree = many_files(&sandbox);
    let id = sandbox.create().id;
    let out = sandbox.scratch("out");
    sandbox.try_restore(&id, &out, |_| {}).unwrap();
    write(&out.join("files/other"), b"not of the backup");
    let index = sandbox.root().join(id.as_str()).join(INDEX);
    let segments = frames(&index);
    for number in [2, 5] {
        flip(&index, segments[number].0 + segments[number].1 / 2, 1);
    }
    let report = sandbox.try_restore(&id, &out, |o| (o.overwrite, o.delete) = (true, true)).unwrap();
    assert_eq!(report.findings.len(), 2, "{:#?}", report.findings);
    assert_eq!(contents(&out.join("files/tree")), tree, "what was there and is not listed any more stays");
    assert!(out.join("files/other").exists() && report.deleted.is_empty());
    assert!(report.problems.iter().any(|p| p.kind.as_str() == "not-removed"), "{:?}", report.problems);
    let plan = preview(&sandbox, &id, &out);
    assert!(plan.deleted.is_empty());
}

#[test]
fn folders_whose_own_lines_are_lost_are_made_for_what_they_hold() {
    let mut sandbox = Sandbox::plain();
    let tree = many_files(&sandbox);
    let id = sandbox.create().id;
    let index = sandbox.root().join(id.as_str()).join(INDEX);
    flip(&index, frames(&index)[0].1 / 2, 1);
    let (report, found) = restored(&sandbox, &id, &tree);
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    assert!(found.len() > 1500 && found.len() < 3000 && found.keys().any(|p| p.starts_with("0")), "{}", found.len());
    let made: BTreeSet<_> = report.problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(made, ["files/tree", "files/tree/0"].into());
}

#[test]
fn only_segments_and_their_table_are_needed_of_an_index() {
    let mut sandbox = Sandbox::plain();
    let tree = many_files(&sandbox);
    let id = sandbox.create().id;
    let index = sandbox.root().join(id.as_str()).join(INDEX);
    let all = frames(&index);
    let [.., table, end] = all.as_slice() else { panic!("{all:?}") };
    flip(&index, end.0 + end.1 / 2, 1);
    let (report, found) = restored(&sandbox, &id, &tree);
    assert!(report.findings.is_empty() && found == tree, "the end line is not needed: {:?}", report.findings);
    assert!(!sandbox.verify(&id, Depth::Keyless).ok);
    flip(&index, table.0 + table.1 / 2, 1);
    let (report, found) = restored(&sandbox, &id, &tree);
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((finding.kind.to_string().as_str(), finding.path.ends_with(INDEX)), ("index", true));
    assert!(finding.detail.contains("signed digest") && found.is_empty(), "{}", finding.detail);
}

#[test]
fn frames_of_an_index_are_found_without_its_seek_table() {
    for mut sandbox in [Sandbox::plain(), Sandbox::new()] {
        let tree = many_files(&sandbox);
        let id = sandbox.create().id;
        let record = sandbox.chain(&id).unwrap().backup.manifest.components[0].clone();
        let index = sandbox.root().join(id.as_str()).join(&record.index.name);
        let size = fs::metadata(&index).unwrap().len();
        if record.index.name == INDEX {
            let all = frames(&index);
            flip(&index, size - 20, 1);
            let (report, found) = restored(&sandbox, &id, &tree);
            assert!(report.findings.is_empty() && found == tree, "the seek table is not needed: {:?}", report.findings);
            flip(&index, all[4].0 + all[4].1 / 2, 1);
            let (report, found) = restored(&sandbox, &id, &tree);
            assert!(!report.findings.is_empty() && found.len() > 300, "{} of 3000 came back", found.len());
        } else {
            // Its end holds the table too.
            fs::OpenOptions::new().write(true).open(&index).unwrap().set_len(size - 1).unwrap();
            let (report, _) = restored(&sandbox, &id, &tree);
            assert!(report.findings.iter().all(|f| f.kind.to_string() == "index") && !report.findings.is_empty());
        }
    }
}

#[test]
fn an_archive_whose_end_is_damaged_costs_little() {
    for mut sandbox in [Sandbox::plain(), Sandbox::new()] {
        (0..8).for_each(|n| write(&sandbox.tree().join(format!("noise {n}")), &noise(n, 1 << 20)));
        let tree = contents(&sandbox.tree());
        let id = sandbox.create().id;
        let name = &sandbox.chain(&id).unwrap().backup.manifest.components[0].archives[0].name;
        let archive = sandbox.root().join(id.as_str()).join(name);
        flip(&archive, fs::metadata(&archive).unwrap().len() - 2, 1);
        let (_, found) = restored(&sandbox, &id, &tree);
        // Of a sealed one the last 64 KiB are lost with the frame that they end.
        let least = if name.ends_with(".zst") { tree.len() } else { tree.len() / 2 };
        assert!(found.len() >= least, "{name}: {} of {}", found.len(), tree.len());
    }
}

#[test]
fn a_line_that_is_none_costs_itself() {
    let forge = Forge::new();
    let mut lines = forge.lines.clone();
    lines.iter_mut().filter(|l| l["path"] == "tree/dir/b").for_each(|l| l["mode"] = json!("rwx"));
    forge.put_index(&lines);
    forge.seal();
    let out = forge.sandbox.scratch("out");
    let report = forge.sandbox.try_restore(&forge.id, &out, |_| {}).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.kind.to_string().as_str(), finding.path.as_str()), ("index", "files/tree/dir/b"));
    assert!(out.join("files/tree/z").exists() && !out.join("files/tree/dir/b").exists());
}

#[test]
fn deep_verification_compares_what_the_manifest_counts() {
    let forge = Forge::new();
    for (pointer, word) in [
        ("/entries", "entries"),
        ("/new_entries", "new entries"),
        ("/content_bytes", "bytes of content"),
        ("/archives/0/frames", "frames"),
        ("/archives/0/tar_bytes", "frames"),
    ] {
        forge.put_index(&forge.lines);
        forge.seal_as(|m| *m["components"][0].pointer_mut(pointer).unwrap() = json!(4242));
        let report = forge.sandbox.verify(&forge.id, Depth::Deep(100.0));
        let [finding] = report.findings.as_slice() else { panic!("{pointer}: {:#?}", report.findings) };
        assert!(finding.detail.contains(word) && finding.detail.contains("4242"), "{}", finding.detail);
    }
    forge.seal_as(|m| m["components"][0]["index"]["segments"] = json!(2));
    forge.refused(Kind::Damage, "another number of segments");
}

#[test]
fn a_table_that_is_not_the_one_in_the_manifest_is_damage() {
    let forge = Forge::new();
    forge.put_index(&forge.lines);
    for (about, change) in [
        ("another digest", json!({"offset": 0, "bytes": 1, "sha256": "00".repeat(32)})),
        ("a range behind the file", json!({"offset": 1_u64 << 50, "bytes": 1_u64 << 50, "sha256": "00".repeat(32)})),
        ("a range that overflows", json!({"offset": u64::MAX, "bytes": u64::MAX, "sha256": "00".repeat(32)})),
    ] {
        for is_damaged in [false, true] {
            forge.put_index(&forge.lines);
            forge.seal_as(|m| {
                m["components"][0]["index"]["table"] = change.clone();
                if is_damaged {
                    m["components"][0]["index"]["sha256"] = json!("11".repeat(32));
                }
            });
            forge.refused(Kind::Damage, about);
        }
    }
}

#[test]
fn a_diff_says_nothing_about_what_one_side_has_lost() {
    let mut sandbox = Sandbox::plain();
    many_files(&sandbox);
    let first = sandbox.create().id;
    write(&sandbox.tree().join("3/2999"), b"changed");
    sandbox.settings.full = true;
    let second = sandbox.create().id;
    let index = sandbox.root().join(second.as_str()).join(INDEX);
    let segment = frames(&index)[1];
    flip(&index, segment.0 + segment.1 / 2, 1);
    for (a, b) in [(&first, &second), (&second, &first)] {
        let mut seen = Vec::new();
        let (a, b) = (sandbox.chain(a).unwrap(), sandbox.chain(b).unwrap());
        let findings = query::diff(&a, &b, &mut |change, _, entry| {
            seen.push((change, entry.path.to_string()));
            Ok(())
        });
        assert_eq!(findings.unwrap().len(), 1);
        assert_eq!(seen, [(Change::Content, "tree/3/2999".to_owned())]);
    }
}

/// A full backup and one that depends on it.
fn two_backups(mut sandbox: Sandbox) -> (Sandbox, [BackupId; 2], Tree) {
    for number in 0..50 {
        write(&sandbox.tree().join(format!("old {number}")), &noise(number, 2000));
    }
    let first = sandbox.create().id;
    for number in 0..20 {
        write(&sandbox.tree().join(format!("new {number}")), &noise(100 + number, 2000));
    }
    let second = sandbox.create().id;
    let tree = contents(&sandbox.tree());
    (sandbox, [first, second], tree)
}

#[test]
fn what_nobody_needs_of_a_dependency_may_be_damaged() {
    let (sandbox, [first, second], tree) = two_backups(Sandbox::new());
    let folder = sandbox.root().join(first.as_str());
    for name in ["SHA256SUMS.sig", "manifest.json", "README.txt", "restore.sh", "SHA256SUMS"] {
        let path = folder.join(name);
        let good = fs::read(&path).unwrap();
        for bad in [Some(&b"garbage"[..]), Some(b""), None] {
            match bad {
                Some(bytes) => write(&path, bytes),
                None => fs::remove_file(&path).unwrap(),
            }
            let (report, found) = restored(&sandbox, &second, &tree);
            assert!(report.findings.is_empty() && found == tree, "{name}: {:#?}", report.findings);
            assert!(!sandbox.verify(&second, Depth::Keyless).ok, "{name}");
        }
        write(&path, &good);
    }
}

#[test]
fn a_missing_dependency_costs_only_what_needs_it() {
    let (sandbox, [first, second], tree) = two_backups(Sandbox::new());
    fs::remove_dir_all(sandbox.root().join(first.as_str())).unwrap();
    let (report, found) = restored(&sandbox, &second, &tree);
    assert_eq!(found.len(), 20, "what the second backup holds itself: {:?}", found.keys());
    let lost: BTreeSet<_> = report.findings.iter().map(|f| f.path.as_str()).collect();
    assert!((0..50).all(|n| lost.contains(format!("files/tree/old {n}").as_str())), "{lost:?}");
    let verified = sandbox.verify(&second, Depth::Deep(100.0));
    assert!(verified.findings.iter().any(|f| f.kind.to_string() == "chain"), "{:#?}", verified.findings);
    assert!(verified.findings.iter().all(|f| f.path != "files/tree/new 1"), "{:#?}", verified.findings);
}

#[test]
fn a_missing_dependency_with_segments_of_the_index_leaves_the_others() {
    let mut sandbox = Sandbox::new();
    let expected = many_files(&sandbox);
    let full = sandbox.create().id;
    // Its segment is new; most others lie in the index of the full backup.
    write(&sandbox.tree().join("1/0800"), b"content 800");
    let id = sandbox.create().id;
    write(&sandbox.root().join(full.as_str()).join("files.index.zst.age"), b"nothing of an index");
    let (report, found) = restored(&sandbox, &id, &expected);
    assert!(found.len() > 60 && found.len() < 2000, "{}", found.len());
    assert!(
        report.findings.len() > 3 && report.findings.iter().all(|f| f.kind.to_string() == "index"),
        "{:?}",
        report.findings
    );
}

#[test]
fn components_behind_one_with_a_damaged_index_are_restored() {
    let mut sandbox = Sandbox::new();
    sandbox.settings.components.remove(0);
    for name in ["a", "b"] {
        let root = sandbox.scratch(&format!("roots/{name}"));
        write(&root.join("file"), name.as_bytes());
        let spec = ComponentConfig::of_files(name, vec![root]);
        sandbox.settings.components.push(spec);
    }
    let report = sandbox.create();
    let index = sandbox.root().join(report.id.as_str()).join("a.index.zst.age");
    write(&index, b"nothing of an index");
    let target = sandbox.scratch("out");
    let restored = sandbox.try_restore(&report.id, &target, |_| {}).unwrap();
    let [finding] = restored.findings.as_slice() else { panic!("{:?}", restored.findings) };
    assert_eq!((finding.kind.to_string().as_str(), finding.component.as_deref()), ("index", Some("a")));
    assert_eq!(fs::read(target.join("b/b/file")).unwrap(), b"b");
}

#[test]
fn a_file_that_was_not_read_cleanly_is_told_by_everything_that_brings_it_back() {
    let forge = Forge::new();
    let mut lines = forge.lines.clone();
    lines.iter_mut().filter(|l| l["path"] == "tree/dir/b").for_each(|l| l["unsettled"] = json!(true));
    forge.put_index(&lines);
    forge.seal();
    let out = forge.sandbox.scratch("out");
    let first = forge.sandbox.try_restore(&forge.id, &out, |_| {}).unwrap();
    let again = forge.sandbox.try_restore(&forge.id, &out, |o| o.overwrite = true).unwrap();
    assert!(again.unchanged > 0);
    let plan = preview(&forge.sandbox, &forge.id, &out);
    for report in [first, again, plan] {
        let [problem] = report.problems.as_slice() else { panic!("{report:#?}") };
        assert_eq!((problem.kind.as_str(), problem.path.as_str()), ("unsettled", "files/tree/dir/b"));
        assert!(report.findings.is_empty());
    }
    for (path, clean) in [("tree/a", true), ("tree/dir/b", false)] {
        let path = ccbackup::model::EntryPath::new(path.as_bytes()).unwrap();
        assert_eq!(
            query::cat(&forge.sandbox.chain(&forge.id).unwrap(), "files", &path, &mut Vec::new()).unwrap(),
            clean
        );
    }
    let program = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(["--allow-unsigned", "--repo"]).arg(forge.sandbox.root()).args(line.split(' '));
        command.env_clear().env("CCBACKUP_HOME", forge.sandbox.scratch("keys")).output().unwrap()
    };
    let restored = program(&format!("restore latest --target {}", forge.sandbox.scratch("out").display()));
    assert_eq!(restored.status.code(), Some(3), "{restored:?}");
    let shown = program("cat latest files/tree/dir/b");
    assert_eq!((shown.status.code(), shown.stdout), (Some(0), noise(5, 3000)));
    assert!(String::from_utf8_lossy(&shown.stderr).contains("files/tree/dir/b"), "{:?}", shown.stderr);
    flip(&forge.dir().join(INDEX), 20, 1);
    let listing = program("ls latest");
    assert_eq!(listing.status.code(), Some(4), "{listing:?}");
}

#[test]
fn a_hard_link_that_leads_nowhere_costs_itself() {
    let forge = Forge::new();
    for target in ["tree/dir", "tree/missing", "tree/y"] {
        let mut lines = forge.lines.clone();
        let z = lines.pop().unwrap();
        assert_eq!(z["path"], "tree/z");
        if target == "tree/y" {
            lines.push(with(&z, |l| l["path"] = json!("tree/y")));
        }
        lines.push(with(&z, |l| l["target"] = json!(target)));
        forge.put_index(&lines);
        forge.seal();
        let out = forge.sandbox.scratch("out");
        // A stranger must not become a name of the backup.
        write(&out.join("files/tree/missing"), b"of somebody else");
        let report = forge.sandbox.try_restore(&forge.id, &out, |o| o.overwrite = true).unwrap();
        let [finding] = report.findings.as_slice() else { panic!("{target}: {:#?}", report.findings) };
        assert_eq!(finding.path, "files/tree/z", "{}", finding.detail);
        assert!(!out.join("files/tree/z").exists() && out.join("files/tree/a").exists(), "{target}");
        let verified = forge.sandbox.verify(&forge.id, Depth::Deep(100.0));
        assert!(verified.findings.iter().any(|f| f.path == "files/tree/z"), "{:#?}", verified.findings);
    }
}

#[test]
fn a_link_in_the_place_of_a_components_folder_is_not_followed() {
    let forge = Forge::new();
    let elsewhere = forge.sandbox.scratch("elsewhere");
    write(&elsewhere.join("precious"), b"precious");
    let out = forge.sandbox.scratch("out");
    fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(&elsewhere, out.join("files")).unwrap();
    let plan = preview(&forge.sandbox, &forge.id, &out);
    assert!(plan.deleted.is_empty() && plan.unchanged == 0, "{plan:#?}");
    forge.sandbox.try_restore(&forge.id, &out, |o| (o.overwrite, o.delete) = (true, true)).unwrap();
    assert_eq!(contents(&elsewhere), [("precious".into(), b"precious".to_vec())].into());
    assert!(out.join("files").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read(out.join("files/tree/a")).unwrap(), b"content of a");
    // The target itself may be reached through one: that is the user's choice.
    let way = forge.sandbox.dir.path().join("way");
    std::os::unix::fs::symlink(forge.sandbox.scratch("real"), &way).unwrap();
    fs::create_dir(forge.sandbox.dir.path().join("real")).unwrap();
    forge.sandbox.try_restore(&forge.id, &way, |_| {}).unwrap();
    assert!(forge.sandbox.dir.path().join("real/files/tree/a").exists());
}

#[test]
fn what_only_root_could_restore_or_read_costs_nothing_else() {
    if is_root() {
        run_as_nobody("losses::restores_without_privileges");
    } else {
        restores_without_privileges();
    }
}

#[test]
#[ignore = "must not be run by root; the test above runs it as nobody"]
fn restores_without_privileges() {
    use std::os::unix::fs::PermissionsExt as _;
    assert!(!is_root(), "root may make devices and read everything");
    let forge = Forge::new();
    let mut lines = forge.lines.clone();
    let z = lines.pop().unwrap();
    for (path, target) in [("tree/tty", ""), ("tree/tty again", "tree/tty"), ("tree/z", "tree/a")] {
        lines.push(with(&z, |l| {
            l["path"] = json!(path);
            if target.is_empty() {
                l["type"] = json!("char");
                l.as_object_mut().unwrap().shift_remove("target");
                l["device"] = json!([4, 64]);
            } else {
                l["target"] = json!(target);
            }
        }));
    }
    forge.put_index(&lines);
    forge.seal();
    let report = forge.sandbox.try_restore(&forge.id, &forge.sandbox.scratch("out"), |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    let left: BTreeSet<_> = report.problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(left, ["files/tree/tty", "files/tree/tty again"].into());

    let (sandbox, [first, second], tree) = two_backups(Sandbox::new());
    let close = |id: &BackupId, name: &str, mode: u32| {
        let path = sandbox.root().join(id.as_str()).join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    close(&first, "files.tar.zst.age", 0);
    let (report, found) = restored(&sandbox, &second, &tree);
    assert_eq!((found.len(), report.findings.len()), (20, 50));
    assert!(report.findings.iter().all(|f| f.kind.to_string() == "unreadable"), "{:#?}", report.findings);
    close(&second, "files.index.zst.age", 0);
    let (report, _) = restored(&sandbox, &second, &tree);
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!(finding.kind.to_string(), "unreadable", "{}", finding.detail);
}
