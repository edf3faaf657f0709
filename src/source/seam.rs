//! The seam: what every kind of component does for the engine, and what it is given for that (docs/SOURCES.md).

use std::fmt;
use std::path::Path;

use super::apply::{ApplyOptions, ApplyPlan, Checked, UndoStep};
use super::capture::{Captured, Tree};
use super::contents::Contents;
use crate::environment::Environment;
use crate::error::Result;
use crate::model::Moment;
use crate::monitor::Monitor;

/// What a source is given by the run that uses it.
#[derive(Debug)]
pub struct SourceContext<'a> {
    /// The component's name.
    pub component: &'a str,
    /// Variables of the environment: for references to secrets, and for finding programs.
    pub environment: &'a Environment,
    /// Progress, notes, and the wish to stop.
    pub monitor: &'a dyn Monitor,
    /// A folder of this host that nobody else can read, removed after the run. Never for secrets or captured data in clear.
    pub scratch: &'a Path,
    /// When the run began.
    pub now: Moment,
}

/// What a source found when it was asked whether it could capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Version of the service, where it tells one.
    pub version: Option<String>,
    /// What a capture would take, for people: `3 databases`, `20022 keys`.
    pub finds: Vec<String>,
    /// What a capture would lack or could not see, each with what to do about it.
    pub missing: Vec<String>,
}

/// One component of one kind. All methods may be called from any thread.
pub trait Source: fmt::Debug + Send + Sync {
    /// Asks whether a capture could work and what it would find. Changes nothing. What cannot be reached is an error; what
    /// is reached but incomplete is in [`Probe::missing`].
    fn probe(&self, context: &SourceContext<'_>) -> Result<Probe>;

    /// The tree that a capture would walk, for kinds that capture one: so a dry run can count it.
    fn tree(&self) -> Option<Tree> {
        None
    }

    /// Begins a capture. An error, here or later, fails the component and no other.
    fn capture<'a>(&'a self, context: &'a SourceContext<'a>) -> Result<Captured<'a>>;

    /// Compares the archive with the living service, and says what an apply would do. Changes nothing.
    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>>;

    /// Compares the living service with the archive, object by object and count by count: through another door than the one
    /// that wrote, where there is one. Changes nothing.
    fn check(&self, contents: &dyn Contents, context: &SourceContext<'_>) -> Result<Checked>;

    /// Puts back what an apply replaced. `steps` are what it noted, in the order of the apply, also one that was cut
    /// short; `folder` is where it kept pre-images. May be called again after it was cut short itself.
    fn undo(&self, steps: &[UndoStep], folder: &Path, context: &SourceContext<'_>) -> Result<()>;

    /// Drops what was kept for `undo` outside of `folder`.
    fn forget(&self, steps: &[UndoStep], folder: &Path, context: &SourceContext<'_>) -> Result<()>;
}
