//! Keeps what a file was before it is replaced, and puts it back.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::lock;
use super::reader::Sort;
use super::survey::rights;
use crate::durable::Disk;
use crate::error::{Context as _, Error, Result, path_text};
use crate::model::{Digest, EntryPath, Timestamp};
use crate::source::settled::Stamp;
use crate::source::{UndoLog, UndoStep, made};

/// What an undo has to know of one file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Step {
    /// Escaped path below the home folder.
    path: String,
    /// What was there; none if there was nothing.
    before: Option<Before>,
    /// Digest of what was written; none if the file was removed.
    written: Option<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// Name of the pre-image in the folder of the run.
    kept: String,
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    mtime: (i64, u32),
}

impl Step {
    /// Keeps what was there, and notes the step.
    pub(super) fn keep(
        path: &EntryPath,
        there: Option<(Vec<u8>, Stamp)>,
        written: Option<Digest>,
        undo: &mut UndoLog,
    ) -> Result<()> {
        let before = match there {
            None => None,
            Some((bytes, stamp)) => {
                // By content: a run that was cut short and done again keeps it once.
                let kept = format!("before-{}", Digest::of(&bytes));
                undo.disk().replace(&undo.folder().join(&kept), &bytes)?;
                let mtime = (stamp.mtime.seconds, stamp.mtime.nanoseconds);
                Some(Before { kept, mode: stamp.mode, owner: stamp.owner, mtime })
            }
        };
        let step = Self { path: path.escaped().into_owned(), before, written };
        let note = serde_json::to_value(step);
        undo.note(note.map_err(|e| Error::failed(format!("cannot note {path}")).because(e))?)
    }

    fn undo(&self, folder: &Path, home: &Path) -> Result<()> {
        let path = EntryPath::from_escaped(&self.path)?;
        let file = home.join(path.as_os_str());
        let is_task = matches!(Sort::of(&path), Sort::Task { .. });
        let parent = crate::durable::parent(&file);
        let _lock = if is_task && parent.is_dir() { Some(lock::alone(&file)?) } else { None };
        let disk = Disk::default();
        let there = bytes_of(&file)?.map(|(bytes, stamp)| (Digest::of(&bytes), rights(stamp.mode, stamp.owner)));
        let kept = self.before.as_ref().map(|before| {
            let name = folder.join(&before.kept);
            fs::read(&name).at("cannot read", &name).map(|bytes| (bytes, before))
        });
        let kept = kept.transpose()?;
        let was = kept.as_ref().map(|(bytes, before)| (Digest::of(bytes), rights(before.mode, before.owner)));
        if there == was {
            return Ok(()); // never came to it, or was undone already
        }
        if there.map(|(digest, _)| digest) != self.written {
            return Err(Error::failed(format!(
                "{} changed since it was restored; it stays as it is",
                path_text(&file)
            )));
        }
        match kept {
            None => disk.remove_file_if_there(&file),
            Some((bytes, before)) => {
                made::make_dirs(&disk, parent)?;
                let mtime = Timestamp { seconds: before.mtime.0, nanoseconds: before.mtime.1 };
                write(&disk, &file, &bytes, before.mode, mtime, Some(before.owner))
            }
        }
    }
}

/// Puts back all files, the last first. One that somebody changed since stays, and is an error when all others are back.
pub(super) fn undo(steps: &[UndoStep], folder: &Path, home: &Path) -> Result<()> {
    let mut first = None;
    for step in steps.iter().rev() {
        let read = serde_json::from_value::<Step>(step.clone());
        let step = read.map_err(|e| Error::failed("a step of the run cannot be read").because(e))?;
        if let Err(error) = step.undo(folder, home) {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), Err)
}

/// The content of a file and its state; none if there is nothing.
pub(super) fn bytes_of(file: &Path) -> Result<Option<(Vec<u8>, Stamp)>> {
    match file.symlink_metadata() {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e).at("cannot stat", file),
        Ok(data) if !data.is_file() => Err(Error::failed(format!("{} is no regular file", path_text(file)))),
        Ok(data) => Ok(Some((fs::read(file).at("cannot read", file)?, Stamp::of(&data)))),
    }
}

/// Writes a file in one step, with its mode, time and owner: whoever reads it sees the old one or all of the new one. Another
/// user's file becomes ours where we may not give it away.
pub(super) fn write(
    disk: &Disk,
    file: &Path,
    bytes: &[u8],
    mode: u32,
    mtime: Timestamp,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    let name = file.file_name().ok_or_else(|| Error::failed(format!("{} has no file name", path_text(file))))?;
    let mut hidden = std::ffi::OsString::from(".staged-");
    hidden.push(name);
    let staged = file.with_file_name(hidden);
    disk.remove_file_if_there(&staged)?;
    disk.write_new(&staged, bytes)?;
    let open = File::open(&staged).at("cannot open", &staged)?;
    if let Some(owner) = owner {
        made::give(&staged, owner)?;
    }
    open.set_permissions(Permissions::from_mode(mode & 0o777)).at("cannot change", &staged)?;
    let since = Duration::new(u64::try_from(mtime.seconds).unwrap_or(0), mtime.nanoseconds);
    open.set_modified(SystemTime::UNIX_EPOCH + since).at("cannot change", &staged)?;
    open.sync_all().at("cannot sync", &staged)?;
    disk.put_in_place(&staged, file)
}
