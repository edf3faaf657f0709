//! The manifest: a backup's signed table of contents in clear text (FORMAT.md §4). Holds no names of what is in the archives.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::id::BackupId;
use super::json::{check_twins, not_null, or_null};
use super::limits::{MAX_FRAMES, MAX_OFFSET, MAX_SEQUENCE, MAX_TABLE_BYTES};
use super::name::is_component_name;
use super::problem::{Problem, ProblemKind};
use super::recovery::{Dependency, FailedComponent, RecoveryPoint, SourceRecord, Verdict};
use super::time::Moment;
use crate::error::{Error, Kind, Result};

/// The `format` value of every manifest and repository file.
pub const FORMAT_NAME: &str = "ccbackup";
/// The newest format version this program reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 1;

/// `repository.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRecord {
    /// Always [`FORMAT_NAME`].
    pub format: String,
    /// Format version.
    pub version: u32,
    /// 32 hex digits, drawn at random when the repository is made.
    pub repository_id: String,
    /// RFC 3339, UTC.
    pub created_at: Moment,
}

/// Full or incremental.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// Holds every entry itself.
    Full,
    /// Holds what is new and refers to earlier backups for the rest.
    Incremental,
}

/// The word in documents.
impl fmt::Display for BackupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// How the archives and indexes of a backup are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cipher", rename_all = "kebab-case", try_from = "RawSealing")]
pub enum Sealing {
    /// age, to one or more recipients.
    Age {
        /// Public keys, `age1…` or `ssh-…`, sorted.
        recipients: Vec<String>,
    },
    /// AES-256-GCM in age's STREAM layout, with a raw key.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm {
        /// The key's public name, 16 hex digits (FORMAT.md §8).
        key_id: String,
    },
    /// Not encrypted.
    None,
}

/// Keys and values of any cipher; what belongs to another is refused, also without encryption.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSealing {
    cipher: String,
    #[serde(default, deserialize_with = "not_null")]
    recipients: Option<Vec<String>>,
    #[serde(default, deserialize_with = "not_null")]
    key_id: Option<String>,
}

impl TryFrom<RawSealing> for Sealing {
    type Error = &'static str;

    fn try_from(raw: RawSealing) -> std::result::Result<Self, Self::Error> {
        match (raw.cipher.as_str(), raw.recipients, raw.key_id) {
            ("age", Some(recipients), None) => {
                let sorted = !recipients.is_empty() && recipients.windows(2).all(|w| w[0] < w[1]);
                if sorted { Ok(Self::Age { recipients }) } else { Err("the recipients are none or not sorted") }
            }
            ("aes-256-gcm", None, Some(key_id)) if is_lower_hex(&key_id, 16) => Ok(Self::Aes256Gcm { key_id }),
            ("aes-256-gcm", None, Some(_)) => Err("that is no id of a key"),
            ("none", None, None) => Ok(Self::None),
            _ => Err("the cipher is unknown, or has not its own keys"),
        }
    }
}

fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Sealing {
    /// What follows `.tar.zst` or `.index.zst` in file names.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Age { .. } => ".age",
            Self::Aes256Gcm { .. } => ".aes",
            Self::None => "",
        }
    }

    /// Whether a key is needed to read.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        *self != Self::None
    }
}

/// One archive file of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRecord {
    /// File name in the backup's folder.
    pub name: String,
    /// Volume number, from 0.
    pub volume: u32,
    /// Stored bytes.
    pub size_bytes: u64,
    /// SHA-256 of the stored file.
    pub sha256: Digest,
    /// Length of the tar stream inside.
    pub tar_bytes: u64,
    /// Number of zstd frames, the seek table not counted.
    pub frames: u64,
}

/// The index file of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// File name in the backup's folder.
    pub name: String,
    /// Stored bytes.
    pub size_bytes: u64,
    /// SHA-256 of the stored file.
    pub sha256: Digest,
    /// Segments of the inventory, in this file and referenced.
    pub segments: u64,
    /// Those of them that this file holds.
    pub own_segments: u64,
    /// The segment table; earlier writers did not note it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRecord>,
}

/// Where the segment table lies in the stream of an index file, so that a damaged one can still be used in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its lines.
    pub sha256: Digest,
}

/// How many entries had a problem of one kind; the paths are in the sealed index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemCount {
    /// Which sort.
    pub kind: ProblemKind,
    /// How many.
    pub count: u64,
}

/// One component of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRecord {
    /// Name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// Kind of source, `files`.
    pub kind: String,
    /// RFC 3339, UTC, when the capture began.
    pub captured_from: Moment,
    /// RFC 3339, UTC, when the capture ended.
    pub captured_until: Moment,
    /// Entries in the inventory.
    pub entries: u64,
    /// Entries whose tar member this backup holds.
    pub new_entries: u64,
    /// Logical bytes of all files in the inventory.
    pub content_bytes: u64,
    /// Bytes read from the source by this backup.
    pub bytes_read: u64,
    /// Bytes stored by this backup: archives and index.
    pub bytes_stored: u64,
    /// Archive volumes in this backup, in order; none when nothing was new.
    pub archives: Vec<ArchiveRecord>,
    /// The index.
    pub index: IndexRecord,
    /// Problems met while capturing.
    pub problems: Vec<ProblemCount>,
    /// How much was left out by rule; absent when nothing was.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// What the source knew of the whole; absent for kinds that know nothing but their entries.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRecord>,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT_NAME`].
    pub format: String,
    /// Format version.
    pub version: u32,
    /// This backup; equals the folder's name.
    pub id: BackupId,
    /// Counts the backups of a repository from 1; decides which is newer.
    pub sequence: u64,
    /// RFC 3339, UTC.
    pub created_at: Moment,
    /// RFC 3339, UTC.
    pub finished_at: Moment,
    /// Full or incremental.
    pub kind: BackupKind,
    /// The backup before this one; it may have been pruned since.
    #[serde(deserialize_with = "or_null")]
    pub parent: Option<Dependency>,
    /// Every backup that a home, an extent or an index segment refers to; all must be there.
    pub depends_on: Vec<Dependency>,
    /// `repository_id` of the repository.
    pub repository_id: String,
    /// SHA-256 of `repository.json`.
    pub repository_sha256: Digest,
    /// Host name, for people.
    pub host: String,
    /// Fingerprint of the host's signer, to tell hosts apart.
    pub host_id: String,
    /// Name and version of the writer.
    pub tool: String,
    /// How archives and indexes are sealed.
    pub sealing: Sealing,
    /// Parameters of the content-defined chunks.
    pub chunking: String,
    /// Labels given by the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Components, in the order of their capture.
    pub components: Vec<ComponentRecord>,
    /// Components that were to be captured and were not; absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedComponent>,
    /// How far the components belong together; earlier writers did not note it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
}

impl Manifest {
    /// Reads and checks a manifest; `bytes` are untrusted.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = read(bytes, "manifest.json")?;
        let bad = |what: String| Error::damage(format!("manifest.json of {} {what}", manifest.id));
        let mut names = std::collections::BTreeSet::new();
        for component in &manifest.components {
            component.check(manifest.sealing.extension()).map_err(bad)?;
            if !names.insert(component.name.as_str()) {
                return Err(bad(format!("names the component {:?} twice", component.name)));
            }
        }
        for failed in &manifest.failed {
            failed.check().map_err(bad)?;
            if !names.insert(failed.name.as_str()) {
                return Err(bad(format!("names the component {:?} twice", failed.name)));
            }
        }
        if manifest.recovery_point.is_some_and(|point| point.skew_seconds > MAX_OFFSET) {
            return Err(bad("has an impossible skew".into()));
        }
        // Manifests are counted with before any signature is looked at.
        let mut stored = manifest.components.iter().map(|c| c.bytes_stored);
        let mut problems = manifest.components.iter().flat_map(|c| &c.problems).map(|p| p.count);
        let adds_up = |sum: u64, n| sum.checked_add(n).filter(|&sum| sum <= MAX_OFFSET);
        if stored.try_fold(0, adds_up).is_none() || problems.try_fold(0, adds_up).is_none() {
            return Err(bad("has impossible totals".into()));
        }
        if manifest.sequence == 0 || manifest.sequence > MAX_SEQUENCE {
            return Err(bad(format!("has the impossible number {}", manifest.sequence)));
        }
        if !is_lower_hex(&manifest.repository_id, 32) {
            return Err(bad("has a repository_id that is not 32 lower-case hex digits".into()));
        }
        manifest.check_dependencies().map_err(|what| bad(what.into()))?;
        Ok(manifest)
    }

    fn check_dependencies(&self) -> std::result::Result<(), &'static str> {
        if self.depends_on.windows(2).any(|w| w[0].id >= w[1].id) {
            return Err("has dependencies that are not sorted, or one of them twice");
        }
        if self.depends_on.iter().chain(&self.parent).any(|d| d.id == self.id) {
            return Err("depends on itself");
        }
        if self.kind == BackupKind::Full && !self.depends_on.is_empty() {
            return Err("is a full backup that depends on others");
        }
        Ok(())
    }

    /// The record of a component.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentRecord> {
        self.components.iter().find(|c| c.name == name)
    }

    /// Stored bytes of all components.
    #[must_use]
    pub fn bytes_stored(&self) -> u64 {
        // Lists show manifests that nobody has checked, with any numbers.
        self.components.iter().fold(0, |sum, c| sum.saturating_add(c.bytes_stored))
    }

    /// Number of problems met by the capture; a component that failed counts as one.
    #[must_use]
    pub fn problems(&self) -> u64 {
        let failed = self.failed.len() as u64;
        self.components.iter().map(ComponentRecord::problem_count).fold(failed, u64::saturating_add)
    }

    /// What to think of it as one recovery point: from its components, whatever it says of itself.
    #[must_use]
    pub fn judge(components: &[ComponentRecord], failed: &[FailedComponent]) -> RecoveryPoint {
        let begin = components.iter().map(|c| c.captured_from).min();
        let end = components.iter().map(|c| c.captured_until).max();
        let skew_seconds = begin.zip(end).map_or(0, |(begin, end)| end.distance(begin).as_secs());
        let verdict = if !failed.is_empty() || components.iter().any(ComponentRecord::is_unexpected) {
            Verdict::Partial
        } else if skew_seconds > Verdict::MAX_SKEW_SECONDS {
            Verdict::Skewed
        } else {
            Verdict::Consistent
        };
        RecoveryPoint { skew_seconds, verdict }
    }
}

impl ComponentRecord {
    /// What is wrong with it in a manifest whose files have this extension.
    fn check(&self, extension: &str) -> std::result::Result<(), String> {
        let Self { name, index, archives, .. } = self;
        if !is_component_name(name) {
            return Err(format!("names a component {name:?}, which is not a valid name"));
        }
        if index.name != index_file_name(name, extension) {
            return Err(format!("names an index file {:?} for {name:?}", index.name));
        }
        for (at, archive) in archives.iter().enumerate() {
            let expected = archive_file_name(name, archive.volume, extension);
            if u32::try_from(at) != Ok(archive.volume) || archive.name != expected {
                return Err(format!("names an archive {:?} as volume {at} of {name:?}", archive.name));
            }
            if archive.frames > MAX_FRAMES as u64 || archive.size_bytes.max(archive.tar_bytes) > MAX_OFFSET {
                return Err(format!("has impossible numbers of the archive {:?}", archive.name));
            }
        }
        let counts = [self.entries, self.new_entries, self.content_bytes, self.bytes_read, self.bytes_stored];
        let counts =
            counts.into_iter().chain([index.size_bytes, index.segments, index.own_segments]).chain(self.left_out);
        let table_fits = |t: &TableRecord| t.offset <= MAX_OFFSET && t.bytes <= MAX_TABLE_BYTES;
        if counts.max() > Some(MAX_OFFSET) || !index.table.as_ref().is_none_or(table_fits) {
            return Err(format!("has impossible numbers of the component {name:?}"));
        }
        if !self.source.as_ref().is_none_or(SourceRecord::is_within_limits) {
            return Err(format!("says too much of the source of {name:?}"));
        }
        let problems = &self.problems;
        if problems.iter().any(|p| p.count == 0) || problems.windows(2).any(|w| w[0].kind >= w[1].kind) {
            return Err(format!("has problems of {name:?} that are none, not sorted, or of one kind twice"));
        }
        Ok(())
    }

    /// Whether it is not what was expected of it.
    #[must_use]
    pub fn is_unexpected(&self) -> bool {
        self.problems.iter().any(|p| p.kind == ProblemKind::Unexpected)
    }

    /// Counts problems that were found when the capture had ended.
    pub fn add_problems(&mut self, problems: &[Problem]) {
        for problem in problems {
            match self.problems.binary_search_by(|known| known.kind.cmp(&problem.kind)) {
                Ok(at) => self.problems[at].count += 1,
                Err(at) => self.problems.insert(at, ProblemCount { kind: problem.kind.clone(), count: 1 }),
            }
        }
    }

    /// Number of problems met by the capture of this component.
    #[must_use]
    pub fn problem_count(&self) -> u64 {
        self.problems.iter().map(|p| p.count).fold(0, u64::saturating_add)
    }
}

impl RepositoryRecord {
    /// Reads and checks `repository.json`; `bytes` are untrusted.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let record: Self = read(bytes, "repository.json")?;
        if !is_lower_hex(&record.repository_id, 32) {
            return Err(Error::damage("repository.json has a repository_id that is not 32 lower-case hex digits"));
        }
        Ok(record)
    }
}

/// Reads an untrusted document. The version is looked at before the rest, so that a newer format gives its own error and
/// not a riddle.
fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes)
        .map_err(|e| Error::damage(format!("{what} does not say its format and version")).because(e))?;
    if head.format != FORMAT_NAME || head.version == 0 {
        return Err(Error::damage(format!("{what} is not of the format {FORMAT_NAME:?}")));
    }
    if head.version > FORMAT_VERSION {
        let version = head.version;
        let newer = format!("{what} has format version {version}, this program reads up to version {FORMAT_VERSION}");
        return Err(Error::new(Kind::NewerFormat, newer)
            .hint("use a newer ccbackup, or restore by hand as the backup's README.txt says"));
    }
    check_twins(bytes, what)?;
    serde_json::from_slice(bytes).map_err(|e| Error::damage(format!("{what} cannot be read")).because(e))
}

/// `configs.tar.zst.age`, `configs.1.tar.zst.age`, …
#[must_use]
pub fn archive_file_name(component: &str, volume: u32, extension: &str) -> String {
    if volume == 0 {
        format!("{component}.tar.zst{extension}")
    } else {
        format!("{component}.{volume}.tar.zst{extension}")
    }
}

/// `configs.index.zst.age`
#[must_use]
pub fn index_file_name(component: &str, extension: &str) -> String {
    format!("{component}.index.zst{extension}")
}

#[cfg(test)]
mod tests;
