//! What an apply would do, did, and found, as `--json` shows it.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::record::{RunId, RunStatus};
use crate::error::{Error, Hint, Kind};
use crate::model::{BackupId, serialize_seconds};
use crate::source::{Action, ActionKind, Checked, Difference};

/// What an apply would do.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    /// The backup.
    pub id: BackupId,
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// Components, in the order in which they are applied; then those that a person has to apply.
    pub components: Vec<PlannedComponent>,
}

/// What an apply would do with one component.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedComponent {
    /// Its name.
    pub name: String,
    /// Its kind in the backup.
    pub kind: String,
    /// What would be done, in that order.
    pub actions: Vec<Action>,
    /// Why it could not be compared with the living service.
    #[serde(serialize_with = "as_document")]
    pub error: Option<Error>,
    /// The configuration cannot apply it.
    #[serde(skip)]
    pub(super) is_outside: bool,
}

impl PlannedComponent {
    /// Whether the configuration cannot apply it.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.is_outside
    }

    fn count(&self, kinds: &[ActionKind]) -> usize {
        self.actions.iter().filter(|action| kinds.contains(&action.kind)).count()
    }

    /// Whether an apply would do anything with it.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.count(&[ActionKind::Create, ActionKind::Replace]) > 0
    }
}

impl PlanReport {
    fn count(&self, kinds: &[ActionKind]) -> usize {
        self.components.iter().map(|component| component.count(kinds)).sum()
    }

    /// Objects that are there, differ, and must not be replaced.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.count(&[ActionKind::Conflict])
    }

    /// That what is there must not be replaced, if so.
    #[must_use]
    pub fn conflict(&self) -> Option<Error> {
        let count = self.conflicts();
        let are = if count == 1 { "object is there and differs" } else { "objects are there and differ" };
        let message = format!("{count} {are} from backup {}; nothing was touched", self.id);
        (count > 0).then(|| Error::new(Kind::WouldOverwrite, message).hint(Hint::OverwriteLiving))
    }

    /// Objects that would be made or replaced.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.count(&[ActionKind::Create, ActionKind::Replace])
    }

    /// Objects that would be replaced.
    #[must_use]
    pub fn replacements(&self) -> usize {
        self.count(&[ActionKind::Replace])
    }

    /// Objects that a person has to apply.
    #[must_use]
    pub fn manual(&self) -> usize {
        self.count(&[ActionKind::Manual])
    }

    /// The worst of what kept components from being planned.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        worst(self.components.iter().filter_map(|component| component.error.as_ref()))
    }
}

/// What an apply did.
#[derive(Clone, Debug, Serialize)]
pub struct ApplyReport {
    /// The backup.
    pub id: BackupId,
    /// The run that can be undone; none when nothing was touched.
    pub run: Option<RunId>,
    /// Components, in the order of the plan.
    pub components: Vec<AppliedComponent>,
    /// Wall time.
    #[serde(rename = "duration_seconds", serialize_with = "serialize_seconds")]
    pub duration: Duration,
}

/// What an apply did with one component.
#[derive(Clone, Debug, Serialize)]
pub struct AppliedComponent {
    /// Its name.
    pub name: String,
    /// Its kind in the backup.
    pub kind: String,
    /// How far it came.
    pub status: RunStatus,
    /// What was planned.
    pub actions: Vec<Action>,
    /// Objects and counts that were compared afterwards.
    pub compared: u64,
    /// Where the living service is not as the backup.
    pub differences: Vec<Difference>,
    /// Why it failed, or was left alone.
    #[serde(serialize_with = "as_document")]
    pub error: Option<Error>,
}

impl ApplyReport {
    /// Whether every component was applied as a whole, and everything is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let manual = |action: &Action| action.kind == ActionKind::Manual;
        self.components.iter().all(|c| c.status == RunStatus::Checked && !c.actions.iter().any(manual))
    }

    /// The worst of what failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        worst(self.components.iter().filter_map(|component| component.error.as_ref()))
    }
}

/// How living services compare with a backup.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The backup.
    pub id: BackupId,
    /// Whether every component was compared and no difference found.
    pub equal: bool,
    /// Components, in the order of the backup.
    pub components: Vec<CheckedComponent>,
    /// Wall time.
    #[serde(rename = "duration_seconds", serialize_with = "serialize_seconds")]
    pub duration: Duration,
}

/// How one living component compares with a backup.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedComponent {
    /// Its name.
    pub name: String,
    /// Its kind in the backup.
    pub kind: String,
    /// Objects and counts that were compared.
    pub compared: u64,
    /// Where the living service is not as the backup.
    pub differences: Vec<Difference>,
    /// Why nothing can be compared here, when a person has to do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,
    /// Why it could not be compared.
    #[serde(serialize_with = "as_document")]
    pub error: Option<Error>,
}

impl CheckedComponent {
    pub(super) fn new(name: &str, kind: &str, found: Result<Checked, Error>) -> Self {
        let (checked, error) = match found {
            Ok(checked) => (checked, None),
            Err(error) => (Checked::default(), Some(error)),
        };
        let Checked { compared, differences } = checked;
        Self { name: name.to_owned(), kind: kind.to_owned(), compared, differences, manual: None, error }
    }

    pub(super) fn is_equal(&self) -> bool {
        self.error.is_none() && self.manual.is_none() && self.differences.is_empty()
    }
}

impl CheckReport {
    /// The worst of what kept components from being compared.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        worst(self.components.iter().filter_map(|component| component.error.as_ref()))
    }
}

/// What an undo, or a confirmation, did.
#[derive(Clone, Debug, Serialize)]
pub struct UndoReport {
    /// The run.
    pub run: RunId,
    /// The backup that it had applied.
    pub backup: BackupId,
    /// Components, in the order in which they were treated.
    pub components: Vec<UndoneComponent>,
}

/// What an undo, or a confirmation, did with one component.
#[derive(Clone, Debug, Serialize)]
pub struct UndoneComponent {
    /// Its name.
    pub name: String,
    /// How it is now.
    pub status: RunStatus,
    /// Why it failed; it can be tried again.
    #[serde(serialize_with = "as_document")]
    pub error: Option<Error>,
}

impl UndoReport {
    /// The worst of what failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        worst(self.components.iter().filter_map(|component| component.error.as_ref()))
    }
}

/// Damage first: an exit code can tell only one.
fn worst<'a>(errors: impl Iterator<Item = &'a Error> + Clone) -> Option<&'a Error> {
    let severe = |error: &&Error| error.is_damage() || matches!(error.kind(), Kind::Interrupted(_));
    errors.clone().find(severe).or_else(|| errors.clone().next())
}

fn as_document<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Document {
        kind: &'static str,
        message: String,
    }
    error.as_ref().map(|e| Document { kind: e.kind().name(), message: e.one_line() }).serialize(serializer)
}
