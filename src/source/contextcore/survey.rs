//! The two sides of a comparison: the files of a backup, and those of the home folder now.

use std::collections::BTreeMap;
use std::path::Path;

use super::ours::{is_named, is_ours};
use super::reader::{HomeFacts, HomeReader, Sort, Stored};
use crate::error::{Error, Kind, Result};
use crate::model::{Digest, Entry, EntryKind, EntryPath, ProblemKind};
use crate::monitor::Monitor;
use crate::source::settled::{Fault, settle};
use crate::source::{Checked, Contents};

/// Longest summary that is read, in bytes.
const MAX_SUMMARY: u64 = 256 << 20;

/// What is said of a file that has the right content, and another mode or owner.
pub(super) const OTHER_RIGHTS: &str = "has another mode or owner";

/// Who may do what with a file.
pub(super) type Rights = (u32, Option<(u32, u32)>);

/// Mode and owner as they are compared: without root nobody can give a file away, so owners tell nothing.
pub(super) fn rights(mode: u32, owner: (u32, u32)) -> Rights {
    (mode & 0o777, rustix::process::geteuid().is_root().then_some(owner))
}

/// Files by path.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) files: BTreeMap<EntryPath, Digest>,
    /// Mode and owner of each; the owner only where we could set it.
    rights: BTreeMap<EntryPath, Rights>,
    /// The entries of a backup.
    pub(super) entries: BTreeMap<EntryPath, Entry>,
    /// Files that are too large to be compared.
    pub(super) too_large: Vec<EntryPath>,
}

impl Files {
    /// Of a backup, without its summaries.
    pub(super) fn archived(contents: &dyn Contents) -> Result<Self> {
        let mut archived = Self::default();
        for entry in contents.entries()? {
            let entry = entry?;
            let EntryKind::File { sha256, .. } = &entry.kind else { continue };
            if !is_named(&entry.path) || !is_ours(&entry.path, &contents.read(&entry, MAX_SUMMARY)?) {
                archived.files.insert(entry.path.clone(), *sha256);
                archived.rights.insert(entry.path.clone(), rights(entry.mode, (entry.uid, entry.gid)));
                archived.entries.insert(entry.path.clone(), entry);
            }
        }
        Ok(archived)
    }

    /// Of the home folder. One that is not there holds nothing; one that cannot be read is an error.
    pub(super) fn living(home: &Path, monitor: &dyn Monitor) -> Result<Self> {
        let settled = match settle(home, &HomeReader, monitor) {
            Err(e) if e.kind() == Kind::NotFound => return Ok(Self::default()),
            settled => settled?,
        };
        if let Some(problem) = settled.problems.iter().find(|problem| problem.kind == ProblemKind::Unreadable) {
            return Err(Error::failed(format!("{}: {}", home.join(&problem.path).display(), problem.detail)));
        }
        let mut living = Self::default();
        for (path, known) in &settled.files {
            match known.digest {
                _ if known.facts == HomeFacts::OurSummary => {}
                Some(digest) => {
                    living.files.insert(path.clone(), digest);
                    if let Some(stamp) = known.stamp {
                        living.rights.insert(path.clone(), rights(stamp.mode, stamp.owner));
                    }
                }
                None if known.fault == Some(Fault::TooLarge) => living.too_large.push(path.clone()),
                None => {
                    return Err(Error::failed(format!(
                        "{} is written to all the time",
                        home.join(path.as_os_str()).display()
                    )));
                }
            }
        }
        Ok(living)
    }

    /// Mode and owner of a file.
    pub(super) fn held(&self, path: &EntryPath) -> Option<Rights> {
        self.rights.get(path).copied()
    }

    /// How many there are of each sort.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::from([("tasks", 0), ("completed tasks", 0), ("files", 0)]);
        for path in self.files.keys() {
            let sort = match Sort::of(path) {
                Sort::Task { completed: false, .. } => "tasks",
                Sort::Task { completed: true, .. } => "completed tasks",
                _ => "files",
            };
            *counts.entry(sort).or_default() += 1;
        }
        counts
    }
}

/// Compares file by file, and how many there are.
pub(super) fn compare(archived: &Files, living: &Files) -> Checked {
    let mut checked = Checked::default();
    for (path, digest) in &archived.files {
        match living.files.get(path) {
            Some(there) if there == digest && archived.held(path) == living.held(path) => checked.compared += 1,
            Some(there) if there == digest => checked.differs(object(path), OTHER_RIGHTS),
            Some(_) => checked.differs(object(path), "has another content"),
            None if living.too_large.contains(path) => checked.differs(object(path), "is too large to be compared"),
            None => checked.differs(object(path), "is not there"),
        }
    }
    for path in living.files.keys().filter(|path| !archived.files.contains_key(*path)) {
        checked.differs(object(path), "is not in the backup");
    }
    let there = living.counts();
    for (what, number) in archived.counts() {
        checked.compare(format!("number of {what}"), &number, there.get(what).unwrap_or(&0));
    }
    checked
}

/// A file by the name that a person knows.
pub(super) fn object(path: &EntryPath) -> String {
    let name = String::from_utf8_lossy(path.name()).into_owned();
    let id = name.strip_suffix(".json").unwrap_or(&name);
    match Sort::of(path) {
        Sort::Task { project, completed: false } => format!("task {id} of {project}"),
        Sort::Task { project, completed: true } => format!("completed task {id} of {project}"),
        Sort::Stored { project, what } => match what {
            Stored::Handoff => format!("handoff {id} of {project}"),
            Stored::Session => format!("session {id} of {project}"),
            Stored::Insight => format!("insight {id} of {project}"),
            Stored::Guidance => format!("guidance of {project}"),
        },
        Sort::Insights { project } => format!("insights of {project}"),
        Sort::Install => "state of the installation".to_owned(),
        Sort::Role | Sort::Binding | Sort::Other => format!("file {path}"),
    }
}
