//! Puts databases back: staged beside the old one, checked, and swapped in by one rename.
//!
//! Invariant: at every moment the path holds the old database whole or the new one whole. What SQLite left beside the old one (a
//! log that was not written back, a journal of a cut-off transaction) is first brought into it by SQLite itself, for a new file
//! with an old log beside it is a wrong database.

use std::fs;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::facts::{self, Facts};
use super::find::{Database, OUR_FILES, is_named};
use super::header::{COMPANIONS, companion};
use super::in_use::users_of;
use super::inventory::{Inventory, Record};
use super::snapshot::{Snapshot, SnapshotReader, Wanted, error_of};
use crate::durable::Disk;
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::model::{Digest, Entry, EntryKind, Hasher};
use crate::source::{
    Action, ActionKind, ApplyOptions, ApplyPlan, Checked, Contents, SourceContext, UndoLog, UndoStep, path_in_step,
    path_of_step,
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
    disk.make_dirs(folder)?;
    let staged = beside(path, "staged")?;
    remove_with_companions(&disk, &staged)?;
    let result = stage(task, contents, &staged, &disk).and_then(|()| {
        let before = |path: &Path| Ok::<_, Error>(free_name(&beside(path, &format!("before-{}", context.now))?));
        let kept = if path.symlink_metadata().is_ok() {
            settle(path)?;
            Some(before(path)?)
        } else {
            // What a lost database left behind must not get into the one that comes back, and may be all that is left of it.
            for left in COMPANIONS.iter().map(|end| companion(path, end)).filter(|p| p.symlink_metadata().is_ok()) {
                let kept = before(&left)?;
                undo.note(to_step(&left, Some(&kept))?)?;
                disk.publish(&left, &kept)?;
            }
            None
        };
        undo.note(to_step(path, kept.as_ref())?)?;
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

/// Puts back what was replaced.
pub(super) fn undo(steps: &[UndoStep]) -> Result<()> {
    let disk = Disk::default();
    for step in steps.iter().rev() {
        let (database, kept) = from_step(step)?;
        // Not begun, or put back already.
        if kept.as_ref().is_some_and(|kept| kept.symlink_metadata().is_err()) {
            continue;
        }
        if database.symlink_metadata().is_ok()
            && let Some(users) = users_of(&database)
        {
            let message = format!("{} is open in {users}", path_text(&database));
            return Err(Error::new(Kind::WouldOverwrite, message).hint("end that first"));
        }
        let is_kept = |kept: &PathBuf| {
            let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
            kept.symlink_metadata().is_ok_and(|a| database.symlink_metadata().is_ok_and(|b| same(a, b)))
        };
        match &kept {
            // A crash came before the swap: the database has two names. A rename of one over the other does nothing.
            Some(kept) if is_kept(kept) => disk.remove_file_if_there(kept)?,
            Some(kept) => {
                remove_companions(&disk, &database)?;
                disk.put_in_place(kept, &database)?;
            }
            None => {
                remove_with_companions(&disk, &database)?;
                disk.sync_dir(database.parent().unwrap_or(Path::new("/")))?;
            }
        }
    }
    Ok(())
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

/// Brings what lies beside a database into it. One that SQLite cannot read stays as it is: what lies beside it is of no use.
fn settle(path: &Path) -> Result<()> {
    if let Some(users) = users_of(path) {
        let message = format!("{} is open in {users}", path_text(path));
        return Err(Error::new(Kind::WouldOverwrite, message).hint("end that first"));
    }
    if COMPANIONS.iter().all(|end| companion(path, end).symlink_metadata().is_err()) {
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

fn to_step(database: &Path, kept: Option<&PathBuf>) -> Result<UndoStep> {
    let step = Step { database: path_in_step(database), kept: kept.map(|kept| path_in_step(kept)) };
    serde_json::to_value(step).map_err(|e| Error::failed("a step of the apply cannot be noted").because(e))
}

/// The database and where the old one is kept.
fn from_step(step: &UndoStep) -> Result<(PathBuf, Option<PathBuf>)> {
    let step: Step = serde_json::from_value(step.clone())
        .map_err(|e| Error::failed("a note of the apply cannot be read").because(e))?;
    Ok((path_of_step(&step.database)?, step.kept.as_deref().map(path_of_step).transpose()?))
}
