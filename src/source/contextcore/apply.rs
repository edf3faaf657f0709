//! Puts the files back one by one, each under its lock and in one step. What is there and not in the backup is put aside: a
//! task that was completed since would else be open and completed at once.

use std::path::Path;

use super::lock;
use super::reader::{MAX_FILE_BYTES, Sort};
use super::survey::{Files, OTHER_RIGHTS, compare, object};
use super::undo::{Step, bytes_of, write};
use crate::error::{Error, Result, path_text};
use crate::model::{Digest, EntryPath};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Contents, SourceContext, UndoLog, made};

/// What an apply would do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    home: &'a Path,
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    archived: Files,
    living: Files,
    actions: Vec<Action>,
    steps: Vec<(EntryPath, ActionKind)>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        home: &'a Path,
        contents: &'a dyn Contents,
        context: &'a SourceContext<'a>,
        archived: Files,
        living: Files,
        options: &ApplyOptions,
    ) -> Self {
        let differs = if options.overwrite { ActionKind::Replace } else { ActionKind::Conflict };
        let mut steps = Vec::new();
        let mut actions = Vec::new();
        let mut plan = |path: &EntryPath, kind, detail: &str| {
            steps.push((path.clone(), kind));
            actions.push(Action::new(kind, object(path), detail));
        };
        // First what leaves, so that no task is there twice.
        for path in living.files.keys().filter(|path| !archived.files.contains_key(*path)) {
            plan(path, differs, "is not in the backup: it is put aside");
        }
        for (path, digest) in &archived.files {
            let size = archived.entries.get(path).map_or(0, crate::model::Entry::size);
            match living.files.get(path) {
                Some(there) if there == digest && archived.held(path) == living.held(path) => {
                    plan(path, ActionKind::Equal, "");
                }
                _ if size > MAX_FILE_BYTES || living.too_large.contains(path) => {
                    plan(
                        path,
                        ActionKind::Manual,
                        "is too large to be compared: restore it into a folder, and move it from there",
                    );
                }
                Some(there) if there == digest => plan(path, differs, OTHER_RIGHTS),
                Some(_) => plan(path, differs, "has another content"),
                None => plan(path, ActionKind::Create, &format!("{size} bytes")),
            }
        }
        Self { home, contents, context, archived, living, actions, steps }
    }

    /// One file.
    fn step(&self, path: &EntryPath, kind: ActionKind, undo: &mut UndoLog) -> Result<()> {
        if !matches!(kind, ActionKind::Create | ActionKind::Replace) {
            return Ok(());
        }
        let file = self.home.join(path.as_os_str());
        let bytes = match self.archived.entries.get(path) {
            Some(entry) => Some((self.contents.read(entry, MAX_FILE_BYTES)?, entry)),
            None => None,
        };
        made::make_dirs(undo.disk(), crate::durable::parent(&file))?;
        let _lock = if matches!(Sort::of(path), Sort::Task { .. }) { Some(lock::alone(&file)?) } else { None };
        let there = bytes_of(&file)?;
        if there.as_ref().map(|(bytes, _)| Digest::of(bytes)) != self.living.files.get(path).copied() {
            return Err(Error::failed(format!("{} changed since the plan was made", path_text(&file)))
                .hint("run it again: it plans anew and keeps what is done"));
        }
        let written = bytes.as_ref().map(|(bytes, _)| Digest::of(bytes));
        Step::keep(path, there, written, undo)?;
        match bytes {
            Some((bytes, entry)) => {
                write(undo.disk(), &file, &bytes, entry.mode, entry.mtime, Some((entry.uid, entry.gid)))
            }
            None => undo.disk().remove_file_if_there(&file),
        }
    }
}

impl ApplyPlan for Plan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        for (path, kind) in &self.steps {
            self.context.monitor.check()?;
            self.step(path, *kind, undo)?;
        }
        let checked = compare(&self.archived, &Files::living(self.home, self.context.monitor)?);
        let by_hand = self.actions.iter().any(|action| action.kind == ActionKind::Manual);
        match checked.differences.first() {
            Some(first) if !by_hand => Err(Error::failed(format!("after the apply {} {}", first.object, first.detail))),
            _ => Ok(()),
        }
    }
}
