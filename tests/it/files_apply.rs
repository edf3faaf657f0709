//! Trees go back to where they came from: staged beside, swapped in by one rename, and out again.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ccbackup::config::{FilesConfig, SourceConfig};
use ccbackup::durable::{Disk, DiskChange, Faults};
use ccbackup::engine::apply::{ApplyRequest, PlanReport, Services};
use ccbackup::source::{self, ActionKind};
use ccbackup::{ComponentConfig, Host, Recorder, Session};

use crate::contract::{Bench, Subject, contract, said};
use crate::support::{is_root, look};

/// A tree and a single file, with everything that must come back.
struct Trees {
    dir: tempfile::TempDir,
}

impl Trees {
    fn start() -> Option<Self> {
        Some(Self { dir: tempfile::tempdir().unwrap() })
    }

    fn root(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap()
    }

    fn tree(&self) -> PathBuf {
        self.root().join("srv/app")
    }

    fn file(&self) -> PathBuf {
        self.root().join("etc/app.conf")
    }
}

impl Subject for Trees {
    fn component(&self) -> ComponentConfig {
        ComponentConfig::of_files("files", vec![self.tree(), self.file()])
    }

    fn fill(&mut self) {
        let tree = self.tree();
        fs::create_dir_all(tree.join("deep/er")).unwrap();
        fs::create_dir_all(self.root().join("etc")).unwrap();
        fs::write(self.file(), "port = 1").unwrap();
        fs::write(tree.join("deep/file"), "content").unwrap();
        fs::write(tree.join("deep/er/grün ü.txt"), vec![7; 100_000]).unwrap();
        fs::hard_link(tree.join("deep/file"), tree.join("second name")).unwrap();
        symlink("../nowhere", tree.join("link")).unwrap();
        fs::set_permissions(tree.join("deep/er"), fs::Permissions::from_mode(0o2750)).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o711)).unwrap();
    }

    fn change(&mut self) {
        fs::write(self.tree().join("deep/file"), "other").unwrap();
        fs::write(self.tree().join("added"), "new").unwrap();
        fs::remove_file(self.tree().join("link")).unwrap();
        fs::write(self.file(), "port = 2").unwrap();
    }

    fn wipe(&mut self) {
        fs::remove_dir_all(self.tree()).unwrap();
        fs::remove_file(self.file()).unwrap();
    }

    fn fingerprint(&self) -> String {
        let all = [self.tree(), self.file()];
        all.iter().map(|path| if path.exists() { format!("{:#?}", look(path)) } else { "nothing\n".into() }).collect()
    }
}

contract!(trees, Trees::start);

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_old_tree_is_kept_beside_until_the_run_is_confirmed_and_nothing_else_is_left() {
    let mut trees = Trees::start().unwrap();
    trees.fill();
    let bench = Bench::new(&trees);
    let id = bench.capture(&trees).id;
    trees.change();
    let old = trees.tree().metadata().unwrap().ino();
    bench.apply(&trees, &id, true);
    let beside = names(&trees.root().join("srv"));
    assert_eq!(beside.len(), 2, "{beside:?}");
    assert!(beside[0].starts_with(".ccbackup-before-") && beside[1] == "app", "{beside:?}");
    assert_eq!(trees.root().join("srv").join(&beside[0]).metadata().unwrap().ino(), old);
}

#[test]
fn what_rules_leave_out_is_no_difference_and_stays_in_the_kept_tree() {
    let mut trees = Trees::start().unwrap();
    trees.fill();
    fs::write(trees.tree().join("x.cache"), "not wanted").unwrap();
    let mut config = trees.component();
    let SourceConfig::Files(files) = &mut config.source else { panic!() };
    files.rules.exclude = vec!["*.cache".into()];
    let with_rules = Ruled(trees, config);
    let bench = Bench::new(&with_rules);
    let id = bench.capture(&with_rules).id;
    assert!(bench.is_equal(&with_rules, &id));
    fs::write(with_rules.0.tree().join("deep/file"), "other").unwrap();
    let plan = bench.plan(&with_rules, &id, true);
    let action = &plan.components[0].actions[0];
    assert_eq!((action.kind, action.detail.contains("leave out")), (ActionKind::Replace, true), "{action:?}");
    bench.apply(&with_rules, &id, true);
    assert!(!with_rules.0.tree().join("x.cache").exists());
    let kept = names(&with_rules.0.root().join("srv")).remove(0);
    assert!(with_rules.0.root().join("srv").join(kept).join("x.cache").exists());
}

/// A subject with another configuration.
struct Ruled(Trees, ComponentConfig);

impl Subject for Ruled {
    fn component(&self) -> ComponentConfig {
        self.1.clone()
    }
    fn fill(&mut self) {}
    fn change(&mut self) {}
    fn wipe(&mut self) {}
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

#[test]
fn a_root_that_is_reached_by_a_link_is_put_where_the_link_leads() {
    let mut trees = Trees::start().unwrap();
    trees.fill();
    let link = trees.root().join("way");
    symlink(trees.tree(), &link).unwrap();
    let config = FilesConfig { paths: vec![link.clone()], ..FilesConfig::default() };
    let source = SourceConfig::Files(config);
    let by_link = Ruled(trees, ComponentConfig { name: "files".into(), source, ..ComponentConfig::default() });
    let bench = Bench::new(&by_link);
    let before = look(&by_link.0.tree());
    let id = bench.capture(&by_link).id;
    fs::write(by_link.0.tree().join("deep/file"), "other").unwrap();
    bench.apply(&by_link, &id, true);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(look(&by_link.0.tree()) == before && bench.is_equal(&by_link, &id));
}

#[test]
fn a_tree_in_which_something_is_mounted_is_left_to_a_person() {
    if !is_root() {
        eprintln!("SKIPPED: only root can mount");
        return;
    }
    let mut trees = Trees::start().unwrap();
    trees.fill();
    let bench = Bench::new(&trees);
    let id = bench.capture(&trees).id;
    trees.change();
    let point = trees.tree().join("deep/er");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&point).status().unwrap();
    if !mounted.success() {
        eprintln!("SKIPPED: this root cannot mount");
        return;
    }
    fs::write(point.join("precious"), "on another file system").unwrap();
    let plan = bench.plan(&trees, &id, true);
    let action = plan.components[0].actions[0].clone();
    bench.try_apply(&trees, &id, true, &Recorder::default()).ok();
    let is_there = point.join("precious").exists();
    Command::new("umount").arg(&point).status().unwrap();
    assert!(is_there);
    assert_eq!((action.kind, action.detail.contains("mounted")), (ActionKind::Manual, true), "{action:?}");
}

/// Lets so many changes of the disk happen, then none.
#[derive(Debug)]
struct Dies(AtomicUsize);

impl Faults for Dies {
    fn before(&self, _: DiskChange, _: &Path) -> Result<(), (usize, io::Error)> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| (0, io::Error::other("the power is out")))
    }
}

#[test]
fn an_apply_that_dies_anywhere_leaves_the_old_tree_or_the_new_one_and_undo_brings_the_old() {
    let mut trees = Trees::start().unwrap();
    trees.fill();
    let bench = Bench::new(&trees);
    let new = trees.fingerprint();
    let id = bench.capture(&trees).id;
    trees.change();
    let old = trees.fingerprint();
    let open = |config: &ComponentConfig| source::open(&config.source);
    let configs = [trees.component()];
    let mut died = 0;
    for allowed in 0.. {
        let disk = Disk::with_faults(Arc::new(Dies(AtomicUsize::new(allowed))));
        let (host, trust) = bench.parts();
        let host = Host { disk, ..host };
        let session = Session::open(&bench.repository(), host, trust, ccbackup::Keys::none()).unwrap();
        let request = ApplyRequest { overwrite: true, threads: 2, ..ApplyRequest::default() };
        let services = Services { configs: &configs, open: &open };
        let applied = session.apply(&id, &request, services, &mut |_: &PlanReport| Ok(()), &Recorder::default());
        let is_tree = |fingerprint: &str| look_of(&trees, fingerprint);
        assert!(is_tree(&old) || is_tree(&new), "after {allowed} changes the tree is neither");
        let services = || Services { configs: &configs, open: &open };
        if let Some(run) = bench.session().apply_runs().unwrap().last()
            && run.can_be_undone()
        {
            let undone = bench.session().undo_apply(&run.id, services(), &Recorder::default());
            let undone = undone.unwrap_or_else(|e| panic!("{}", said(&e)));
            assert!(undone.failure().is_none(), "{undone:?}");
            assert_eq!(trees.fingerprint(), old, "after {allowed} changes and the undo");
        }
        if applied.is_ok_and(|report| report.is_whole()) {
            break;
        }
        died += 1;
    }
    assert!(died > 5, "{died}");
    assert_eq!(names(&trees.root().join("srv")), ["app"]);
}

/// Whether the tree, which is swapped before the file, is as it was then.
fn look_of(trees: &Trees, fingerprint: &str) -> bool {
    fingerprint.starts_with(&format!("{:#?}", look(&trees.tree())))
}
