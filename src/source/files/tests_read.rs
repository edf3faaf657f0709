//! Reading of entries that a walk found.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, XattrFlags, lsetxattr};
use tempfile::TempDir;

use super::tests::{found, put};
use super::*;
use crate::model::{ProblemKind, Xattr};

#[test]
fn a_file_is_opened_by_its_name_and_told_apart_from_the_one_that_was_found() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"old");
    let entry = found(&path);
    let (file, stat) = entry.open().unwrap();
    assert!(entry.stat.same_content(&entry.stat_again(&file).unwrap()) && stat.is_same_file(&entry.stat));

    put(&dir.path().join("other"), b"new");
    Command::new("mv").arg("-f").arg(dir.path().join("other")).arg(&path).status().unwrap();
    let (file, stat) = entry.open().unwrap();
    assert_eq!(std::io::read_to_string(file).unwrap(), "new");
    assert!(!stat.is_same_file(&entry.stat));
    assert_ne!(entry.stat_by_name().unwrap().identity(), entry.stat.identity());

    fs::remove_file(&path).unwrap();
    assert_eq!(entry.open().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(problem_kind(&entry.open().unwrap_err()), ProblemKind::Vanished);

    symlink("/etc/passwd", &path).unwrap();
    assert_eq!(problem_kind(&entry.open().unwrap_err()), ProblemKind::Vanished);
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(CWD, &path, Mode::RUSR).unwrap();
    assert_eq!(
        problem_kind(&entry.open().unwrap_err()),
        ProblemKind::Vanished,
        "and a pipe without a writer does not block"
    );
}

#[test]
fn an_inode_that_was_given_out_again_is_another_file() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    for _ in 0..200 {
        put(&path, b"old");
        let entry = found(&path);
        fs::remove_file(&path).unwrap();
        // The clock of a file system stands still for some milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(12));
        put(&path, b"new");
        let (_, stat) = entry.open().unwrap();
        assert!(!stat.is_same_file(&entry.stat), "{stat:?}");
        if stat.identity() == entry.stat.identity() {
            return;
        }
    }
    // This file system gives no inode out again, so there is nothing to see.
}

#[test]
fn a_change_of_content_is_seen() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"old");
    let entry = found(&path);
    let (file, _) = entry.open().unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(b"longer", 0).unwrap();
    assert!(!entry.stat.same_content(&entry.stat_again(&file).unwrap()));
}

#[test]
fn reading_leaves_the_access_time_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"text");
    let touched = Command::new("touch").args(["-a", "-d", "2001-01-01"]).arg(&path).status().unwrap();
    assert!(touched.success());
    let before = fs::metadata(&path).unwrap().accessed().unwrap();
    std::io::read_to_string(found(&path).open().unwrap().0).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), before);
}

#[test]
fn links_are_read_with_any_bytes_and_never_followed() {
    let dir = TempDir::new().unwrap();
    let target: &[u8] = &[b"\xff\n/", &[b'x'; 3000][..]].concat();
    rustix::fs::symlink(target, dir.path().join("l")).unwrap();
    let folder = dir.path().to_path_buf();
    let mut links = walk(&[folder], WalkOptions { one_file_system: true, threads: 1, ..WalkOptions::default() })
        .unwrap()
        .filter_map(|step| match step {
            Step::Entry(found) if found.stat.kind == FileKind::Symlink => Some(found),
            _ => None,
        });
    let link = links.next().unwrap();
    assert_eq!(link.read_link().unwrap(), target);
    assert!(link.open().is_err());
    fs::remove_file(dir.path().join("l")).unwrap();
    put(&dir.path().join("l"), b"");
    assert_eq!(problem_kind(&link.read_link().unwrap_err()), ProblemKind::Vanished);
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|e| {
        panic!("this test needs a file system with extended attributes, and root for `trusted.`: {name}: {e}")
    });
}

#[test]
fn extended_attributes_come_sorted_and_complete() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"");
    let large = vec![0xa5; 3000];
    set(&path, "user.z", b"\0\xff\n");
    set(&path, "user.a", b"");
    set(&path, "user.large", &large);
    let entry = found(&path);
    let expected: Vec<Xattr> = [("user.a", &b""[..]), ("user.large", &large), ("user.z", b"\0\xff\n")]
        .map(|(name, value)| Xattr { name: name.into(), value: value.to_vec() })
        .into();
    assert_eq!(entry.read_xattrs(None).unwrap(), expected);
    assert_eq!(entry.read_xattrs(Some(&entry.open().unwrap().0)).unwrap(), expected);
    assert_eq!(entry.read_xattrs_without_proc().unwrap(), expected);

    fs::remove_file(&path).unwrap();
    assert_eq!(entry.read_xattrs(None).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_long_list_of_names_is_read_to_its_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"");
    (0..30).for_each(|i| set(&path, &format!("user.{}{i:02}", "n".repeat(50)), b"v"));
    let xattrs = found(&path).read_xattrs(None).unwrap();
    assert_eq!(xattrs.len(), 30);
    assert!(xattrs.is_sorted());
}

#[test]
fn attributes_of_folders_links_and_pipes_are_their_own() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    fs::create_dir(&root).unwrap();
    put(&root.join("f"), b"");
    set(&root.join("f"), "user.of-the-file", b"1");
    symlink("f", root.join("link")).unwrap();
    rustix::fs::mkfifoat(CWD, root.join("pipe"), Mode::RUSR).unwrap();
    set(&root, "user.of-the-folder", b"2");
    if rustix::process::geteuid().is_root() {
        set(&root.join("link"), "trusted.of-the-link", b"3");
    }
    let options = WalkOptions { one_file_system: true, ..WalkOptions::default() };
    for step in walk(&[root], options).unwrap() {
        let Step::Entry(entry) = step else { panic!("{step:?}") };
        let names: Vec<_> =
            entry.read_xattrs(None).unwrap().into_iter().map(|x| String::from_utf8(x.name).unwrap()).collect();
        match entry.stat.kind {
            FileKind::Dir => assert_eq!(names, ["user.of-the-folder"]),
            FileKind::File => assert_eq!(names, ["user.of-the-file"]),
            FileKind::Symlink if rustix::process::geteuid().is_root() => {
                assert_eq!(names, ["trusted.of-the-link"]);
            }
            _ => assert!(names.is_empty()),
        }
        let without = entry.read_xattrs_without_proc();
        assert_eq!(without.is_ok(), matches!(entry.stat.kind, FileKind::Dir | FileKind::File));
    }
}

#[test]
fn access_control_lists_are_among_the_attributes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"");
    let set = Command::new("setfacl").args(["-m", "u:1234:r"]).arg(&path).status();
    assert!(set.is_ok_and(|s| s.success()), "this test needs setfacl and a file system with ACLs");
    let names: Vec<_> = found(&path).read_xattrs(None).unwrap().into_iter().map(|x| x.name).collect();
    assert_eq!(names, [b"system.posix_acl_access"]);
}

#[test]
fn a_sparse_file_says_so() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    put(&path, b"start");
    assert!(!found(&path).stat.may_have_holes());
    File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let entry = found(&path);
    assert!(entry.stat.may_have_holes());
    let regions = data_regions(&entry.open().unwrap().0, entry.stat.size).unwrap().unwrap();
    assert!(regions.len() == 1 && regions[0].0 == 0 && regions[0].1 <= 65_536, "{regions:?}");
}
