//! The plan of an apply: what it would do, without doing it.

use super::candidates::{Candidate, Candidates, Outside};
use super::report::{PlanReport, PlannedComponent};
use super::request::{ApplyRequest, Services};
use super::scratch::ScratchFolder;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::model::BackupId;
use crate::monitor::Monitor;
use crate::source::{Action, ActionKind, ApplyOptions, ApplyPlan, SourceContext};

/// The plan of one component, or why there is none.
pub(super) type Planned<'a> = Result<Box<dyn ApplyPlan + 'a>>;

impl Session {
    /// Says what [`Session::apply`] would do with the components that `services` still has; all others are told as
    /// [`ActionKind::Manual`]. Changes nothing, takes no lock.
    pub fn plan_apply(
        &self,
        id: &BackupId,
        request: &ApplyRequest,
        services: Services<'_>,
        monitor: &dyn Monitor,
    ) -> Result<PlanReport> {
        let scratch = ScratchFolder::temporary(self)?;
        let candidates = Candidates::open(self, id, request, services, &scratch, monitor)?;
        let contexts = candidates.contexts();
        let plans = plan(&candidates, &contexts, request, monitor)?;
        Ok(show(&candidates, &plans))
    }
}

/// Compares every component with its living service. What cannot be reached costs that component alone.
pub(super) fn plan<'a>(
    candidates: &'a Candidates<'_>,
    contexts: &'a [SourceContext<'a>],
    request: &ApplyRequest,
    monitor: &dyn Monitor,
) -> Result<Vec<Planned<'a>>> {
    let options = &ApplyOptions { overwrite: request.overwrite };
    let mut plans = Vec::new();
    for (candidate, context) in candidates.inside.iter().zip(contexts) {
        monitor.check()?;
        let name = &candidate.config.name;
        monitor.stage(name, None, None);
        let planned = candidate.contents().and_then(|contents| candidate.source.plan_apply(contents, options, context));
        monitor.check()?;
        plans.push(planned.map_err(|e| e.within(format!("the component {name} cannot be planned"))));
    }
    Ok(plans)
}

/// The plan for people.
pub(super) fn show(candidates: &Candidates<'_>, plans: &[Planned<'_>]) -> PlanReport {
    let inside = candidates.inside.iter().zip(plans).map(|(candidate, plan)| {
        let Candidate { config, .. } = candidate;
        let (actions, error) = match plan {
            Ok(plan) => (plan.actions().to_vec(), None),
            Err(error) => (Vec::new(), Some(error.clone())),
        };
        let (name, kind) = (config.name.clone(), config.source.kind().to_owned());
        PlannedComponent { name, kind, actions, error, is_outside: false }
    });
    let outside = candidates.outside.iter().map(|Outside { name, kind, reason }| {
        let action = Action::new(ActionKind::Manual, format!("component {name}"), reason);
        PlannedComponent {
            name: name.clone(),
            kind: kind.clone(),
            actions: vec![action],
            error: None,
            is_outside: true,
        }
    });
    PlanReport { id: candidates.id.clone(), dry_run: true, components: inside.chain(outside).collect() }
}

impl Candidate<'_> {
    /// What the backup has of it.
    pub(super) fn contents(&self) -> Result<&dyn crate::source::Contents, Error> {
        self.contents.as_ref().map(|contents| contents as _).map_err(Clone::clone)
    }
}
