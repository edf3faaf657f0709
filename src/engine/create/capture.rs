//! What is captured of one entry beside its content: its metadata, and the words for what goes wrong with it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::known::KnownContent;
use crate::archive::tar;
use crate::model::{
    BackupId, Digest, Entry, EntryKind, EntryPath, MAX_OFFSET, Position, Problem, ProblemKind, Xattr, escape_path,
};
use crate::source::files::{FileKind, Found, Names, Stat, data_regions, problem_kind};

/// What all workers of a component share.
#[derive(Debug)]
pub(super) struct CaptureContext<'a> {
    pub(super) backup: &'a BackupId,
    pub(super) names: Names,
    pub(super) known: KnownContent<'a>,
    /// Where pages of databases may be kept sealed for a moment; none when databases are read as other files.
    pub(super) databases: Option<&'a Path>,
}

/// An entry as it was captured.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) entry: Entry,
    /// Not something else that has its name now.
    pub(super) is_the_one_found: bool,
    pub(super) bytes_read: u64,
    /// It is one state of a database, and nothing of what belongs to that is needed.
    pub(super) is_one_state: bool,
}

/// What was not captured whole is looked at again by the next backup, whatever its timestamps say: there is no inode 0
/// (FORMAT.md §7). What is wrong with it is said as long as it is so.
pub(super) fn distrust(entry: &mut Entry) {
    entry.inode = 0;
}

/// What readers refuse is not written: it costs the entry, not the backup.
pub(super) fn accepted(captured: Captured) -> io::Result<Captured> {
    match captured.entry.check() {
        Ok(()) => Ok(captured),
        Err(refused) => Err(io::Error::new(io::ErrorKind::Unsupported, refused.one_line())),
    }
}

/// Filling a stub by hand would lose these: writing to a file clears its set-id bits and capabilities.
pub(super) fn may_be_stub(entry: &Entry) -> bool {
    entry.mode & 0o6000 == 0 && entry.xattrs.iter().all(|x| x.name != b"security.capability")
}

/// An entry that was read again and found as it was keeps its line, home and all.
pub(super) fn says_the_same(new: &Entry, old: &Entry) -> bool {
    let mut new = new.clone();
    new.home = old.home.clone();
    if let (
        EntryKind::File { sha256, extents, in_pieces, chunks, .. },
        EntryKind::File { sha256: old_sha256, extents: old_extents, in_pieces: old_pieces, chunks: old_chunks, .. },
    ) = (&mut new.kind, &old.kind)
        && sha256 == old_sha256
    {
        extents.clone_from(old_extents);
        chunks.clone_from(old_chunks);
        *in_pieces = *old_pieces;
    }
    new == *old
}

/// The entry of a regular file without digest and extents, and its data regions.
#[expect(clippy::type_complexity, reason = "a pair of an entry and an optional list, used twice")]
pub(super) fn file_entry(
    found: &Found,
    file: &File,
    stat: &Stat,
    context: &CaptureContext<'_>,
    problems: &mut Vec<Problem>,
) -> io::Result<(Entry, Option<Vec<(u64, u64)>>)> {
    if stat.size > MAX_OFFSET {
        let text = format!("its size of {} bytes is beyond the {MAX_OFFSET} that the format allows", stat.size);
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let mut regions = if stat.may_have_holes() { data_regions(file, stat.size)? } else { None };
    if let Some(regions) = &mut regions {
        tar::align_regions(regions, stat.size);
    }
    let kind = EntryKind::File {
        size: stat.size,
        sha256: Digest::of(b""),
        extents: Vec::new(),
        in_pieces: false,
        regions: regions.clone(),
        chunks: Vec::new(),
        unsettled: false,
    };
    Ok((entry_of(found, stat, kind, xattrs_of(found, Some(file), problems)?, context), regions))
}

/// An entry without content, and whether it is the one that was found: for one with several names that matters.
pub(super) fn capture_other(
    found: &Found,
    link_to: Option<EntryPath>,
    context: &CaptureContext<'_>,
    problems: &mut Vec<Problem>,
) -> io::Result<(Entry, bool)> {
    match (link_to, found.stat.kind) {
        // The attributes of a hard link are those of the first name.
        (Some(target), _) => {
            let kind = EntryKind::Hardlink { target };
            Ok((entry_of(found, &found.stat, kind, Vec::new(), context), true))
        }
        (None, FileKind::Dir) => Ok((capture_folder(found, context, problems), true)),
        (None, _) => capture_special(found, context, problems),
    }
}

/// What the walk saw of a folder holds its children together, whatever became of it.
fn capture_folder(found: &Found, context: &CaptureContext<'_>, problems: &mut Vec<Problem>) -> Entry {
    let known = problems.len();
    let read = xattrs_of(found, None, problems).and_then(|xattrs| {
        // Another folder may have its name by now.
        if found.stat_by_name()?.is_same_file(&found.stat) { Ok(xattrs) } else { Err(io::ErrorKind::NotFound.into()) }
    });
    let xattrs = read.unwrap_or_else(|error| {
        problems.truncate(known);
        problems.push(folder_without_attributes(found, &error));
        Vec::new()
    });
    entry_of(found, &found.stat, EntryKind::Dir, xattrs, context)
}

/// Symbolic links, pipes and devices are not opened, so what is read of one may belong to another that has its name now:
/// everything is of the same one, or that is said.
fn capture_special(
    found: &Found,
    context: &CaptureContext<'_>,
    problems: &mut Vec<Problem>,
) -> io::Result<(Entry, bool)> {
    let known = problems.len();
    for attempt in 1..=2 {
        problems.truncate(known);
        let stat = found.stat_by_name()?;
        let (major, minor) = stat.rdev;
        let kind = match stat.kind {
            kind if kind != found.stat.kind => return Err(io::ErrorKind::NotFound.into()),
            FileKind::Symlink => EntryKind::Symlink { target: found.read_link()? },
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Char => EntryKind::CharDevice { major, minor },
            FileKind::Block => EntryKind::BlockDevice { major, minor },
            FileKind::File | FileKind::Dir | FileKind::Socket => break,
        };
        let xattrs = xattrs_of(found, None, problems)?;
        let settled = found.stat_by_name()? == stat;
        if settled || attempt == 2 {
            if !settled {
                problems.push(changed(found, "it was replaced or changed while its attributes were read, twice"));
            }
            return Ok((entry_of(found, &stat, kind, xattrs, context), stat.is_same_file(&found.stat)));
        }
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, "this type cannot be stored"))
}

fn folder_without_attributes(found: &Found, error: &io::Error) -> Problem {
    let (kind, detail) = match problem_kind(error) {
        ProblemKind::Vanished => {
            (ProblemKind::Changed, "it was moved or replaced before its extended attributes were read".to_owned())
        }
        kind => (kind, format!("its extended attributes cannot be read: {error}")),
    };
    problem(found, kind, detail)
}

fn entry_of(found: &Found, stat: &Stat, kind: EntryKind, xattrs: Vec<Xattr>, context: &CaptureContext<'_>) -> Entry {
    Entry {
        path: found.path.clone(),
        kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        user: context.names.user(stat.uid).to_owned(),
        group: context.names.group(stat.gid).to_owned(),
        mtime: stat.mtime,
        ctime: stat.ctime,
        inode: stat.inode,
        xattrs,
        home: Position { backup: context.backup.clone(), volume: 0, offset: 0 },
    }
}

/// Most bytes that all attributes of an entry may take in its pax records; the rest of the limit is for names.
const MAX_XATTR_BYTES: usize = tar::MAX_PAX_BYTES - (1 << 20);

/// Attributes that tar cannot hold stay behind, and that is said.
fn xattrs_of(found: &Found, file: Option<&File>, problems: &mut Vec<Problem>) -> io::Result<Vec<Xattr>> {
    let mut xattrs = found.read_xattrs(file)?;
    let mut total = 0;
    xattrs.retain(|x| {
        // Escapes and the words around them included.
        let bytes = 3 * x.name.len() + x.value.len() + 64;
        let why = if !tar::can_hold_xattr(&x.name) {
            "has a name that tar cannot hold"
        } else if total + bytes > MAX_XATTR_BYTES {
            "does not fit into the tar header with all the others"
        } else {
            total += bytes;
            return true;
        };
        let detail = format!("the attribute {} {why}; it was left out", escape_path(&x.name));
        problems.push(problem(found, ProblemKind::Unsupported, detail));
        false
    });
    Ok(xattrs)
}

pub(super) fn problem_of(found: &Found, error: &io::Error) -> Problem {
    let kind = problem_kind(error);
    let detail = match kind {
        ProblemKind::Vanished => "it was gone, or something else stood in its place, when its turn came".to_owned(),
        _ => error.to_string(),
    };
    problem(found, kind, detail)
}

pub(super) fn changed(found: &Found, detail: &str) -> Problem {
    problem(found, ProblemKind::Changed, detail.into())
}

pub(super) fn problem(found: &Found, kind: ProblemKind, detail: String) -> Problem {
    Problem { kind, path: found.path.escaped().into_owned(), detail }
}
