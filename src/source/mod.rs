//! Sources: what captures a component, puts it back, and proves that it is there. One seam for every kind.
//!
//! ```text
//! config ─► open ─► Source ── capture ──► Captured::{Tree, Objects} ─► engine: archive, index, manifest
//!                      ▲
//!                      └── plan_apply, check ◄── Contents: one component of one backup, verified while it is read
//! ```
//!
//! A kind is one implementation of [`Source`] and one variant of [`SourceConfig`](crate::config::SourceConfig); nothing in the engine knows any of them
//! (docs/SOURCES.md). Sources never see a repository or an archive.

mod apply;
mod capture;
pub mod chromem;
pub mod command;
mod contents;
pub mod contextcore;
pub mod files;
mod made;
mod open;
pub mod postgres;
pub mod redis;
mod seam;
mod settled;
pub mod sqlite;
#[cfg(test)]
mod tests_archive;

pub use apply::{Action, ActionKind, ApplyOptions, ApplyPlan, Checked, Difference, UndoLog, UndoStep};
pub(crate) use apply::{path_in_step, path_of_step};
pub use capture::{Body, Captured, Counts, Facts, Object, Objects, Tree};
pub use contents::Contents;
pub use open::open;
pub use seam::{Probe, Source, SourceContext};
