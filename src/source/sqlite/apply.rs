//! Puts databases back: staged beside the old one, checked, and swapped in by one rename.
//!
//! Invariant: at every moment the path holds the old database whole or the new one whole. What SQLite left beside the old one (a
//! log that was not written back, a journal of a cut-off transaction) is first brought into it by SQLite itself, for a new file
//! with an old log beside it is a wrong database.

use std::fs;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::facts::{self, Facts};
use super::find::{Database, OUR_FILES, is_named};
use super::header::{COMPANIONS, HEADER_BYTES, companion, is_database};
use super::in_use::users_of;
use super::inventory::{Inventory, Record};
use super::snapshot::{Snapshot, SnapshotReader, Wanted, error_of};
use crate::durable::Disk;
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::model::{Digest, Entry, EntryKind, Hasher};
use crate::source::{
    Action, ActionKind, ApplyOptions, ApplyPlan, Checked, Contents, SourceContext, UndoLog, UndoStep, made,
    path_in_step, path_of_step,
};

/// What is to be done with one database.
#[derive(Debug)]
struct Task {
    database: Database,
    record: Record,
    entry: Entry,
    kind: ActionKind,
}

/// A plan of a component.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    tasks: Vec<Task>,
    actions: Vec<Action>,
}

/// One replaced or new database, as it is noted for an undo. Names are escaped.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    database: String,
    /// Where the old one is kept; none when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    /// What was put in; none when nothing was, because the step only puts something aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<Identity>,
}

/// What tells a file from one that somebody puts in its place, as long as the inode may be given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    /// When it was made, where the file system knows: nanoseconds since 1970.
    #[serde(default)]
    born: Option<u64>,
}

impl Identity {
    /// Of what is there; none if there is nothing.
    fn at(path: &Path) -> Result<Option<Self>> {
        match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at("cannot stat", path),
            Ok(data) => {
                let born = data.created().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
                let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
                Ok(Some(Self { device: data.dev(), inode: data.ino(), born }))
            }
        }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        patterns: &[PathBuf],
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Self> {
        let mut plan = Self { contents, context, tasks: Vec::new(), actions: Vec::new() };
        for record in Inventory::of(contents)?.databases {
            let database = record.database()?;
            let entry = contents.find(&database.object)?.ok_or_else(|| {
                Error::damage(format!("the backup has no {}, which its inventory names", database.object.escaped()))
            })?;
            let named = is_named(patterns, &database.path)?;
            let (kind, detail) = judge(&database, &record, &entry, named, options, context)?;
            plan.actions.push(Action::new(kind, format!("database {}", path_text(&database.path)), detail));
            plan.tasks.push(Task { database, record, entry, kind });
        }
        Ok(plan)
    }
}

fn judge(
    database: &Database,
    record: &Record,
    entry: &Entry,
    named: bool,
    options: &ApplyOptions,
    context: &SourceContext<'_>,
) -> Result<(ActionKind, String)> {
    let path = &database.path;
    let size = match &record.rows {
        Some(rows) => format!("{} tables, {} rows, {} bytes", rows.len(), rows.values().sum::<u64>(), record.bytes),
        None => format!("{} bytes", record.bytes),
    };
    if !named {
        return Ok((ActionKind::Manual, "no pattern of the configuration names it any more".to_owned()));
    }
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((ActionKind::Create, size)),
        Err(e) => return Err(Error::failed(format!("cannot stat {}", path_text(path))).because(e)),
        Ok(metadata) if !metadata.is_file() => {
            return Ok((ActionKind::Conflict, "something that is no regular file has its name".to_owned()));
        }
        Ok(_) => {}
    }
    let wanted = Wanted { scratch: context.scratch, facts: false, recover: false };
    let users = users_of(path);
    let differs = match digest_of(path, wanted) {
        Ok(digest) if is_content(entry, &digest) => return Ok((ActionKind::Equal, size)),
        Ok(_) => "it differs from the backup".to_owned(),
        Err(e) => format!("it cannot be read as a database ({})", e.one_line()),
    };
    if let Some(users) = users {
        let detail = format!("{differs}, and it is open in {users}: end that first");
        return Ok((ActionKind::Conflict, detail));
    }
    if !options.overwrite {
        return Ok((ActionKind::Conflict, differs));
    }
    Ok((ActionKind::Replace, format!("{differs}; the backup has {size}")))
}

fn digest_of(path: &Path, wanted: Wanted<'_>) -> Result<Digest> {
    let snapshot = Snapshot::open(path, wanted)?;
    let mut reader = SnapshotReader::new(&snapshot);
    let mut hasher = Hasher::default();
    let mut part = vec![0; 1 << 20];
    loop {
        match reader.read(&mut part).at("cannot read", path)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&part[..n]),
        }
    }
}

fn is_content(entry: &Entry, digest: &Digest) -> bool {
    matches!(&entry.kind, EntryKind::File { sha256, .. } if sha256 == digest)
}

impl ApplyPlan for Plan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        for task in &self.tasks {
            if matches!(task.kind, ActionKind::Create | ActionKind::Replace) {
                put_back(task, self.contents, self.context, undo)?;
            }
        }
        Ok(())
    }
}

fn put_back(task: &Task, contents: &dyn Contents, context: &SourceContext<'_>, undo: &mut UndoLog) -> Result<()> {
    let path = &task.database.path;
    let disk = undo.disk().clone();
    let folder = path.parent().unwrap_or(Path::new("/"));
    made::make_dirs(&disk, folder)?;
    let staged = beside(path, "staged")?;
    remove_with_companions(&disk, &staged)?;
    let result = stage(task, contents, &staged, &disk).and_then(|()| {
        let before = |path: &Path| Ok::<_, Error>(free_name(&beside(path, &format!("before-{}", context.now))?));
        let is_there = path.symlink_metadata().is_ok();
        if is_there {
            settle(path)?;
        }
        // What is still beside it must not get into the one that comes back, and may be all that is left of a lost one, or
        // the newest of one that SQLite cannot read.
        for left in COMPANIONS.iter().map(|end| companion(path, end)).filter(|p| p.symlink_metadata().is_ok()) {
            let kept = before(&left)?;
            undo.note(to_step(&left, Some(&kept), None)?)?;
            disk.publish(&left, &kept)?;
        }
        let kept = if is_there { Some(before(path)?) } else { None };
        undo.note(to_step(path, kept.as_ref(), Identity::at(&staged)?)?)?;
        if let Some(kept) = &kept {
            // A second name, so that the path is never without a database.
            disk.link(path, kept)?;
        }
        remove_companions(&disk, path)?;
        disk.put_in_place(&staged, path)
    });
    if result.is_err() {
        remove_with_companions(&disk, &staged).ok();
    }
    result
}

/// Writes the database beside its place and looks whether it is what was captured.
fn stage(task: &Task, contents: &dyn Contents, staged: &Path, disk: &Disk) -> Result<()> {
    let path = &task.database.path;
    let mut from = contents.open(&task.entry)?;
    let mut to = BufWriter::with_capacity(1 << 20, disk.create(staged)?);
    let copied = io::copy(&mut from, &mut to).and_then(|_| to.flush());
    copied.at("cannot write", staged)?;
    let file = to.into_inner().map_err(io::IntoInnerError::into_error).at("cannot write", staged)?;
    let (mode, owner) = match path.symlink_metadata() {
        Ok(old) => (old.mode() & 0o7777, (old.uid(), old.gid())),
        Err(_) => (task.entry.mode, (task.entry.uid, task.entry.gid)),
    };
    let now = staged.symlink_metadata().at("cannot stat", staged)?;
    // Only root gives files away.
    if (now.uid(), now.gid()) != owner && rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(staged, Some(owner.0), Some(owner.1)).at("cannot change the owner of", staged)?;
    }
    fs::set_permissions(staged, fs::Permissions::from_mode(mode)).at("cannot change the mode of", staged)?;
    file.finish()?;
    let found = facts_of_file(staged)?;
    let mut checked = Checked::default();
    compare(&mut checked, &task.record, &found, &path_text(path));
    // What was damaged when it was captured comes back as it was.
    checked.differences.retain(|d| task.record.sound != Some(false) || d.object != path_text(path));
    match checked.differences.first() {
        None => Ok(()),
        Some(d) => Err(Error::new(
            Kind::Damage,
            format!("the database that was put beside {} is not whole: {}: {}", path_text(path), d.object, d.detail),
        )),
    }
}

/// Looks at a database file that nobody else uses, without making anything beside it.
fn facts_of_file(path: &Path) -> Result<Facts> {
    if fs::metadata(path).at("cannot stat", path)?.len() == 0 {
        return Ok(Facts { sound: Some(true), rows: Some(std::collections::BTreeMap::new()), ..Facts::default() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let said = |e: rusqlite::Error| error_of(path, &e);
    let mut connection = Connection::open_with_flags(super::snapshot::immutable(path), flags).map_err(said)?;
    facts::of(&mut connection, None).map_err(said)
}

fn compare(checked: &mut Checked, record: &Record, found: &Facts, name: &str) {
    if found.sound == Some(true) {
        checked.compared += 1;
    } else {
        checked.differs(name, format!("integrity_check says {}", found.faults.join("; ")));
    }
    let (Some(archived), Some(living)) = (&record.rows, &found.rows) else { return };
    for (table, rows) in archived {
        match living.get(table) {
            Some(now) => checked.compare(format!("table {table:?} of {name}"), rows, now),
            None => checked.differs(format!("table {table:?} of {name}"), "it is not there"),
        }
    }
    for table in living.keys().filter(|table| !archived.contains_key(*table)) {
        checked.differs(format!("table {table:?} of {name}"), "the backup has no such table");
    }
}

/// Compares the living databases with the inventory.
pub(super) fn check(contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
    let mut checked = Checked::default();
    for record in Inventory::of(contents)?.databases {
        let path = record.database()?.path;
        let name = path_text(&path).into_owned();
        if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            checked.differs(name, "it is not there");
            continue;
        }
        match Snapshot::open(&path, Wanted { scratch: context.scratch, facts: true, recover: false }) {
            Ok(snapshot) => compare(&mut checked, &record, snapshot.facts().unwrap_or(&Facts::default()), &name),
            Err(e) => checked.differs(name, e.one_line()),
        }
    }
    Ok(checked)
}

/// Puts back what was replaced. A database that somebody put there since stays, and is an error when all others are back.
pub(super) fn undo(steps: &[UndoStep]) -> Result<()> {
    let disk = Disk::default();
    let mut first = None;
    let mut others = Vec::new();
    for step in steps.iter().rev() {
        let (path, kept, new) = from_step(step)?;
        if let Err(error) = undo_one(&disk, &path, kept.as_deref(), new, &mut others) {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), Err)
}

/// Puts one file back. `others` are the databases whose place is somebody else's now.
fn undo_one(
    disk: &Disk,
    path: &Path,
    kept: Option<&Path>,
    new: Option<Identity>,
    others: &mut Vec<PathBuf>,
) -> Result<()> {
    let there = Identity::at(path)?;
    let Some(new) = new else {
        // It was put aside, and goes back only where nothing is that it could spoil.
        let spoils = others.iter().any(|other| COMPANIONS.iter().any(|end| companion(other, end) == path));
        return match kept.filter(|kept| kept.symlink_metadata().is_ok()) {
            Some(kept) if there.is_none() && !spoils => disk.publish(kept, path),
            _ => Ok(()),
        };
    };
    let old = match kept {
        Some(kept) => match Identity::at(kept)? {
            // A crash came before the swap: the database has two names. A rename of one over the other does nothing.
            Some(old) if there == Some(old) => return disk.remove_file_if_there(kept),
            Some(_) => Some(kept),
            // Not begun, or put back already.
            None => return Ok(()),
        },
        None => None,
    };
    if there.is_some_and(|there| there != new) {
        others.push(path.to_owned());
        return match old {
            // Made by somebody since.
            None => Ok(()),
            Some(kept) => Err(Error::new(
                Kind::WouldOverwrite,
                format!("{} is not the database that was restored: it stays as it is", path_text(path)),
            )
            .hint(format!("somebody replaced it since; what was there before is {}", path_text(kept)))),
        };
    }
    if there.is_some()
        && let Some(users) = users_of(path)
    {
        others.push(path.to_owned());
        let message = format!("{} is open in {users}", path_text(path));
        return Err(Error::new(Kind::WouldOverwrite, message).hint("end that first"));
    }
    match old {
        Some(kept) => {
            remove_companions(disk, path)?;
            disk.put_in_place(kept, path)
        }
        None if there.is_some() => {
            remove_with_companions(disk, path)?;
            disk.sync_dir(path.parent().unwrap_or(Path::new("/")))
        }
        None => Ok(()),
    }
}

/// Drops what was kept.
pub(super) fn forget(steps: &[UndoStep]) -> Result<()> {
    let disk = Disk::default();
    for step in steps {
        if let Some(kept) = from_step(step)?.1 {
            disk.remove_file_if_there(&kept)?;
        }
    }
    Ok(())
}

/// Brings what lies beside a database into it. One that SQLite cannot read stays as it is, with all that lies beside it: it may
/// be encrypted, and SQLite would take a log that it does not understand for one of no use.
fn settle(path: &Path) -> Result<()> {
    if let Some(users) = users_of(path) {
        let message = format!("{} is open in {users}", path_text(path));
        return Err(Error::new(Kind::WouldOverwrite, message).hint("end that first"));
    }
    if COMPANIONS.iter().all(|end| companion(path, end).symlink_metadata().is_err()) {
        return Ok(());
    }
    let mut start = Vec::new();
    let file = fs::File::open(path).at("cannot open", path)?;
    file.take(HEADER_BYTES as u64).read_to_end(&mut start).at("cannot read", path)?;
    if !start.is_empty() && !is_database(&start) {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settled = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    });
    match settled {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::failed(format!("the log of {} could not be written back", path_text(path)))),
        Err(e) => match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Ok(()),
            _ => Err(error_of(path, &e)),
        },
    }
}

fn remove_companions(disk: &Disk, path: &Path) -> Result<()> {
    COMPANIONS.iter().try_for_each(|end| disk.remove_file_if_there(&companion(path, end)))
}

fn remove_with_companions(disk: &Disk, path: &Path) -> Result<()> {
    remove_companions(disk, path)?;
    disk.remove_file_if_there(path)
}

/// `.ccbackup-WORD-NAME` beside a file.
fn beside(path: &Path, word: &str) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::failed(format!("{} has no file name", path_text(path))))?;
    let mut own = std::ffi::OsString::from(format!("{OUR_FILES}{word}-"));
    own.push(name);
    Ok(path.with_file_name(own))
}

fn free_name(path: &Path) -> PathBuf {
    let numbered = |n: u32| if n == 0 { path.to_owned() } else { companion(path, &format!(".{n}")) };
    (0..).map(numbered).find(|p| p.symlink_metadata().is_err()).unwrap_or_else(|| path.to_owned())
}

fn to_step(database: &Path, kept: Option<&PathBuf>, new: Option<Identity>) -> Result<UndoStep> {
    let step = Step { database: path_in_step(database), kept: kept.map(|kept| path_in_step(kept)), new };
    serde_json::to_value(step).map_err(|e| Error::failed("a step of the apply cannot be noted").because(e))
}

/// The database, where the old one is kept, and what was put in.
fn from_step(step: &UndoStep) -> Result<(PathBuf, Option<PathBuf>, Option<Identity>)> {
    let step: Step = serde_json::from_value(step.clone())
        .map_err(|e| Error::failed("a note of the apply cannot be read").because(e))?;
    Ok((path_of_step(&step.database)?, step.kept.as_deref().map(path_of_step).transpose()?, step.new))
}
