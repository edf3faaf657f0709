//! Puts an output back, and compares.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::programs::{Compared, capture, compare, digest, feed};
use crate::config::CommandConfig;
use crate::error::{Context as _, Error, Kind, Result};
use crate::model::{Digest, Entry, EntryKind, EntryPath};
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, Checked, Contents, SourceContext, UndoLog, UndoStep};

/// Name of what is kept for an undo.
const PRE_IMAGE: &str = "before";

/// What is done with the one object.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    config: &'a CommandConfig,
    contents: &'a dyn Contents,
    context: &'a SourceContext<'a>,
    entry: Entry,
    actions: Vec<Action>,
    /// The action says that nothing can be kept for an undo.
    keeps_nothing: bool,
}

/// What an apply notes before it starts the program.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    /// Whether what was there before is kept.
    kept: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        config: &'a CommandConfig,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Self> {
        let (entry, sha256) = object(config, contents)?;
        let (mut action, keeps_nothing) = judge(config, contents, &entry, sha256, options, context)?;
        if matches!(action.kind, ActionKind::Create | ActionKind::Replace) {
            action = action.by_hand(format!("{} < {}", config.apply.join(" "), config.object));
        }
        Ok(Self { config, contents, context, entry, actions: vec![action], keeps_nothing })
    }
}

/// What is to be done, and whether what is there now cannot be kept.
fn judge(
    config: &CommandConfig,
    contents: &dyn Contents,
    entry: &Entry,
    sha256: Digest,
    options: &ApplyOptions,
    context: &SourceContext<'_>,
) -> Result<(Action, bool)> {
    let action = |kind, detail: String| Action::new(kind, config.object.clone(), detail);
    let (size, is) = (entry.size(), |kind, detail: String| Ok((action(kind, detail), false)));
    let is_lost = |kind, detail: String| Ok((action(kind, detail), true));
    if !config.check.is_empty()
        && let Compared::Equal = compare(&config.check, config, &mut contents.open(entry)?, context)?
    {
        return is(ActionKind::Equal, format!("{size} bytes"));
    }
    let found = match digest(config, context) {
        Ok((living, _)) if living == sha256 => return is(ActionKind::Equal, format!("{size} bytes")),
        Ok((_, bytes)) => Ok(bytes),
        Err(e) if is_no_answer(&e) => return Err(e),
        Err(e) => Err(e),
    };
    if config.apply.is_empty() {
        return is(ActionKind::Manual, format!("no `apply` says what takes these {size} bytes back"));
    }
    match found {
        Ok(0) => is_lost(ActionKind::Create, format!("{size} bytes; nothing is there now")),
        Ok(bytes) if options.overwrite => {
            is(ActionKind::Replace, format!("{bytes} bytes are there and differ; the backup has {size}"))
        }
        Ok(bytes) => is(ActionKind::Conflict, format!("{bytes} bytes are there and differ; the backup has {size}")),
        // It ended well: what it gives is not whole, so nothing whole is there.
        Err(e) if e.kind() == Kind::Incomplete => {
            is_lost(ActionKind::Create, format!("{size} bytes; nothing whole is there now ({})", e.one_line()))
        }
        // A wrong password looks the same as a service that lost all.
        Err(e) if options.overwrite => {
            let why = e.one_line();
            is_lost(
                ActionKind::Replace,
                format!("{size} bytes; what is there cannot be captured, nor put back ({why})"),
            )
        }
        Err(e) => {
            is(ActionKind::Conflict, format!("{size} bytes; what is there cannot be captured ({})", e.one_line()))
        }
    }
}

/// Whether a program that should say what is there did not come to say it.
fn is_no_answer(error: &Error) -> bool {
    matches!(error.kind(), Kind::ToolMissing | Kind::TimedOut | Kind::Denied | Kind::NotFound | Kind::Interrupted(_))
}

/// The object and its digest.
fn object(config: &CommandConfig, contents: &dyn Contents) -> Result<(Entry, Digest)> {
    let path = EntryPath::new(config.object.as_bytes())?;
    let entry = contents.find(&path)?.ok_or_else(|| {
        let message = format!("the backup has no {}", config.object);
        Error::new(Kind::NotFound, message).hint("`object` of the configuration may have been another then")
    })?;
    match entry.kind {
        EntryKind::File { sha256, .. } => Ok((entry, sha256)),
        _ => Err(Error::damage(format!("{} is no plain file in the backup", config.object))),
    }
}

impl ApplyPlan for Plan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        let Self { config, contents, context, entry, actions, keeps_nothing } = *self;
        if !matches!(actions[0].kind, ActionKind::Create | ActionKind::Replace) {
            return Ok(());
        }
        let kept = match keep(config, undo, context) {
            Ok(()) => true,
            // As the plan has said.
            Err(e) if keeps_nothing && !matches!(e.kind(), Kind::Interrupted(_)) => false,
            Err(e) => return Err(e.within("what is there cannot be kept for an undo, so it is not replaced")),
        };
        undo.note(serde_json::json!(Step { kept }))?;
        feed(&config.apply, config, &mut contents.open(&entry)?, context)
    }
}

/// Keeps what is there, unless a run that was cut short did: what is there now is that run's.
fn keep(config: &CommandConfig, undo: &UndoLog, context: &SourceContext<'_>) -> Result<()> {
    let path = undo.folder().join(PRE_IMAGE);
    if path.exists() {
        return Ok(());
    }
    let staged = undo.folder().join("before.partial");
    undo.disk().remove_file_if_there(&staged)?;
    let mut file = undo.disk().create(&staged)?;
    let mut output = capture(config, context)?;
    io::copy(&mut output, &mut file).at("cannot keep what is there in", &staged)?;
    file.flush().at("cannot write", &staged)?;
    file.finish()?;
    undo.disk().put_in_place(&staged, &path)
}

pub(super) fn check(config: &CommandConfig, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked> {
    let (entry, sha256) = object(config, contents)?;
    let mut checked = Checked::default();
    if config.check.is_empty() {
        match digest(config, context) {
            Ok((living, _)) => checked.compare(config.object.clone(), &sha256.to_string(), &living.to_string()),
            Err(e) if is_no_answer(&e) => return Err(e),
            Err(e) => checked.differs(config.object.clone(), format!("nothing whole is there: {}", e.one_line())),
        }
        return Ok(checked);
    }
    match compare(&config.check, config, &mut contents.open(&entry)?, context)? {
        Compared::Equal => checked.compared += 1,
        Compared::Different(why) => checked.differs(config.object.clone(), why),
    }
    Ok(checked)
}

pub(super) fn undo(
    config: &CommandConfig,
    steps: &[UndoStep],
    folder: &Path,
    context: &SourceContext<'_>,
) -> Result<()> {
    let Some(step) = steps.first() else { return Ok(()) };
    let step = Step::deserialize(step).map_err(|e| Error::failed("the note of the apply cannot be read").because(e))?;
    if !step.kept {
        context.monitor.note(&format!("{}: nothing whole was there before that could be put back", context.component));
        return Ok(());
    }
    let path = folder.join(PRE_IMAGE);
    let mut file = File::open(&path).at("cannot open", &path)?;
    feed(&config.apply, config, &mut file, context)
}
