//! Puts a store back: beside the living one, decoded there, compared with its inventories, then swapped in as a whole.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::survey::{Archived, Living};
use super::words::{counted, object};
use super::{running, swap};
use crate::error::{Context as _, Error, Result, path_text};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Contents, SourceContext, UndoLog, made};
use crate::vectorstore::{Health, Inventory};

/// Where a store lies, and where the kernel shows who may be using it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) store: &'a Path,
    pub(super) processes: &'a Path,
}

/// What an apply would do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    place: Place<'a>,
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    archived: Archived,
    actions: Vec<Action>,
    needed: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        place: Place<'a>,
        contents: &'a dyn Contents,
        context: &'a SourceContext<'a>,
        archived: Archived,
        living: &Living,
        options: &ApplyOptions,
    ) -> Result<Self> {
        let differs = if options.overwrite { ActionKind::Replace } else { ActionKind::Conflict };
        let mut actions = Vec::new();
        for (folder, inventory) in &archived.collections {
            let (kind, detail) = match living.collection(folder) {
                None => (ActionKind::Create, summary(inventory)),
                Some(there) => match inventory.differences(there) {
                    same if same.is_empty() => (ActionKind::Equal, summary(inventory)),
                    differences => (differs, differences.join("; ")),
                },
            };
            actions.push(Action::new(kind, object(inventory), detail));
        }
        for (path, digest) in &archived.others {
            let (kind, detail) = match living.other(path) {
                None => (ActionKind::Create, ""),
                Some(there) if there == digest => (ActionKind::Equal, ""),
                Some(_) => (differs, "has another content"),
            };
            actions.push(Action::new(kind, format!("file {path}"), detail));
        }
        for (object, detail) in archived.more(living) {
            actions.push(Action::new(differs, object, format!("{detail}: it is put aside")));
        }
        let needed = actions.iter().any(|action| action.kind != ActionKind::Equal);
        if needed {
            let running = running::contextd(place.processes, place.store)?;
            if running.is_empty() {
                let text = "contextd was not seen on this host. If it runs where this host cannot see it, stop it before an apply: \
                            it keeps all collections in memory and would write them over what is restored";
                context.monitor.note(&format!("{}: {text}", context.component));
            } else {
                let detail = format!("{}: stop it first, and start it afterwards", running::told(&running));
                actions.insert(0, Action::new(ActionKind::Manual, "contextd", detail));
            }
        }
        Ok(Self { place, contents, context, archived, actions, needed })
    }

    /// Restores all of it beside the store, and makes sure that it is what was captured.
    fn stage(&self, store: &Path, staged: &Path, undo: &UndoLog) -> Result<()> {
        if staged.symlink_metadata().is_ok() {
            undo.disk().remove_dir_all(staged)?; // of a run that was cut short
        }
        self.contents.restore_into(staged)?;
        for inventory in &self.archived.inventories {
            undo.disk().remove_file_if_there(&staged.join(inventory.as_os_str()))?;
        }
        let checked = self.archived.compare(&Living::at_rest(staged, self.context.monitor)?);
        if let Some(first) = checked.differences.first() {
            let message = format!("what was restored beside {} is not what was captured", path_text(store));
            let more = checked.differences.len();
            return Err(Error::damage(format!("{message}: {}: {} ({more} in all)", first.object, first.detail)));
        }
        let owner = match store.metadata() {
            Ok(data) => {
                fs::set_permissions(staged, fs::Permissions::from_mode(data.mode() & 0o7777))
                    .at("cannot change", staged)?;
                Some((data.uid(), data.gid()))
            }
            Err(_) => made::owner_above(store)?,
        };
        // The backup knows files only; the folders between them are those of whoever made it.
        if let Some(owner) = owner {
            give_folders(staged, owner)?;
        }
        swap::sync_all(staged)
    }
}

impl ApplyPlan for Plan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        if !self.needed {
            return Ok(());
        }
        let store = swap::real(self.place.store)?;
        running::refuse(&running::contextd(self.place.processes, &store)?)?;
        made::make_dirs(undo.disk(), crate::durable::parent(&store))?;
        let staged = swap::staged_beside(&store)?;
        let good = self.stage(&store, &staged, undo).and_then(|()| {
            self.context.monitor.check()?;
            running::refuse(&running::contextd(self.place.processes, &store)?)
        });
        if let Err(error) = good {
            // Nothing was noted yet, so nobody else would.
            if staged.symlink_metadata().is_ok() {
                undo.disk().remove_dir_all(&staged).ok();
            }
            return Err(error);
        }
        swap::swap_in(&store, &staged, self.context.now, undo)
    }
}

/// Gives a folder and all folders below it to the owner of the store.
fn give_folders(folder: &Path, owner: (u32, u32)) -> Result<()> {
    for item in walkdir::WalkDir::new(folder).follow_links(false) {
        let item = item.map_err(|e| Error::failed(format!("cannot list {}", path_text(folder))).because(e))?;
        if item.file_type().is_dir() {
            made::give(item.path(), owner)?;
        }
    }
    Ok(())
}

/// A collection in a few words.
fn summary(inventory: &Inventory) -> String {
    let documents = counted(inventory.documents, "document");
    match inventory.health {
        Health::Healthy => documents,
        _ => format!("{documents}; {}", inventory.state),
    }
}
