//! What a backup came to, as `create --json` shows it.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Hint;
use crate::model::{
    BackupId, BackupKind, FailedComponent, Manifest, Moment, Problem, RecoveryPoint, SourceRecord, serialize_seconds,
};
use crate::repo::state::FinishedComponent;

/// What one component came to, as `create --json` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// Name.
    pub name: String,
    /// Kind of source.
    pub kind: String,
    /// Entries in the inventory.
    pub entries: u64,
    /// Entries stored anew.
    pub new_entries: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes stored.
    pub bytes_stored: u64,
    /// When the capture began.
    pub captured_at: Moment,
    /// What rules left out; a folder counts once.
    pub left_out: u64,
    /// What the source knew of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRecord>,
    /// Problems with their paths.
    pub problems: Vec<Problem>,
}

/// Why a backup is full although there are earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FullBecause {
    /// The reason.
    pub why: String,
    /// What the reader can do; `cli` words it.
    #[serde(skip)]
    pub hint: Option<Hint>,
}

impl<T: Into<String>> From<T> for FullBecause {
    fn from(why: T) -> Self {
        Self { why: why.into(), hint: None }
    }
}

/// A finished backup, as `create --json` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct CreateReport {
    /// The backup.
    pub id: BackupId,
    /// Full or incremental.
    pub kind: BackupKind,
    /// The backup before it.
    pub parent: Option<BackupId>,
    /// Why it is a full backup although there are earlier ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_because: Option<FullBecause>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Components.
    pub components: Vec<ComponentReport>,
    /// Components that were not captured.
    pub failed: Vec<FailedComponent>,
    /// How far the components belong together.
    pub recovery_point: Option<RecoveryPoint>,
    /// Bytes stored.
    pub bytes_stored: u64,
    /// Wall time.
    #[serde(rename = "duration_seconds", serialize_with = "serialize_seconds")]
    pub duration: Duration,
    /// What rules left out of all components.
    pub left_out: u64,
    /// How many problems there were, listed or not.
    #[serde(skip)]
    pub problem_count: u64,
    /// All problems of all components.
    pub problems: Vec<Problem>,
}

pub(super) fn report(
    manifest: Manifest,
    finished: Vec<FinishedComponent>,
    full_because: Option<FullBecause>,
    begun: Instant,
) -> CreateReport {
    let problems = finished.iter().flat_map(|f| f.problems.clone()).collect();
    let problem_count = manifest.problems();
    let left_out = finished.iter().filter_map(|f| f.record.left_out).fold(0, u64::saturating_add);
    let components = finished.into_iter().map(|f| ComponentReport {
        name: f.record.name,
        kind: f.record.kind,
        entries: f.record.entries,
        new_entries: f.record.new_entries,
        bytes_read: f.record.bytes_read,
        bytes_stored: f.record.bytes_stored,
        captured_at: f.record.captured_from,
        left_out: f.record.left_out.unwrap_or(0),
        source: f.record.source,
        problems: f.problems,
    });
    CreateReport {
        bytes_stored: manifest.bytes_stored(),
        encrypted: manifest.sealing.is_encrypted(),
        components: components.collect(),
        failed: manifest.failed,
        recovery_point: manifest.recovery_point,
        id: manifest.id,
        kind: manifest.kind,
        parent: manifest.parent.map(|p| p.id),
        full_because,
        duration: begun.elapsed(),
        left_out,
        problem_count,
        problems,
    }
}
