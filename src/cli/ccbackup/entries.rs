//! Entries and damage as several verbs show them.

use serde::Serialize;

use crate::cli::{Context, DAMAGE_FOUND, worded};
use crate::engine::query::Change;
use crate::engine::verify::Finding;
use crate::model::{Digest, Entry, EntryKind};

/// An entry as `--json` shows it.
#[derive(PartialEq, Serialize)]
pub(super) struct ShownEntry {
    pub(super) component: String,
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) size: u64,
    pub(super) mode: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<Change>,
}

impl ShownEntry {
    pub(super) fn new(component: &str, entry: &Entry, change: Option<Change>) -> Self {
        Self {
            component: component.into(),
            path: entry.path.escaped().into_owned(),
            kind: entry.kind.name(),
            size: entry.size(),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.to_string(),
            sha256: if let EntryKind::File { sha256, .. } = entry.kind { Some(sha256) } else { None },
            change,
        }
    }
}

/// Says what could not be looked at; gives the exit code.
pub(super) fn damage_of(context: &Context, findings: &[Finding]) -> u8 {
    for finding in findings {
        context.terminal.warn(&format!("{}: {}\n{}", finding.path, finding.detail, worded(&finding.next)));
    }
    if findings.is_empty() { 0 } else { DAMAGE_FOUND }
}
