//! Puts back what a run replaced, or drops it.

use super::record::{Run, RunComponent, RunId, RunRecord, RunStatus};
use super::report::{UndoReport, UndoneComponent};
use super::request::Services;
use super::scratch::ScratchFolder;
use crate::engine::Session;
use crate::error::{Error, Hint, Result};
use crate::monitor::Monitor;
use crate::source::{SourceContext, UndoLog};

/// What happens to what a run replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    PutBack,
    Drop,
}

impl Session {
    /// The runs of applies from this repository that this host remembers, oldest first.
    pub fn apply_runs(&self) -> Result<Vec<RunRecord>> {
        self.runs().list()
    }

    /// Puts back what a run replaced, component after component from the last to the first. What fails is told and can be
    /// tried again. Refused while a later run stands that touched the same.
    pub fn undo_apply(&self, run: &RunId, services: Services<'_>, monitor: &dyn Monitor) -> Result<UndoReport> {
        self.settle(run, services, Fate::PutBack, monitor)
    }

    /// Lets a run stand: what it replaced is dropped, and it cannot be undone any more.
    pub fn confirm_apply(&self, run: &RunId, services: Services<'_>, monitor: &dyn Monitor) -> Result<UndoReport> {
        self.settle(run, services, Fate::Drop, monitor)
    }

    fn settle(&self, id: &RunId, services: Services<'_>, fate: Fate, monitor: &dyn Monitor) -> Result<UndoReport> {
        let _lock = self.state.lock_applies()?;
        let runs = self.runs();
        let mut run = runs.open(id)?;
        let is = |status| run.record.components.iter().any(|component| component.status == status);
        match fate {
            Fate::PutBack if is(RunStatus::Confirmed) => {
                return Err(Error::usage(format!("run {id} was confirmed: what it replaced was dropped")));
            }
            Fate::Drop if is(RunStatus::Undone) && run.record.can_be_undone() => {
                let message = format!("the undo of run {id} is not finished");
                return Err(Error::usage(message).hint(Hint::UndoRun(id.to_string())));
            }
            Fate::Drop => {}
            Fate::PutBack => refuse_before_later(&run.record, &runs.after(id)?)?,
        }
        let scratch = ScratchFolder::in_state(self)?;
        // What a kill left after it was settled.
        for component in &run.record.components {
            if matches!(component.status, RunStatus::Undone | RunStatus::Confirmed) {
                run.drop_folder(&component.name)?;
            }
        }
        let mut components = Vec::new();
        for component in run.record.components.clone().iter().rev().filter(|c| c.status.can_be_undone()) {
            monitor.check()?;
            monitor.stage(&component.name, None, None);
            let settled = self.settle_component(&mut run, component, services, fate, &scratch, monitor);
            let status = run.record.status_of(&component.name).unwrap_or(component.status);
            let within = |e: Error| {
                let what = if fate == Fate::PutBack { "put back" } else { "dropped" };
                e.within(format!("what run {id} replaced of the component {} was not {what}", component.name))
            };
            components.push(UndoneComponent { name: component.name.clone(), status, error: settled.err().map(within) });
        }
        monitor.check()?;
        Ok(UndoReport { run: id.clone(), backup: run.record.backup.clone(), components })
    }

    fn settle_component(
        &self,
        run: &mut Run,
        component: &RunComponent,
        services: Services<'_>,
        fate: Fate,
        scratch: &ScratchFolder,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let RunComponent { name, kind, .. } = component;
        let folder = run.folder_of(name);
        let steps = UndoLog::read(&folder)?;
        // One that had noted nothing had replaced nothing.
        if !steps.is_empty() {
            let config = services.find(name, kind).map_err(Error::usage)?;
            let source = (services.open)(config);
            let context = SourceContext {
                component: name,
                environment: &self.host.environment,
                monitor,
                scratch: &scratch.of(name)?,
                now: self.host.clock.now(),
            };
            match fate {
                Fate::PutBack => source.undo(&steps, &folder, &context)?,
                Fate::Drop => source.forget(&steps, &folder, &context)?,
            }
        }
        run.set(name, if fate == Fate::PutBack { RunStatus::Undone } else { RunStatus::Confirmed }, None)?;
        run.drop_folder(name)
    }
}

/// What a later run replaced is what this one had made: it has to go back first.
fn refuse_before_later(run: &RunRecord, later: &[RunRecord]) -> Result<()> {
    let touched = |run: &RunRecord, name: &str| {
        run.status_of(name).is_some_and(|status| status.can_be_undone() || status == RunStatus::Confirmed)
    };
    for component in run.components.iter().filter(|component| component.status.can_be_undone()) {
        if let Some(other) = later.iter().rev().find(|later| touched(later, &component.name)) {
            let (name, id, other) = (&component.name, &run.id, &other.id);
            let message = format!("the later run {other} has applied {name} too, on top of what run {id} had made");
            return Err(Error::usage(message).hint(Hint::UndoRun(other.to_string())));
        }
    }
    Ok(())
}
