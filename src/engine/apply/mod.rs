//! Back into the living services: plan, show, apply, check, undo.
//!
//! Components are applied one after the other, those that others need first. What a component replaces is noted in a run
//! that outlives the process, so that it can be put back; success is said only of what was compared afterwards.

mod candidates;
mod check;
mod contents;
mod order;
mod plan;
mod record;
mod report;
mod request;
mod run;
mod scratch;
mod undo;

pub use contents::ComponentContents;
pub use record::{RunComponent, RunId, RunRecord, RunStatus};
pub use report::{
    AppliedComponent, ApplyReport, CheckReport, CheckedComponent, PlanReport, PlannedComponent, UndoReport,
};
pub use request::{ApplyRequest, Services};
