//! What a manifest says of a backup as one recovery point: what sources counted, what failed, how far it belongs together.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::id::BackupId;
use super::json::not_null;
use super::limits::MAX_OFFSET;
use super::name::is_component_name;

/// Another backup that this one refers to, bound by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The backup.
    pub id: BackupId,
    /// SHA-256 of its `SHA256SUMS`.
    pub sums_sha256: Digest,
}

/// What a source knew of the whole when its capture ended. For people, and for whoever compares a living service with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Version of the service.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What was counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// What else it said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// Most counts and most facts of a source.
const MAX_FACTS: usize = 1000;
/// Longest name or text of a fact, in bytes.
const MAX_FACT_BYTES: usize = 4096;

impl SourceRecord {
    /// Whether readers take it.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let texts = self.counts.keys().chain(self.facts.keys()).chain(self.facts.values()).chain(&self.version);
        let within = |text: &String| text.len() <= MAX_FACT_BYTES;
        let counted = self.counts.values().all(|&count| count <= MAX_OFFSET);
        counted && self.counts.len() <= MAX_FACTS && self.facts.len() <= MAX_FACTS && texts.into_iter().all(within)
    }
}

/// A component that was to be captured and was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedComponent {
    /// Name.
    pub name: String,
    /// Kind of source.
    pub kind: String,
    /// Kind of error, a word of OUTPUT.md.
    pub reason: String,
    /// What happened, for people; at most 4 KiB.
    pub detail: String,
    /// The newest backup that holds it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub last_good: Option<Dependency>,
}

impl FailedComponent {
    /// Longest text of what happened, in bytes.
    pub const MAX_DETAIL_BYTES: usize = MAX_FACT_BYTES;

    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Self { name, kind, reason, detail, .. } = self;
        if !is_component_name(name) {
            return Err(format!("names a failed component {name:?}, which is not a valid name"));
        }
        if [kind, reason, detail].iter().any(|text| text.len() > MAX_FACT_BYTES) {
            return Err(format!("says too much of the failed component {name:?}"));
        }
        Ok(())
    }
}

/// How far the components of a backup belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// From the earliest begin of a capture to the latest end, in seconds.
    pub skew_seconds: u64,
    /// What that means.
    pub verdict: Verdict,
}

/// What a backup is good for as one recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was expected, captured within [`Verdict::MAX_SKEW_SECONDS`].
    Consistent,
    /// Everything that was expected, of moments that lie farther apart.
    Skewed,
    /// Something that was expected is missing, empty or shrunken.
    Partial,
    /// A word that only a newer program knows.
    #[serde(other)]
    Unknown,
}

impl Verdict {
    /// The largest skew of what still counts as one moment.
    pub const MAX_SKEW_SECONDS: u64 = 300;
}

/// The word in documents.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
