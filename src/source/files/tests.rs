//! Walks over real trees.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use tempfile::TempDir;

use super::*;
use crate::error::Kind;
use crate::model::{EntryPath, Problem, ProblemKind};

pub(super) fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn options(threads: usize) -> WalkOptions {
    WalkOptions { threads, ..WalkOptions::default() }
}

fn excluding(globs: &[&str]) -> WalkOptions {
    let globs: Vec<_> = globs.iter().map(|&g| g.to_owned()).collect();
    WalkOptions { exclude: Exclude::new(&globs).unwrap(), ..options(2) }
}

#[derive(Debug, Default)]
struct Seen {
    entries: Vec<Found>,
    problems: Vec<Problem>,
    notes: Vec<(String, &'static str)>,
    left_out: Vec<(String, String)>,
}

impl Seen {
    fn of(roots: &[&Path], options: WalkOptions) -> Self {
        let roots: Vec<PathBuf> = roots.iter().map(|p| p.to_path_buf()).collect();
        let mut seen = Self::default();
        let mut left_out = LeftOut::default();
        for step in walk(&roots, options).unwrap() {
            match step {
                Step::Entry(found) => seen.entries.push(found),
                Step::Problem(problem) => seen.problems.push(problem),
                Step::LeftOut(found) => left_out = found,
                Step::Note { path, reason } => seen.notes.push((path.to_string(), reason)),
            }
        }
        let LeftOut { count, listed, .. } = left_out;
        assert_eq!(count, listed.len() as u64);
        seen.left_out = listed.into_iter().map(|p| (p.path, p.detail)).collect();
        assert!(seen.entries.windows(2).all(|w| w[0].path < w[1].path), "strictly increasing");
        seen
    }

    fn paths(&self) -> Vec<String> {
        self.entries.iter().map(|f| f.path.to_string()).collect()
    }

    fn clean(self) -> Self {
        assert_eq!((&self.problems, &self.notes, &self.left_out), (&vec![], &vec![], &vec![]));
        self
    }
}

/// The one entry of a single file as a root.
pub(super) fn found(path: &Path) -> Found {
    Seen::of(&[path], options(0)).clean().entries.swap_remove(0)
}

fn walks(root: &Path) -> Vec<Seen> {
    [0, 1, 4].into_iter().map(|threads| Seen::of(&[root], options(threads)).clean()).collect()
}

#[test]
fn entries_come_in_the_order_of_their_sorted_paths() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    let names: &[&[u8]] = &[
        b"a",
        b"a-b",
        b"a.b",
        b"a b",
        b"a\x01",
        b"ab",
        b"a\nb",
        b"\xff\xfe",
        "gr\u{fc}n".as_bytes(),
        b"-x",
        b"*",
        b"A",
        b"...",
    ];
    let mut expected = vec![EntryPath::new(&b"app"[..]).unwrap()];
    fs::create_dir(&root).unwrap();
    for name in names {
        let folder = root.join(OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        expected.push(expected[0].join(name).unwrap());
        for inner in names {
            put(&folder.join(OsStr::from_bytes(inner)), b"x");
            expected.push(expected[0].join(name).unwrap().join(inner).unwrap());
        }
    }
    expected.sort();
    for seen in walks(&root) {
        assert!(seen.entries.iter().map(|f| &f.path).eq(&expected));
    }
}

#[test]
fn metadata_is_that_of_the_entry_itself() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    fs::create_dir(&root).unwrap();
    put(&root.join("f"), b"12345");
    fs::hard_link(root.join("f"), root.join("g")).unwrap();
    symlink("..", root.join("loop")).unwrap();
    symlink("/nowhere", root.join("dangling")).unwrap();
    rustix::fs::mkfifoat(CWD, root.join("pipe"), Mode::RUSR).unwrap();
    fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o4751)).unwrap();
    let seen = Seen::of(&[&root], options(2)).clean();
    assert_eq!(seen.paths(), ["app", "app/dangling", "app/f", "app/g", "app/loop", "app/pipe"]);
    let kinds: Vec<_> = seen.entries.iter().map(|f| f.stat.kind).collect();
    assert_eq!(
        kinds,
        [FileKind::Dir, FileKind::Symlink, FileKind::File, FileKind::File, FileKind::Symlink, FileKind::Fifo]
    );
    let (stat, meta) = (&seen.entries[2].stat, fs::symlink_metadata(root.join("f")).unwrap());
    assert_eq!((stat.mode, stat.size, stat.nlink), (0o4751, 5, 2));
    assert_eq!((stat.identity(), stat.uid, stat.gid), ((meta.dev(), meta.ino()), meta.uid(), meta.gid()));
    assert_eq!((stat.mtime.seconds, i64::from(stat.mtime.nanoseconds)), (meta.mtime(), meta.mtime_nsec()));
    assert_eq!((stat.ctime.seconds, i64::from(stat.ctime.nanoseconds)), (meta.ctime(), meta.ctime_nsec()));
    assert_eq!(stat.blocks_512, meta.blocks());
    assert_eq!(seen.entries[3].stat.identity(), stat.identity());
}

#[test]
fn a_socket_is_noted_and_no_entry() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    fs::create_dir(&root).unwrap();
    let _listener = UnixListener::bind(root.join("s")).unwrap();
    let seen = Seen::of(&[&root], options(1));
    assert_eq!(seen.paths(), ["app"]);
    assert_eq!(seen.notes, [("app/s".to_owned(), "socket")]);
}

#[test]
fn excluded_folders_are_not_entered() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    fs::create_dir_all(root.join("logs/old")).unwrap();
    fs::create_dir_all(root.join("a/cache")).unwrap();
    for file in ["logs/x.log", "logs/old/y", "a/cache/z", "a/cachefile", "a/cache.txt", "k.log"] {
        put(&root.join(file), b"");
    }
    put(&root.join("a/b"), b"");
    let seen = Seen::of(&[&root], excluding(&["*.log", "cache/"]));
    let reason = "excluded by a glob".to_owned();
    assert_eq!(seen.left_out, ["app/a/cache", "app/k.log", "app/logs/x.log"].map(|p| (p.to_owned(), reason.clone())));
    let paths = |globs: &[&str]| Seen::of(&[&root], excluding(globs)).paths();
    assert_eq!(
        paths(&["*.log", "cache/"]),
        ["app", "app/a", "app/a/b", "app/a/cache.txt", "app/a/cachefile", "app/logs", "app/logs/old", "app/logs/old/y"]
    );
    assert_eq!(paths(&["logs/**", "/a"]), ["app", "app/k.log", "app/logs"]);
    assert_eq!(paths(&["app"]).len(), 12, "a root was asked for by name");
}

#[test]
fn caches_and_marked_folders_keep_their_entry_only() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    for folder in ["cache/sub", "fake", "marked/sub", "linked"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# a comment";
    put(&root.join("cache/CACHEDIR.TAG"), tag);
    put(&root.join("cache/A"), b"");
    put(&root.join("fake/CACHEDIR.TAG"), &tag[..42]);
    put(&root.join("marked/.nobackup"), b"");
    symlink("../cache/CACHEDIR.TAG", root.join("linked/CACHEDIR.TAG")).unwrap();
    assert_eq!(Seen::of(&[&root], options(1)).clean().paths().len(), 12, "without a rule all is kept");
    let rules =
        WalkOptions { exclude_caches: true, exclude_if_present: vec!["x".into(), ".nobackup".into()], ..options(1) };
    let seen = Seen::of(&[&root], rules);
    assert_eq!(
        seen.paths(),
        [
            "app",
            "app/cache",
            "app/cache/CACHEDIR.TAG",
            "app/fake",
            "app/fake/CACHEDIR.TAG",
            "app/linked",
            "app/linked/CACHEDIR.TAG",
            "app/marked"
        ]
    );
    assert_eq!(
        seen.left_out,
        [
            ("app/cache".to_owned(), "the folder is a cache (CACHEDIR.TAG)".to_owned()),
            ("app/marked".to_owned(), "the folder holds .nobackup".to_owned())
        ]
    );
}

#[test]
fn our_own_folders_are_left_out() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    fs::create_dir_all(root.join("backups/x")).unwrap();
    put(&root.join("z"), b"");
    let meta = fs::metadata(root.join("backups")).unwrap();
    let own = WalkOptions { skip_identities: vec![(meta.dev(), meta.ino())], ..options(1) };
    let seen = Seen::of(&[&root], own);
    assert_eq!(seen.paths(), ["app", "app/z"]);
    assert_eq!(seen.left_out, [("app/backups".to_owned(), "own data of the backup".to_owned())]);
}

#[test]
fn roots_are_named_sorted_and_must_not_clash() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("x/app")).unwrap();
    fs::create_dir_all(at("y/app")).unwrap();
    fs::create_dir_all(at("x/b")).unwrap();
    put(&at("x/app/f"), b"");
    put(&at("single"), b"");
    symlink("x/app", at("current")).unwrap();
    let seen = Seen::of(&[&at("single"), &at("x/b/../app/."), &at("x/b")], options(2)).clean();
    assert_eq!(seen.paths(), ["app", "app/f", "b", "single"]);
    assert_eq!(Seen::of(&[&at("current")], options(0)).clean().paths(), ["current", "current/f"]);
    assert_eq!(Seen::of(&[&at("x/b/..")], options(0)).clean().paths()[..2], ["x", "x/app"]);

    let clash = walk(&[at("x/app"), at("y/app")], options(1)).unwrap_err();
    assert_eq!(clash.kind(), Kind::Usage);
    assert!(clash.to_string().contains("x/app") && clash.to_string().contains("y/app"), "{clash}");
    let missing = walk(&[at("x/app"), at("none")], options(1)).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert_eq!(root_name(Path::new("/")).unwrap().to_string(), "root");
    assert_eq!(root_name(Path::new("/srv/app/")).unwrap().to_string(), "app");
}

#[test]
fn the_whole_system_can_be_a_root() {
    let other = WalkOptions { exclude: Exclude::new(&["*".to_owned()]).unwrap(), ..options(1) };
    assert_eq!(Seen::of(&[Path::new("/")], other).paths(), ["root"]);
    let one = WalkOptions { one_file_system: true, ..options(2) };
    let steps: Vec<_> = walk(&[PathBuf::from("/")], one).unwrap().take(2000).collect();
    assert!(matches!(&steps[0], Step::Entry(f) if f.path.as_bytes() == b"root"));
    assert!(matches!(&steps[1], Step::Entry(f) if f.path.as_bytes().starts_with(b"root/")));
}

#[test]
fn what_is_mounted_is_left_out_when_one_file_system_is_wanted() {
    // Every Linux host that can build this has another file system at /dev or below it.
    let device = fs::metadata("/dev").unwrap().dev();
    assert_ne!(device, fs::metadata("/").unwrap().dev(), "this test needs a file system of its own at /dev");
    let one = WalkOptions {
        one_file_system: true,
        exclude: Exclude::new(&["/[!d]*".to_owned(), "/d?[!v]*".to_owned(), "**/dev/*".to_owned()]).unwrap(),
        ..options(1)
    };
    let seen = Seen::of(&[Path::new("/")], one);
    assert!(seen.paths().contains(&"root/dev".to_owned()), "{:?}", seen.paths());
    let dev = ("root/dev".to_owned(), "what is in it lies on another file system".to_owned());
    assert!(seen.left_out.contains(&dev), "{:?}", seen.left_out);
}

/// Makes `levels` folders inside each other, each with a file on both sides of the next; returns the number of entries.
fn deep_tree(root: &Path, levels: usize) -> usize {
    fs::create_dir(root).unwrap();
    let mut at: OwnedFd = File::open(root).unwrap().into();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for _ in 0..levels {
        for file in [c"a-before", c"z"] {
            drop(openat(&at, file, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR).unwrap());
        }
        mkdirat(&at, c"folder", Mode::RWXU).unwrap();
        at = openat(at.as_fd(), c"folder", flags, Mode::empty()).unwrap();
    }
    1 + 3 * levels
}

#[test]
#[ignore = "run with few descriptors by the test below"]
fn deep_tree_with_few_descriptors() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("deep");
    let expected = deep_tree(&root, 2000);
    for threads in [0, 3] {
        let seen = Seen::of(&[&root], options(threads)).clean();
        assert_eq!(seen.entries.len(), expected);
        let deepest = seen.entries.iter().max_by_key(|f| f.path.as_bytes().len()).unwrap();
        assert!(deepest.path.as_bytes().len() > 3 * 4096);
        // All entries can still be read, in any order.
        for found in seen.entries.iter().rev().step_by(797).filter(|f| f.stat.kind == FileKind::File) {
            found.open().unwrap();
        }
    }
    Command::new("rm").arg("-rf").arg(&root).status().unwrap();
}

#[test]
fn two_thousand_levels_need_few_descriptors() {
    let run = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 128 && exec \"$0\" --ignored --exact source::files::tests::deep_tree_with_few_descriptors",
        ])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn paths_beyond_the_limit_are_problems_and_the_rest_goes_on() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("deep");
    fs::create_dir(&root).unwrap();
    let name = CString::new(vec![b'n'; 250]).unwrap();
    let mut at: OwnedFd = File::open(&root).unwrap().into();
    for _ in 0..140 {
        mkdirat(&at, &*name, Mode::RWXU).unwrap();
        at = openat(at.as_fd(), &*name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    put(&root.join("z"), b"");
    let seen = Seen::of(&[&root], options(2));
    assert_eq!(seen.entries.len(), 2 + (crate::model::MAX_PATH_BYTES - 4) / 251);
    assert_eq!(seen.paths().last().unwrap(), "deep/z");
    assert_eq!(seen.problems.len(), 1);
    assert_eq!(seen.problems[0].kind, ProblemKind::TooLong);
    Command::new("rm").arg("-rf").arg(&root).status().unwrap();
}

#[test]
fn a_folder_of_twenty_thousand_files_and_folders_comes_complete() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("wide");
    fs::create_dir(&root).unwrap();
    for i in 0..20_000 {
        let path = root.join(format!("{}", i * 7919 % 20_000));
        if i % 50 == 0 {
            fs::create_dir(&path).unwrap();
            put(&path.join("inner"), b"");
        } else {
            put(&path, b"");
        }
    }
    for seen in walks(&root) {
        assert_eq!(seen.entries.len(), 20_401);
    }
}

/// Runs as a user who may not read everything; root may, so a thread of root becomes `nobody`.
fn as_a_plain_user(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(65_534)).unwrap();
                rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(65_534)).unwrap();
            }
            work();
        });
    });
}

#[test]
fn an_unreadable_folder_is_an_entry_and_a_problem() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = dir.path().join("app");
    fs::create_dir_all(root.join("locked/x")).unwrap();
    put(&root.join("secret"), b"");
    put(&root.join("z"), b"public");
    for (name, mode) in [("", 0o755), ("locked", 0), ("secret", 0), ("z", 0o644)] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    as_a_plain_user(|| {
        let seen = Seen::of(&[&root], options(0));
        assert_eq!(seen.paths(), ["app", "app/locked", "app/secret", "app/z"]);
        assert_eq!(seen.problems.len(), 1);
        assert_eq!((&seen.problems[0].kind, &*seen.problems[0].path), (&ProblemKind::Unreadable, "app/locked"));
        assert_eq!(problem_kind(&seen.entries[2].open().unwrap_err()), ProblemKind::Unreadable);
        seen.entries[3].open().unwrap(); // without the right to leave its access time alone
    });
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_folder_that_goes_or_is_replaced_before_it_is_listed_is_a_problem() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    for folder in ["a", "b/inside", "c/inside", "outside/secret"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let mut steps = walk(std::slice::from_ref(&root), options(0)).unwrap();
    // The blocks of `app` are known now; nothing inside is.
    let first: Vec<_> = steps.by_ref().take(2).collect();
    assert!(matches!(&first[1], Step::Entry(f) if f.path.as_bytes() == b"app/a"));
    fs::remove_dir(root.join("a")).unwrap();
    Command::new("mv").arg(root.join("b")).arg(root.join("moved")).status().unwrap();
    symlink("outside", root.join("b")).unwrap();
    Command::new("mv").arg(root.join("c")).arg(root.join("moved")).status().unwrap();
    fs::create_dir_all(root.join("c/planted")).unwrap();
    let (mut paths, mut problems) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Entry(found) => paths.push(found.path.to_string()),
            Step::Problem(problem) => problems.push((problem.kind, problem.path)),
            Step::Note { .. } | Step::LeftOut(_) => {}
        }
    }
    assert_eq!(paths, ["app/b", "app/c", "app/outside", "app/outside/secret"]);
    assert_eq!(problems, ["app/a", "app/b", "app/c"].map(|path| (ProblemKind::Changed, path.to_owned())));
}

#[test]
fn a_name_that_is_gone_between_the_list_and_the_look_is_a_problem() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    fs::create_dir(&root).unwrap();
    for number in 0..1500 {
        put(&root.join(format!("{number:04}")), b"");
    }
    // Without threads a block of names is looked at when its turn comes.
    let mut steps = walk(std::slice::from_ref(&root), options(0)).unwrap();
    assert_eq!(steps.by_ref().take(2).count(), 2);
    assert!(Command::new("mv").arg(root.join("1400")).arg(root.join("1400,S")).status().unwrap().success());
    let problems = steps.filter_map(|step| if let Step::Problem(p) = step { Some((p.kind, p.path)) } else { None });
    assert_eq!(problems.collect::<Vec<_>>(), [(ProblemKind::Vanished, "app/1400".to_owned())]);
}

#[test]
fn a_walk_that_is_dropped_ends_its_threads() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("app");
    for i in 0..300 {
        fs::create_dir_all(root.join(format!("{i}/x"))).unwrap();
    }
    let mut steps = walk(&[root], options(4)).unwrap();
    assert!(steps.next().is_some());
    drop(steps);
    fn is_send<T: Send>() {}
    is_send::<Walk>();
    is_send::<Found>();
}

#[test]
#[ignore = "a measurement, to be run with --release --nocapture"]
#[expect(clippy::print_stderr, reason = "the figure is the purpose")]
fn time_to_walk_eighty_thousand_files() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("tree");
    for folder in 0..4000 {
        let path = root.join(format!("{}/{}", folder / 100, folder));
        fs::create_dir_all(&path).unwrap();
        (0..20).for_each(|i| put(&path.join(format!("file-{i}.txt")), b""));
    }
    for threads in [0, 1, 2, 4, 8] {
        let started = std::time::Instant::now();
        let count = walk(std::slice::from_ref(&root), options(threads)).unwrap().count();
        eprintln!("{threads} threads: {count} entries in {:?}", started.elapsed());
    }
}
