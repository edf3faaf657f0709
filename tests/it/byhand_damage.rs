//! By hand after damage: nothing without `-f`; with it each damaged file costs what only it holds, and that is named.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ccbackup::ComponentConfig;
use ccbackup::model::BackupId;

use crate::byhand_names::{by_hand, said};
use crate::support::{Sandbox, assert_same, look, noise, shell, write};

/// A chain of two backups: small files, a large one in pieces of both, and a second component.
fn chain() -> (Sandbox, BackupId, BackupId) {
    let mut sandbox = Sandbox::plain();
    let other = sandbox.dir.path().join("other");
    write(&other.join("file"), b"of the other component");
    let second = ComponentConfig::of_files("other", vec![other]);
    sandbox.settings.components.push(second);
    let tree = sandbox.tree();
    for n in 0..200 {
        write(&tree.join(format!("many/{n:03}")), &noise(n + 1, 50_000));
    }
    write(&tree.join("large"), &noise(1000, 9 << 20));
    let full = sandbox.create().id;
    File::options().write(true).open(tree.join("large")).unwrap().write_all_at(b"changed", 5 << 20).unwrap();
    write(&tree.join("many/000"), b"changed");
    let incremental = sandbox.create().id;
    (sandbox, full, incremental)
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Everything below `restored` is as it was; what is missing is named.
fn only_true_content(sandbox: &Sandbox, restored: &Path, said: &str) -> usize {
    let (expected, found) = (look(&sandbox.tree()), look(restored));
    for (path, seen) in &found {
        assert_eq!(Some(seen), expected.get(path), "{}", path.escape_ascii());
    }
    for path in expected.keys().filter(|p| !found.contains_key(*p)) {
        let path = format!("not restored: tree/{}\n", path.escape_ascii());
        assert!(said.contains(&path) || said.contains("entries of files are lost"), "{path}{said}");
    }
    found.len()
}

#[test]
fn damage_stops_the_script_unless_it_is_told_to_go_on() {
    let (sandbox, full, id) = chain();
    let everything = look(&sandbox.tree()).len();
    let at = |backup: &BackupId, name: &str| -> PathBuf { sandbox.root().join(backup.as_str()).join(name) };
    let half = fs::metadata(at(&full, "files.tar.zst")).unwrap().len() * 3 / 4;
    // File, place, and how many of 203 entries must come back at least.
    for (path, place, least) in [
        (at(&id, "README.txt"), 10, everything),
        (at(&id, "SHA256SUMS"), 3, everything),
        (at(&full, "SHA256SUMS"), 3, everything),
        (at(&full, "files.tar.zst"), half, 20),
        (at(&id, "files.tar.zst"), 100, everything - 2),
        (at(&full, "files.index.zst"), 40, 2),
        (at(&id, "files.index.zst"), 40, 0),
    ] {
        let before = fs::read(&path).unwrap();
        flip(&path, place);
        let (output, target) = by_hand(&sandbox, &id, &[], &[]);
        assert_eq!(output.status.code(), Some(4), "{}: {}", path.display(), said(&output));
        assert!(!target.exists(), "nothing is restored");
        let (output, target) = by_hand(&sandbox, &id, &[], &["-f"]);
        assert_eq!(output.status.code(), Some(4), "{}: {}", path.display(), said(&output));
        let restored = target.join("files/tree");
        if least == 0 {
            assert!(said(&output).contains("files is not restored: its index is damaged"), "{}", said(&output));
        } else {
            let found = only_true_content(&sandbox, &restored, &said(&output));
            assert!(found >= least, "{}: {found} of {least}: {}", path.display(), said(&output));
        }
        assert_eq!(fs::read(target.join("other/other/file")).unwrap(), b"of the other component");
        fs::write(&path, before).unwrap();
    }
    fs::remove_dir_all(sandbox.root().join(full.as_str())).unwrap();
    let (output, target) = by_hand(&sandbox, &id, &[], &["-f"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(!target.join("files/tree/many/001").exists());
}

#[test]
fn a_forged_archive_leads_the_script_nowhere() {
    let (sandbox, full, id) = chain();
    let outside = sandbox.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    // The base makes the folder a link to elsewhere, the newest backup writes through it.
    shell(
        &format!(
            "mkdir -p forge/tree && ln -s {} forge/tree/many && tar -C forge -c tree | zstd -q > base.zst
             mkdir -p again/tree/many && echo evil > again/tree/many/000 && tar -C again -c tree/many/000 | zstd -q > head.zst
             mv base.zst backups/{full}/files.tar.zst; mv head.zst backups/{id}/files.tar.zst",
            outside.display()
        ),
        sandbox.dir.path(),
    );
    let (output, target) = by_hand(&sandbox, &id, &[], &["-f"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!target.join("files/tree/many/000").exists(), "{}", said(&output));
    assert!(said(&output).contains("not restored: tree/many/000\n"), "{}", said(&output));
}

#[test]
fn a_wrong_key_is_not_taken_for_damage() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("f"), b"x");
    let tree = look(&sandbox.tree());
    let id = sandbox.create().id;
    let (output, target) = by_hand(&sandbox, &id, &[], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&tree, &look(&target.join("files/tree")), "with the right key");
    shell("rm identity && age-keygen -o identity", sandbox.dir.path());
    let (output, _) = by_hand(&sandbox, &id, &[], &["-f"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("wrong key"), "{}", said(&output));
}
