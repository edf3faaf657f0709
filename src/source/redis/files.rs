//! The way by files: into the folder of a server that is stopped, after a total loss.
//!
//! Redis prefers its append-only files to any `dump.rdb`, and with `appendonly yes` and none of them it starts empty without a word. So
//! they go aside together with the old `dump.rdb`, and the plan says how the server is to be started once.
//!
//! Invariant: nothing is moved while a server answers or a process uses the folder, nor before the new file is on the disk.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::archive::Part;
use super::canonical::{CanonicalRdb, Gathered, MEMORY};
use super::compare::{Comparison, Records, compare};
use super::in_use::users_of;
use super::link::Link;
use super::rdb::{Input, RdbReader};
use super::server::Server;
use super::undo::{Moved, Step};
use crate::config::RedisConfig;
use crate::durable::Disk;
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Checked, Contents, SourceContext, UndoLog};

/// Names of what a server loads when it starts, unless it was told others; the last is the RDB.
const LOADED: [(&str, &str); 3] =
    [("appenddirname", "appendonlydir"), ("appendfilename", "appendonly.aof"), ("dbfilename", "dump.rdb")];

/// What would be put into the folder.
#[derive(Debug)]
pub(super) struct FilesPlan<'a> {
    config: &'a RedisConfig,
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    folder: PathBuf,
    /// Names of what a server of this configuration loads; the last is the RDB.
    names: Vec<String>,
    actions: Vec<Action>,
    /// There is something to do.
    work: bool,
}

/// The folder of a server that is stopped; none where it runs, or where its folder is not configured.
pub(super) fn folder_of_stopped(config: &RedisConfig, context: &SourceContext<'_>) -> Result<Option<PathBuf>> {
    let (Some(folder), Some(address)) = (&config.data, &config.url) else { return Ok(None) };
    match Link::open(address, Server::patience(), context.monitor) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == Kind::Unreachable => Ok(Some(folder.clone())),
        Err(error) => Err(error),
    }
}

/// An error unless no server answers and no process uses the folder.
pub(super) fn demand_stopped(config: &RedisConfig, folder: &Path, context: &SourceContext<'_>) -> Result<()> {
    let locked = |what: String| {
        let message = format!("files in {} cannot be changed: {what}", path_text(folder));
        Error::new(Kind::Locked, message).hint("stop the server first: SHUTDOWN NOSAVE")
    };
    match folder_of_stopped(config, context)? {
        Some(_) => {}
        None if config.data.is_some() => return Err(locked("the server runs".into())),
        None => {
            return Err(Error::usage("the folder of the server is not configured: it cannot be told whether it runs"));
        }
    }
    match users_of(folder)? {
        Some(users) => Err(locked(format!("they are used by {users}"))),
        None => Ok(()),
    }
}

fn names(part: &Part<'_>) -> Result<Vec<String>> {
    let settings = part.settings()?.unwrap_or_default();
    let name = |(setting, usual): &(&str, &str)| {
        let name =
            settings.get(*setting).filter(|name| !name.is_empty() && !name.contains('/') && !name.starts_with('.'));
        name.map_or_else(|| (*usual).to_owned(), Clone::clone)
    };
    Ok(LOADED.iter().map(name).collect())
}

fn only_part(contents: &dyn Contents) -> Result<Part<'_>> {
    let mut parts = Part::all(contents)?;
    match (parts.pop(), parts.pop()) {
        (Some(part), None) => Ok(part),
        _ => Err(Error::usage("the backup is of a cluster, and the configuration names the folder of one server")),
    }
}

/// Compares the RDB of the folder with that of the backup; none when there is none, or when append-only files win over it.
fn look(part: &Part<'_>, folder: &Path, names: &[String], context: &SourceContext<'_>) -> Result<Option<Comparison>> {
    let [first, second, rdb] = names else { return Ok(None) };
    if folder.join(first).exists() || folder.join(second).exists() {
        return Ok(None);
    }
    let path = folder.join(rdb);
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.at("cannot open", &path)?,
    };
    let memory = MEMORY / 2;
    let read = || {
        let mut reader = RdbReader::new(Input::new(file))?;
        Gathered::read(&mut reader, context.scratch, memory, &mut |_| context.monitor.check())
    };
    let there = match read() {
        Ok(there) => there,
        // Whatever it is, it is not what is in the backup.
        Err(error) if matches!(error.kind(), Kind::Incomplete | Kind::Version) => return Ok(None),
        Err(error) => return Err(error),
    };
    let archive = part.gather(context.scratch, memory, context.monitor)?;
    let same_functions = archive.functions == there.functions;
    let (mut ours, mut theirs) = (Records::of([archive.records()?])?, Records::of([there.records()?])?);
    // No server drops keys of a file: expired ones count.
    let found = compare(&mut ours, &mut theirs, i64::MIN, &mut |_| context.monitor.check())?;
    Ok((same_functions || !found.is_equal()).then_some(found))
}

/// What would be done with the folder of a stopped server.
pub(super) fn plan<'a>(
    config: &'a RedisConfig,
    folder: PathBuf,
    contents: &'a dyn Contents,
    options: &ApplyOptions,
    context: &'a SourceContext<'a>,
) -> Result<FilesPlan<'a>> {
    demand_stopped(config, &folder, context)?;
    let part = only_part(contents)?;
    let names = names(&part)?;
    let found = look(&part, &folder, &names, context)?;
    let there: Vec<&str> = names.iter().filter(|name| folder.join(name).exists()).map(String::as_str).collect();
    let kind = match (&found, there.is_empty(), options.overwrite) {
        (Some(found), _, _) if found.is_equal() => ActionKind::Equal,
        (_, true, _) => ActionKind::Create,
        (_, false, true) => ActionKind::Replace,
        (_, false, false) => ActionKind::Conflict,
    };
    let detail = match (kind, &found) {
        (ActionKind::Equal, _) => "the server is stopped, and its RDB is that of the backup".to_owned(),
        (ActionKind::Create, _) => "the server is stopped, and has no data".to_owned(),
        (_, Some(found)) => format!("the server is stopped; of its RDB {}", found.words()),
        (_, None) => format!("the server is stopped, and has {}, which go aside", there.join(", ")),
    };
    let mut actions = vec![Action::new(kind, format!("files in {}", path_text(&folder)), detail)];
    if kind != ActionKind::Equal {
        let reason = "a server with append-only files would start empty; users come with a second apply, when it runs";
        let by_hand = "start it once with `--appendonly no`, then CONFIG SET appendonly yes and wait for aof_rewrite_in_progress:0";
        actions.push(Action::new(ActionKind::Manual, "start of the server", reason).by_hand(by_hand));
    }
    Ok(FilesPlan { config, contents, context, folder, names, actions, work: kind != ActionKind::Equal })
}

/// Compares the folder of a stopped server with the backup.
pub(super) fn check(folder: &Path, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
    let part = only_part(contents)?;
    let mut checked = Checked::default();
    let object = format!("files in {}", path_text(folder));
    match look(&part, folder, &names(&part)?, context)? {
        Some(found) if found.is_equal() => checked.compared = found.equal + 1,
        Some(found) => checked.differs(object, found.words()),
        None => checked.differs(object, "the stopped server would not start with the data of the backup"),
    }
    Ok(checked)
}

impl ApplyPlan for FilesPlan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        if !self.work {
            return Ok(());
        }
        demand_stopped(self.config, &self.folder, self.context)?;
        let disk = undo.disk().clone();
        let placed = self.names.last().cloned().unwrap_or_default();
        let staged = self.folder.join(format!("{placed}.restoring"));
        disk.remove_file_if_there(&staged)?;
        // What is there stays in its place until the new file is whole.
        let ready = self.write(&disk, &staged).and_then(|()| demand_stopped(self.config, &self.folder, self.context));
        if let Err(error) = ready {
            disk.remove_file_if_there(&staged)?;
            return Err(error);
        }
        let free = |name: &str| {
            let aside = |number: u32| format!("{name}.before-restore-{number}");
            (0..).map(aside).find(|aside| self.folder.join(aside).symlink_metadata().is_err()).unwrap_or_default()
        };
        let there = self.names.iter().filter(|name| self.folder.join(name).symlink_metadata().is_ok());
        let moved: Vec<Moved> = there.map(|name| Moved { name: name.clone(), aside: free(name) }).collect();
        undo.note(
            Step::Files { folder: self.folder.clone(), placed: placed.clone(), moved: moved.clone() }.to_value()?,
        )?;
        for Moved { name, aside } in &moved {
            self.context.monitor.check()?;
            disk.publish(&self.folder.join(name), &self.folder.join(aside))?;
        }
        disk.publish(&staged, &self.folder.join(placed))
    }
}

impl FilesPlan<'_> {
    /// Writes the RDB of the backup to `staged`; it is on the disk when this returns.
    fn write(&self, disk: &Disk, staged: &Path) -> Result<()> {
        let part = only_part(self.contents)?;
        let mut rdb = CanonicalRdb::of(part.gather(self.context.scratch, MEMORY, self.context.monitor)?)?;
        let mut file = disk.create(staged)?;
        io::copy(&mut rdb, &mut file).at("cannot write", staged)?;
        file.flush().at("cannot write", staged)?;
        // The server is seldom the user who restores: what it loads belongs to whom its folder belongs to.
        let owner = self.folder.metadata().at("cannot stat", &self.folder)?;
        std::os::unix::fs::chown(staged, Some(owner.uid()), Some(owner.gid())).at("cannot give away", staged)?;
        file.finish()
    }
}

/// Puts back what went aside.
pub(super) fn put_back(folder: &Path, placed: &str, moved: &[Moved]) -> Result<()> {
    let disk = Disk::default();
    disk.remove_file_if_there(&folder.join(format!("{placed}.restoring")))?;
    if !moved.iter().any(|item| item.name == placed) {
        disk.remove_file_if_there(&folder.join(placed))?;
    }
    for Moved { name, aside } in moved {
        let (name, aside) = (folder.join(name), folder.join(aside));
        if aside.symlink_metadata().is_err() {
            continue;
        }
        match name.symlink_metadata() {
            Ok(meta) if meta.is_dir() => disk.remove_dir_all(&name)?,
            _ => disk.remove_file_if_there(&name)?,
        }
        disk.publish(&aside, &name)?;
    }
    Ok(())
}

/// Drops what went aside.
pub(super) fn forget(folder: &Path, moved: &[Moved]) -> Result<()> {
    let disk = Disk::default();
    for Moved { aside, .. } in moved {
        let aside = folder.join(aside);
        match aside.symlink_metadata() {
            Ok(meta) if meta.is_dir() => disk.remove_dir_all(&aside)?,
            _ => disk.remove_file_if_there(&aside)?,
        }
    }
    Ok(())
}
