//! What an apply would do with each root, and doing it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::compare::{Differences, differences};
use super::mounts;
use super::roots::Root;
use super::swap::{Step, beside, identity, make, remove_tree, swap};
use crate::error::{Context as _, Error, Result, path_text};
use crate::model::escape_path;
use crate::source::{
    Action, ActionKind, ApplyOptions, ApplyPlan, Contents, SourceContext, Tree, UndoLog, path_in_step,
};

/// A plan of a component.
#[derive(Debug)]
pub(in crate::source::files) struct Plan<'a> {
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    roots: Vec<(Root, ActionKind)>,
    actions: Vec<Action>,
}

impl<'a> Plan<'a> {
    pub(in crate::source::files) fn new(
        tree: &Tree,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Self> {
        let roots = tree.paths.iter().map(|path| Root::of(path)).collect::<Result<Vec<_>>>()?;
        let found = differences(&roots, tree, contents, context)?;
        let mut plan = Self { contents, context, roots: Vec::new(), actions: Vec::new() };
        for (root, differences) in roots.into_iter().zip(found) {
            let (kind, detail) = judge(&root, &differences, options, context)?;
            plan.actions.push(Action::new(kind, path_text(&root.configured), detail));
            plan.roots.push((root, kind));
        }
        for entry in contents.entries()? {
            let path = entry?.path;
            let is_root = path.parent().is_none_or(<[u8]>::is_empty);
            if is_root && !plan.roots.iter().any(|(root, _)| root.shown == path) {
                let detail = "no path of the configuration has this name any more; restore it into a folder";
                plan.actions.push(Action::new(ActionKind::Manual, path.escaped(), detail));
            }
        }
        Ok(plan)
    }
}

fn judge(
    root: &Root,
    found: &Differences,
    options: &ApplyOptions,
    context: &SourceContext<'_>,
) -> Result<(ActionKind, String)> {
    let size = format!("{} entries, {} bytes", found.entries, found.bytes);
    if found.entries == 0 {
        return Ok((ActionKind::Manual, "the backup has nothing of it".to_owned()));
    }
    if !root.is_there {
        return Ok((ActionKind::Create, size));
    }
    if found.is_equal() {
        return Ok((ActionKind::Equal, size));
    }
    let Differences { missing, different, extra, .. } = found;
    let differs = format!("{missing} entries are missing, {different} differ, {extra} are not in the backup");
    if let Some(why) = cannot_swap(root, found, context)? {
        let detail =
            format!("{differs}. It cannot be replaced as a whole: {why}; restore into it, or into another folder");
        return Ok((ActionKind::Manual, detail));
    }
    if !options.overwrite {
        return Ok((ActionKind::Conflict, differs));
    }
    let detail = format!(
        "{differs}. The old one is kept beside it, with all that the backup does not have, what rules leave out included"
    );
    Ok((ActionKind::Replace, detail))
}

/// Why a root cannot be renamed, or must not.
fn cannot_swap(root: &Root, found: &Differences, context: &SourceContext<'_>) -> Result<Option<String>> {
    if root.place().is_none() {
        return Ok(Some("it is the root of the file system".to_owned()));
    }
    if let Some(mount) = mounts::at_or_below(&root.path)? {
        return Ok(Some(format!("something is mounted at {}", path_text(&mount))));
    }
    let scratch = fs::canonicalize(context.scratch).at("cannot find the real path of", context.scratch)?;
    if scratch.starts_with(&root.path) {
        return Ok(Some("the state of this host lies in it".to_owned()));
    }
    if found.has_repository {
        return Ok(Some("a repository seems to lie in it".to_owned()));
    }
    Ok(None)
}

impl ApplyPlan for Plan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        // A tree is renamed within its file system only, so each one has a staging folder.
        let mut by_device: BTreeMap<u64, Vec<&Root>> = BTreeMap::new();
        for (root, _) in self.roots.iter().filter(|(_, kind)| matches!(kind, ActionKind::Create | ActionKind::Replace))
        {
            let folder = root.place().map_or(Path::new("/"), |(folder, _)| folder);
            undo.disk().make_dirs(folder)?;
            let device = folder.metadata().at("cannot stat", folder)?.dev();
            by_device.entry(device).or_default().push(root);
        }
        by_device.values().try_for_each(|roots| self.put_back(roots, undo))
    }
}

impl Plan<'_> {
    /// Restores beside the first root and swaps all in.
    fn put_back(&self, roots: &[&Root], undo: &mut UndoLog) -> Result<()> {
        let Some(first) = roots.first() else { return Ok(()) };
        let staged = beside(&first.path, &format!("staged-{}", self.context.component))?;
        let disk = undo.disk().clone();
        // Of a run that was killed.
        remove_tree(&disk, &staged)?;
        undo.note(Step::Staged { folder: path_in_step(&staged) }.to_note()?)?;
        let result = self.contents.restore_into(&staged).and_then(|()| {
            for root in roots {
                self.context.monitor.check()?;
                self.put_in_place(root, &staged, undo)?;
            }
            Ok(())
        });
        // The rest are roots of other file systems, or what an error left; what is to be undone is not in it.
        let removed = remove_tree(&disk, &staged);
        result.and(removed)
    }

    fn put_in_place(&self, root: &Root, staged: &Path, undo: &mut UndoLog) -> Result<()> {
        let new: PathBuf = staged.join(root.shown.as_os_str());
        let made = identity(&new)?
            .ok_or_else(|| Error::failed(format!("the backup has no {}", escape_path(root.shown.as_bytes()))))?;
        if root.is_there {
            return swap(&new, made, &root.path, &self.context.now.to_string(), undo);
        }
        make(&new, made, &root.path, undo)
    }
}
