//! The tree changes between what the walk saw and what is read: entries may be lost, and that is said; what is published
//! restores, and what nobody touched is in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use ccbackup::engine::create::{CreateReport, Sources, Walks};
use ccbackup::engine::verify::Depth;
use ccbackup::engine::{Clock, query};
use ccbackup::model::{BackupId, EntryPath, Moment};
use ccbackup::monitor::Recorder;
use ccbackup::source::files::{Step, WalkOptions, walk};

use crate::support::{Sandbox, assert_same, look, noise, write};

/// A backup for which `change` happens when everything was listed and nothing was read.
fn create_while(sandbox: &mut Sandbox, change: impl Fn(&Path)) -> CreateReport {
    let tree = sandbox.tree();
    let walks: Walks<'_> = &|spec, _| {
        let steps: Vec<Step> = walk(&spec.paths, WalkOptions::default())?.collect();
        change(&tree);
        Ok(Box::new(steps.into_iter()))
    };
    sandbox.now += 60;
    sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(sandbox.now));
    sandbox
        .writer()
        .unwrap()
        .create_from(&sandbox.settings, Sources { walk: walks, ..Sources::default() }, &Recorder::default())
        .unwrap()
}

/// What a backup is worth: it verifies, restores without a finding, and so does the next one, which equals the tree.
fn check(sandbox: &mut Sandbox, id: &BackupId) -> std::path::PathBuf {
    let verified = sandbox.verify(id, Depth::Deep(100.0));
    assert!(verified.ok, "{:?}", verified.findings);
    let target = sandbox.scratch("in-motion");
    let restored = sandbox.try_restore(id, &target, |_| {}).unwrap();
    assert!(restored.findings.is_empty(), "{:?}", restored.findings);
    let next = sandbox.create();
    assert_same(&look(&sandbox.tree()), &look(&sandbox.restore(&next.id)), "the next backup");
    target.join("files/tree")
}

fn problems(report: &CreateReport) -> Vec<(&str, &str)> {
    report.problems.iter().map(|p| (p.kind.as_str(), p.path.as_str())).collect()
}

fn rename(tree: &Path, from: &str, to: &str) {
    fs::rename(tree.join(from), tree.join(to)).unwrap();
}

#[test]
fn a_folder_that_is_moved_away_stays_with_all_that_could_be_read() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    write(&tree.join("a/b/file"), b"1");
    write(&tree.join("a/c/d/file"), b"2");
    write(&tree.join("still"), b"3");
    let report = create_while(&mut sandbox, |tree| rename(tree, "a", "elsewhere"));
    let found = problems(&report);
    assert!(found.iter().any(|p| p.1 == "tree/a"), "{found:?}");
    assert!(found.iter().all(|p| p.1.starts_with("tree/a")), "{found:?}");
    let out = check(&mut sandbox, &report.id);
    assert!(out.join("a/b").is_dir() && out.join("a/c/d").is_dir());
    assert_eq!(fs::read(out.join("still")).unwrap(), b"3");
    // Each file is there, or it is named.
    for (file, name) in [("a/b/file", "tree/a/b/file"), ("a/c/d/file", "tree/a/c/d/file")] {
        assert!(out.join(file).exists() || found.contains(&("vanished", name)), "{file}: {found:?}");
    }
}

#[test]
fn another_name_takes_the_place_of_a_first_name_that_was_replaced_or_removed() {
    // One that fits a batch, and one that goes its own way.
    for size in [1000, 9 << 20] {
        for how in ["replaced", "removed", "made a link", "made a folder"] {
            let mut sandbox = Sandbox::new();
            let tree = sandbox.tree();
            let content = noise(1, size);
            write(&tree.join("a"), &content);
            fs::hard_link(tree.join("a"), tree.join("m")).unwrap();
            fs::hard_link(tree.join("a"), tree.join("z")).unwrap();
            write(&tree.join("b"), b"between");
            let report = create_while(&mut sandbox, |tree| {
                write(&tree.join("new"), b"the new one");
                match how {
                    "replaced" => rename(tree, "new", "a"),
                    "removed" => fs::remove_file(tree.join("a")).unwrap(),
                    "made a link" => {
                        fs::remove_file(tree.join("a")).unwrap();
                        symlink("b", tree.join("a")).unwrap();
                    }
                    _ => {
                        fs::remove_file(tree.join("a")).unwrap();
                        fs::create_dir(tree.join("a")).unwrap();
                    }
                }
            });
            let expected: &[(&str, &str)] = if how == "replaced" { &[] } else { &[("vanished", "tree/a")] };
            assert_eq!(problems(&report), expected, "{how}");
            let out = check(&mut sandbox, &report.id);
            assert_eq!(fs::read(out.join("m")).unwrap(), content, "{how}");
            assert_eq!(fs::metadata(out.join("m")).unwrap().ino(), fs::metadata(out.join("z")).unwrap().ino());
            match how {
                "replaced" => assert_eq!(fs::read(out.join("a")).unwrap(), b"the new one"),
                _ => assert!(!out.join("a").exists()),
            }
        }
    }
}

#[test]
fn names_of_which_none_can_be_captured_are_lost_together() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    write(&tree.join("a"), b"gone");
    fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    write(&tree.join("still"), b"here");
    let report = create_while(&mut sandbox, |tree| {
        fs::remove_file(tree.join("a")).unwrap();
        fs::remove_file(tree.join("b")).unwrap();
    });
    assert_eq!(problems(&report), [("vanished", "tree/a"), ("vanished", "tree/b")]);
    check(&mut sandbox, &report.id);
}

#[test]
fn an_unchanged_further_name_is_kept_although_its_first_name_was_replaced() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    write(&tree.join("a"), b"old and shared");
    fs::hard_link(tree.join("a"), tree.join("z")).unwrap();
    sandbox.now = jiff::Timestamp::now().as_second() + 3600;
    sandbox.create();
    let report = create_while(&mut sandbox, |tree| {
        write(&tree.join("new"), b"new");
        rename(tree, "new", "a");
    });
    assert_eq!(problems(&report), []);
    check(&mut sandbox, &report.id);
}

#[test]
fn an_inode_that_was_given_out_again_does_not_link_strangers() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    let steps = |names: &[&str]| -> Vec<Step> {
        let all = walk(std::slice::from_ref(&tree), WalkOptions::default()).unwrap();
        let wanted = |step: &Step| matches!(step, Step::Entry(f) if names.iter().any(|name| f.path == EntryPath::new(name.as_bytes()).unwrap()));
        all.filter(wanted).collect()
    };
    for _ in 0..500 {
        write(&tree.join("a"), b"of the first file");
        fs::hard_link(tree.join("a"), tree.join("c")).unwrap();
        let inode = fs::metadata(tree.join("a")).unwrap().ino();
        let mut seen = steps(&["tree", "tree/a"]);
        for name in ["a", "c"] {
            fs::remove_file(tree.join(name)).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(12)); // the clock of a file system has ticks
        write(&tree.join("b"), b"of a stranger");
        fs::hard_link(tree.join("b"), tree.join("d")).unwrap();
        let again = fs::metadata(tree.join("b")).unwrap().ino() == inode;
        if !again {
            fs::remove_file(tree.join("b")).unwrap();
            fs::remove_file(tree.join("d")).unwrap();
            continue;
        }
        seen.extend(steps(&["tree/b", "tree/d"]));
        // The first name is back, with a file of its own.
        write(&tree.join("a"), b"of the first file");
        let walks = std::sync::Mutex::new(Some(seen));
        sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(sandbox.now));
        let walk: Walks<'_> = &|_, _| Ok(Box::new(walks.lock().unwrap().take().unwrap().into_iter()));
        let sources = Sources { walk, ..Sources::default() };
        let report = sandbox.writer().unwrap().create_from(&sandbox.settings, sources, &Recorder::default()).unwrap();
        let out = check(&mut sandbox, &report.id);
        for name in ["b", "d"] {
            assert_eq!(fs::read(out.join(name)).unwrap(), b"of a stranger", "{name}");
        }
        assert_eq!(fs::read(out.join("a")).unwrap(), b"of the first file");
        return;
    }
    eprintln!("SKIPPED: the temporary folder's file system gave no inode out again, so nothing was tested");
}

#[test]
fn a_file_that_was_replaced_by_a_rename_is_captured_as_it_is_now() {
    for size in [100, 9 << 20] {
        let mut sandbox = Sandbox::new();
        let tree = sandbox.tree();
        write(&tree.join("saved"), &noise(1, size));
        let report = create_while(&mut sandbox, |tree| {
            write(&tree.join("saved.tmp"), &noise(2, size + 1));
            rename(tree, "saved.tmp", "saved");
        });
        assert_eq!(problems(&report), []);
        let out = check(&mut sandbox, &report.id);
        assert_eq!(fs::read(out.join("saved")).unwrap(), noise(2, size + 1));
    }
}

#[test]
fn a_large_file_that_was_emptied_meanwhile_is_there() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    write(&tree.join("large"), &noise(1, 9 << 20));
    write(&tree.join("z"), b"z");
    let report = create_while(&mut sandbox, |tree| write(&tree.join("large"), b""));
    assert_eq!(problems(&report), []);
    let out = check(&mut sandbox, &report.id);
    assert_eq!(fs::metadata(out.join("large")).unwrap().len(), 0);
    let grown = create_while(&mut sandbox, |tree| write(&tree.join("z"), &noise(2, 10 << 20)));
    assert_eq!(problems(&grown), [("changed", "tree/z")]);
    let mut count = 0;
    let all = ccbackup::engine::select::Selection::new(&[], &[]).unwrap();
    query::entries(&sandbox.chain(&grown.id).unwrap(), &all, &mut |_, _| {
        count += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(count, 3);
}

#[test]
fn a_symbolic_link_that_was_replaced_is_captured_with_its_own_time() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    symlink("old", tree.join("link")).unwrap();
    std::process::Command::new("touch").args(["-h", "-d", "@1000000000"]).arg(tree.join("link")).status().unwrap();
    let report = create_while(&mut sandbox, |tree| {
        symlink("new", tree.join("link.tmp")).unwrap();
        rename(tree, "link.tmp", "link");
    });
    assert_eq!(problems(&report), []);
    let out = check(&mut sandbox, &report.id);
    assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("new"));
    assert_ne!(fs::symlink_metadata(out.join("link")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn what_a_moved_folder_lost_is_captured_by_the_next_backup() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.tree();
    // More folders than are held open, so that those in the moved one are out of reach.
    for number in 0..200 {
        let path = tree.join(format!("a/b{number:03}/c"));
        fs::create_dir_all(&path).unwrap();
        rustix::fs::setxattr(&path, "user.note", b"n", rustix::fs::XattrFlags::empty()).unwrap();
    }
    sandbox.now = jiff::Timestamp::now().as_second() + 3600;
    let report = create_while(&mut sandbox, |tree| rename(tree, "a", "elsewhere"));
    assert!(report.problems.iter().any(|p| p.path.ends_with("/c")), "{:?}", problems(&report));
    rename(&tree, "elsewhere", "a");
    check(&mut sandbox, &report.id);
}
