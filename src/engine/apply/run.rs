//! Carries an apply out: component after component, noted, applied, checked.

use std::collections::BTreeSet;
use std::time::Instant;

use super::candidates::{Candidate, Candidates};
use super::order::Rank;
use super::plan::{Planned, plan, show};
use super::record::{Run, RunComponent, RunStatus, Runs};
use super::report::{AppliedComponent, ApplyReport, PlanReport, PlannedComponent};
use super::request::{ApplyRequest, Services};
use super::scratch::ScratchFolder;
use crate::engine::Session;
use crate::error::{Error, Hint, Result};
use crate::model::BackupId;
use crate::monitor::Monitor;
use crate::source::{Checked, SourceContext, UndoLog};

impl Session {
    /// Puts a backup back into the living services, and compares them with it afterwards. `go` is shown the plan and may
    /// refuse; what it was shown is what is done. A conflict refuses the whole with [`Kind::WouldOverwrite`] before
    /// anything is touched; a component that fails costs itself and those that need it.
    pub fn apply(
        &self,
        id: &BackupId,
        request: &ApplyRequest,
        services: Services<'_>,
        go: &mut dyn FnMut(&PlanReport) -> Result<()>,
        monitor: &dyn Monitor,
    ) -> Result<ApplyReport> {
        let begun = Instant::now();
        let _lock = self.state.lock_applies()?;
        let runs = self.runs();
        for cut in runs.list()?.iter().filter(|run| run.was_cut_short()) {
            monitor.advise(
                &format!("the run {} of backup {} was cut short", cut.id, cut.backup),
                &Hint::UndoRun(cut.id.to_string()),
            );
        }
        let scratch = ScratchFolder::in_state(self)?;
        let candidates = Candidates::open(self, id, request, services, &scratch, monitor)?;
        let contexts = candidates.contexts();
        let plans = plan(&candidates, &contexts, request, monitor)?;
        let shown = show(&candidates, &plans);
        go(&shown)?;
        if let Some(conflict) = shown.conflict() {
            return Err(conflict);
        }
        // What needs a component that the backup lacks is left alone, unless it was asked for alone.
        let absent = candidates.outside.iter().filter(|_| request.components.is_empty());
        let lost = absent.map(|outside| outside.name.as_str()).collect();
        let mut applier = Applier { session: self, runs, shown: &shown, run: None, done: Vec::new(), lost, monitor };
        let mut each = candidates.inside.iter().zip(&contexts).zip(plans);
        let carried_out = each.try_for_each(|((candidate, context), plan)| applier.component(candidate, context, plan));
        if let (Err(error), Some(run)) = (&carried_out, &applier.run) {
            let run = run.record.id.to_string();
            return Err(error.clone().within(format!("run {run} was cut short")).hint(Hint::UndoRun(run)));
        }
        carried_out?;
        let Applier { run, mut done, .. } = applier;
        let outside = shown.components.iter().skip(done.len()).map(|planned| applied(planned, RunStatus::Manual, None));
        done.extend(outside);
        Ok(ApplyReport {
            id: id.clone(),
            run: run.map(|run| run.record.id),
            components: done,
            duration: begun.elapsed(),
        })
    }

    /// The runs of applies from this repository that this host remembers, oldest first.
    pub(super) fn runs(&self) -> Runs {
        Runs::new(self.state.runs_dir(), self.host.disk.clone())
    }
}

struct Applier<'a> {
    session: &'a Session,
    runs: Runs,
    shown: &'a PlanReport,
    /// Begun before the first change.
    run: Option<Run>,
    done: Vec<AppliedComponent>,
    /// Components that are not there, so that what needs them is left alone.
    lost: BTreeSet<&'a str>,
    monitor: &'a dyn Monitor,
}

impl<'a> Applier<'a> {
    /// Applies and checks one component. An error ends the run: it was interrupted, or cannot be noted.
    fn component(
        &mut self,
        candidate: &'a Candidate<'_>,
        context: &SourceContext<'_>,
        plan: Planned<'_>,
    ) -> Result<()> {
        let Some(planned) = self.shown.components.get(self.done.len()) else { return Ok(()) };
        let name = candidate.config.name.as_str();
        let missing = Rank::of(candidate.config).needs().iter().find(|need| self.lost.contains(need.as_str()));
        let (status, outcome) = match (missing, plan) {
            (Some(need), _) => (RunStatus::Skipped, Err(Error::failed(format!("it needs {need}, which failed")))),
            (None, Err(error)) => (RunStatus::Failed, Err(error)),
            (None, Ok(plan)) => {
                self.monitor.stage(name, None, None);
                let mut outcome = Ok(());
                if planned.has_changes() {
                    self.note(name, RunStatus::Applying, None)?;
                    outcome = self.monitor.check().and_then(|()| {
                        let run = self.run.as_ref().ok_or_else(|| Error::failed("an apply has no run"))?;
                        plan.apply(&mut UndoLog::open(&run.folder_of(name), &self.session.host.disk)?)
                    });
                    if outcome.is_ok() {
                        self.note(name, RunStatus::Applied, None)?;
                    }
                }
                match outcome.and_then(|()| check(candidate, context)) {
                    Ok(checked) if checked.differences.is_empty() => (RunStatus::Checked, Ok(checked)),
                    Ok(checked) => (RunStatus::Differs, Ok(checked)),
                    Err(error) => (RunStatus::Failed, Err(error)),
                }
            }
        };
        if matches!(status, RunStatus::Failed | RunStatus::Skipped) {
            self.lost.insert(name);
        }
        let detail = outcome.as_ref().err().map(Error::one_line);
        if self.run.is_some() {
            self.note(name, status, detail)?;
        }
        if let Err(error) = self.monitor.check() {
            return Err(Error::new(error.kind(), format!("interrupted at the component {name}")));
        }
        self.done.push(applied(planned, status, Some(outcome)));
        Ok(())
    }

    /// Notes durably how far a component came; begins the run when there is none.
    fn note(&mut self, name: &str, status: RunStatus, detail: Option<String>) -> Result<()> {
        if self.run.is_none() {
            let planned = self.shown.components.iter().enumerate().map(|(at, planned)| {
                let (status, detail) = match self.done.get(at) {
                    Some(done) => (done.status, done.error.as_ref().map(Error::one_line)),
                    None if planned.is_outside() => (RunStatus::Manual, None),
                    None => (RunStatus::Planned, None),
                };
                RunComponent { name: planned.name.clone(), kind: planned.kind.clone(), status, detail }
            });
            let run = self.runs.begin(&self.shown.id, planned.collect(), self.session.host.clock.now())?;
            self.run = Some(run);
        }
        self.run.as_mut().map_or(Ok(()), |run| run.set(name, status, detail))
    }
}

/// Compares a component with its living service.
pub(super) fn check(candidate: &Candidate<'_>, context: &SourceContext<'_>) -> Result<Checked> {
    let checked = candidate.contents().and_then(|contents| candidate.source.check(contents, context));
    checked.map_err(|e| e.within(format!("the component {} cannot be checked", candidate.config.name)))
}

fn applied(planned: &PlannedComponent, status: RunStatus, outcome: Option<Result<Checked>>) -> AppliedComponent {
    let (checked, error) = match outcome {
        Some(Ok(checked)) => (checked, None),
        Some(Err(error)) => (Checked::default(), Some(error)),
        None => (Checked::default(), None),
    };
    AppliedComponent {
        name: planned.name.clone(),
        kind: planned.kind.clone(),
        status,
        actions: planned.actions.clone(),
        compared: checked.compared,
        differences: checked.differences,
        error,
    }
}
