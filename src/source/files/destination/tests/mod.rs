mod attacks;
mod attributes;
mod content;
mod sweeping;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, Mode, openat};

use super::root::FOLDER;
use super::*;
use crate::error::{Context as _, Kind, Result};
use crate::model::{BackupId, Digest, Entry, EntryKind, EntryPath, Position, Timestamp, Xattr};

const TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };

impl Destination {
    /// Opens `dir`; it and its parents are created with mode 0700 where they are missing. `dir` itself may be reached
    /// through symbolic links, nothing below it may.
    fn made_at(dir: &Path, options: DestinationOptions) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).at("cannot create the folder", dir)?;
        let root = openat(CWD, dir, FOLDER, Mode::empty()).at("cannot open the folder", dir)?;
        Ok(Self::at(dir.to_owned(), root, options))
    }
}

fn path(text: impl AsRef<[u8]>) -> EntryPath {
    EntryPath::new(text.as_ref()).expect("a valid path")
}

fn entry(at: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    Entry {
        path: path(at),
        kind,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        user: String::new(),
        group: String::new(),
        mtime: TIME,
        ctime: TIME,
        inode: 1,
        xattrs: Vec::new(),
        home: Position { backup: "20260117-143000".parse::<BackupId>().expect("valid"), volume: 0, offset: 0 },
    }
}

fn sparse(at: impl AsRef<[u8]>, size: u64, regions: Option<Vec<(u64, u64)>>, stored: &[u8]) -> Entry {
    let sha256 = Digest::of(stored);
    let (extents, chunks) = (Vec::new(), Vec::new());
    entry(at, EntryKind::File { size, sha256, extents, in_pieces: false, regions, chunks, unsettled: false })
}

fn file(at: impl AsRef<[u8]>, content: &[u8]) -> Entry {
    sparse(at, content.len() as u64, None, content)
}

fn dir(at: impl AsRef<[u8]>) -> Entry {
    Entry { mode: 0o755, ..entry(at, EntryKind::Dir) }
}

fn link(at: &str, target: &str) -> Entry {
    Entry { mode: 0o777, ..entry(at, EntryKind::Symlink { target: target.into() }) }
}

fn hardlink(at: &str, target: &str) -> Entry {
    entry(at, EntryKind::Hardlink { target: path(target) })
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: value.into() }
}

/// A folder with an empty target `t` and a folder `outside` that must stay as it is.
struct Place {
    base: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let base = tempfile::tempdir().expect("a scratch folder");
        fs::create_dir(base.path().join("outside")).expect("made");
        put(&base.path().join("outside/secret"), b"secret");
        Self { base }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base.path().join("t").join(name)
    }

    fn outside(&self) -> PathBuf {
        self.base.path().join("outside")
    }

    fn open(&self, overwrite: bool) -> Destination {
        Destination::made_at(&self.at(""), DestinationOptions { overwrite, ..DestinationOptions::default() })
            .expect("opens")
    }

    fn assert_outside_is_untouched(&self) {
        assert_eq!(names(&self.outside()), ["secret"]);
        assert_eq!(fs::read(self.outside().join("secret")).expect("there"), b"secret");
    }
}

fn put(path: &Path, content: &[u8]) {
    File::create(path).and_then(|f| f.write_all_at(content, 0)).expect("written");
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("listed")
        .map(|e| e.expect("listed").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn run(program: &str, args: &[&OsStr]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mtime(path: &Path) -> Timestamp {
    let meta = fs::symlink_metadata(path).expect("there");
    Timestamp { seconds: meta.mtime(), nanoseconds: u32::try_from(meta.mtime_nsec()).expect("below 10^9") }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o7777
}

/// Removes what is not kept; the removed paths.
fn sweep(target: &Destination, keep: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut removed = Vec::new();
    target.remove(&target.extras(&keep, true).expect("listed"), &mut |path| removed.push(path.to_vec()));
    removed
}

fn same_shape(target: &Destination, entry: &Entry) -> FileState {
    match target.existing(entry).expect("compared") {
        Existing::SameShape(state) => state,
        other => panic!("{other:?}"),
    }
}
