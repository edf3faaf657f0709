//! A backup of one component in memory, for tests of sources: what the engine does, without an archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{
    Action, ActionKind, ApplyOptions, Body, Captured, Checked, Contents, Facts, Source, SourceContext, UndoLog,
};
use crate::durable::Disk;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::model::{Digest, Entry, EntryKind, EntryPath, Moment, Position, Timestamp};
use crate::monitor::Recorder;

/// What a run gives to a source.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) monitor: Recorder,
    pub(super) environment: Environment,
}

impl Run {
    pub(super) fn context(&self) -> SourceContext<'_> {
        SourceContext {
            component: "part",
            environment: &self.environment,
            monitor: &self.monitor,
            scratch: Path::new("/nonexistent"),
            now: Moment::from_unix_seconds(1_700_000_000),
        }
    }
}

/// What was captured.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Archive {
    pub(super) facts: Facts,
    pub(super) files: BTreeMap<EntryPath, (Entry, Vec<u8>)>,
    folders: BTreeMap<EntryPath, Entry>,
}

impl Archive {
    /// Captures as the engine does, and checks what it would check.
    pub(super) fn capture(source: &dyn Source) -> Result<Self> {
        Self::capture_and(source, &Run::default(), || {})
    }

    /// The same; `between` is called after each object.
    pub(super) fn capture_and(source: &dyn Source, run: &Run, mut between: impl FnMut()) -> Result<Self> {
        let context = run.context();
        let Captured::Objects(mut objects) = source.capture(&context)? else { panic!("a tree was captured") };
        let mut archive = Self::default();
        let mut last: Option<EntryPath> = None;
        while let Some(object) = objects.next()? {
            assert!(last.is_none_or(|last| last < object.path), "{} comes out of order", object.path);
            last = Some(object.path.clone());
            let bytes = match object.body {
                Body::Bytes(bytes) => bytes,
                Body::Stream(mut stream) => {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).map_err(|e| Error::failed("the stream ended badly").because(e))?;
                    bytes
                }
            };
            let kind = EntryKind::File {
                size: bytes.len() as u64,
                sha256: Digest::of(&bytes),
                extents: Vec::new(),
                in_pieces: false,
                regions: None,
                chunks: Vec::new(),
                unsettled: false,
            };
            let mut folder = object.path.parent().map(<[u8]>::to_vec);
            while let Some(path) = folder {
                let path = EntryPath::new(path).unwrap();
                folder = path.parent().map(<[u8]>::to_vec);
                archive.folders.insert(path.clone(), entry(path, EntryKind::Dir, 0o700, Timestamp::default()));
            }
            let entry = entry(object.path.clone(), kind, object.mode, object.modified.unwrap_or_default());
            archive.files.insert(object.path, (entry, bytes));
            between();
        }
        archive.facts = objects.finish()?;
        Ok(archive)
    }

    /// The content of a file, which must be there.
    pub(super) fn bytes(&self, path: &str) -> &[u8] {
        &self.files.get(&EntryPath::new(path.as_bytes()).unwrap()).unwrap_or_else(|| panic!("{path} is missing")).1
    }

    /// Paths of all files.
    pub(super) fn paths(&self) -> Vec<String> {
        self.files.keys().map(ToString::to_string).collect()
    }

    /// Damages the content of a file, unseen by whoever reads it.
    pub(super) fn tamper(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.files.get_mut(&EntryPath::new(path.as_bytes()).unwrap()).unwrap().1);
    }
}

fn entry(path: EntryPath, kind: EntryKind, mode: u32, mtime: Timestamp) -> Entry {
    Entry {
        path,
        kind,
        mode,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        mtime,
        ctime: mtime,
        inode: 0,
        xattrs: Vec::new(),
        home: Position { backup: "20260101-000000".parse().unwrap(), volume: 0, offset: 0 },
    }
}

impl Contents for Archive {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn captured_from(&self) -> Moment {
        Moment::default()
    }

    fn entries(&self) -> Result<Box<dyn Iterator<Item = Result<Entry>> + '_>> {
        let mut all: Vec<_> =
            self.files.values().map(|(entry, _)| entry).chain(self.folders.values()).cloned().collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Box::new(all.into_iter().map(Ok)))
    }

    fn find(&self, path: &EntryPath) -> Result<Option<Entry>> {
        Ok(self.files.get(path).map(|(entry, _)| entry).or_else(|| self.folders.get(path)).cloned())
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(Cursor::new(self.read(entry, u64::MAX)?)))
    }

    fn read(&self, entry: &Entry, max_bytes: u64) -> Result<Vec<u8>> {
        let bytes = self.files[&entry.path].1.clone();
        if bytes.len() as u64 > max_bytes { Err(Error::damage("too long")) } else { Ok(bytes) }
    }

    fn restore_into(&self, folder: &Path) -> Result<()> {
        fs::create_dir(folder).unwrap();
        self.folders.keys().for_each(|path| fs::create_dir(folder.join(path.as_os_str())).unwrap());
        for (path, (entry, bytes)) in &self.files {
            let path = folder.join(path.as_os_str());
            Disk::default().write_new(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode)).unwrap();
            let since = Duration::new(entry.mtime.seconds.try_into().unwrap(), entry.mtime.nanoseconds);
            fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + since).unwrap();
        }
        Ok(())
    }
}

/// The kinds of all actions of a plan, each once.
pub(super) fn kinds(actions: &[Action]) -> Vec<ActionKind> {
    let mut kinds: Vec<_> = actions.iter().map(|action| action.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Plans, without doing it.
pub(super) fn plan(source: &dyn Source, archive: &Archive, overwrite: bool) -> Vec<Action> {
    let run = Run::default();
    let context = run.context();
    source.plan_apply(archive, &ApplyOptions { overwrite }, &context).unwrap().actions().to_vec()
}

/// Plans and applies; what was noted lies in `undo`.
pub(super) fn apply(source: &dyn Source, archive: &Archive, overwrite: bool, undo: &Path, disk: &Disk) -> Result<()> {
    let run = Run::default();
    let context = run.context();
    let plan = source.plan_apply(archive, &ApplyOptions { overwrite }, &context)?;
    assert!(plan.actions().iter().all(|action| action.kind != ActionKind::Conflict), "{:?}", plan.actions());
    plan.apply(&mut UndoLog::open(undo, disk)?)
}

/// Puts back what the notes in `undo` tell.
pub(super) fn undo(source: &dyn Source, undo: &Path) -> Result<()> {
    let run = Run::default();
    source.undo(&UndoLog::read(undo)?, undo, &run.context())
}

/// Drops what was kept.
pub(super) fn forget(source: &dyn Source, undo: &Path) -> Result<()> {
    let run = Run::default();
    source.forget(&UndoLog::read(undo)?, undo, &run.context())
}

/// Compares the living service with an archive.
pub(super) fn check(source: &dyn Source, archive: &Archive) -> Checked {
    let run = Run::default();
    source.check(archive, &run.context()).unwrap()
}

/// Paths, modes, times and contents of all that lies below a folder.
pub(super) fn picture(folder: &Path) -> BTreeMap<String, (u32, Option<SystemTime>, Vec<u8>)> {
    let mut picture = BTreeMap::new();
    for item in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let item = item.unwrap();
        let data = item.metadata().unwrap();
        let name = item.path().strip_prefix(folder).unwrap().display().to_string();
        let bytes = if data.is_file() { fs::read(item.path()).unwrap() } else { Vec::new() };
        let time = data.is_file().then(|| data.modified().unwrap());
        picture.insert(name, (data.permissions().mode(), time, bytes));
    }
    picture
}
