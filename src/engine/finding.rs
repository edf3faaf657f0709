//! One thing that is wrong, with what to do about it.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Hint, Kind};
use crate::index::Loss;
use crate::model::{BackupId, ComponentRecord, EntryPath};
use crate::repo::REPOSITORY_FILE;
use crate::repo::backup::MANIFEST_FILE;

/// Damage: what, where, and what next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which sort.
    pub kind: FindingKind,
    /// The backup, or empty for the repository itself.
    pub backup: String,
    /// The component, where one is affected.
    pub component: Option<String>,
    /// File in the repository, or `component/path` of an entry.
    pub path: String,
    /// Expectation and fact.
    pub detail: String,
    /// What the reader can do; `cli` words it and adds it to documents.
    #[serde(skip)]
    pub next: Hint,
}

/// Sorts of damage (OUTPUT.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A file or a backup is gone.
    Missing,
    /// A file is not the one that was signed.
    Changed,
    /// A file lies in a backup that does not list it.
    Unexpected,
    /// The system cannot read a file.
    Unreadable,
    /// No signature, or nobody is known who could be trusted.
    Unsigned,
    /// Somebody who is not trusted signed.
    WrongSigner,
    /// A newer program is needed.
    NewerFormat,
    /// A manifest cannot be used or contradicts what it is about.
    Manifest,
    /// A backup that is needed is not the one that was meant.
    Chain,
    /// The backup before is not the one that was meant; nothing needs it.
    Parent,
    /// An index, or lines of it, cannot be used.
    Index,
    /// Content, or an archive, cannot be used.
    Content,
    /// The repository's own files.
    Repository,
}

/// The word in documents.
impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Something beside the backups that is worth a look and no damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// File or folder in the repository.
    pub path: String,
    /// What is odd about it.
    pub detail: String,
}

impl Finding {
    /// Whether it says only that a newer program is needed.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.kind == FindingKind::NewerFormat
    }

    /// About a file of a backup.
    pub(crate) fn of_file(
        id: &BackupId,
        component: Option<&str>,
        name: &str,
        kind: FindingKind,
        detail: String,
    ) -> Self {
        let (backup, file) = (id.to_string(), format!("{id}/{name}"));
        let next = match component.map(Into::into) {
            Some(component) => Hint::BringBackPart { backup: backup.clone(), file: file.clone(), component },
            None => Hint::BringBack { file: file.clone() },
        };
        Self { kind, backup, component: component.map(Into::into), path: file, detail, next }
    }

    /// About a backup as a whole.
    pub(crate) fn of_backup(id: &BackupId, kind: FindingKind, error: &Error) -> Self {
        let kind = match error.kind() {
            Kind::Unsigned => FindingKind::Unsigned,
            Kind::WrongSigner => FindingKind::WrongSigner,
            Kind::NewerFormat => FindingKind::NewerFormat,
            _ => kind,
        };
        let careful = "do not restore from this backup unless you know why; bring its folder back from another copy, \
                       or use an earlier backup";
        let next = error.advice().cloned().unwrap_or_else(|| careful.into());
        Self { kind, backup: id.to_string(), component: None, path: id.to_string(), detail: error.one_line(), next }
    }

    /// About the repository's own files.
    pub(crate) fn of_repository(path: &str, detail: String, next: &str) -> Self {
        let (kind, backup) = (FindingKind::Repository, String::new());
        Self { kind, backup, component: None, path: path.into(), detail, next: next.into() }
    }

    /// About a `repository.json` that cannot be read.
    pub(crate) fn of_record(fault: &str) -> Self {
        let next =
            "bring repository.json back from another copy of the repository; what is signed is restored without it";
        Self::of_repository(REPOSITORY_FILE, fault.into(), next)
    }

    /// About an index of which nothing can be used.
    pub(crate) fn index(id: &BackupId, component: &ComponentRecord, error: &Error) -> Self {
        let kind = if error.kind() == Kind::Unreadable { FindingKind::Unreadable } else { FindingKind::Index };
        let mut finding = Self::of_file(id, Some(&component.name), &component.index.name, kind, error.one_line());
        let back = format!("bring {} back from another copy of the repository", finding.path);
        finding.next = format!("{back}; the archives can still be unpacked by hand").into();
        finding
    }

    /// About what the manifest says of a component.
    pub(crate) fn of_component(id: &BackupId, component: &str, detail: String) -> Self {
        let mut finding = Self::of_file(id, Some(component), MANIFEST_FILE, FindingKind::Manifest, detail);
        finding.next = "whoever wrote it made a mistake or lied; what it lists can be restored".into();
        finding
    }

    /// About lines of an index.
    pub(crate) fn lines(id: &BackupId, component: &str, loss: &Loss) -> Self {
        let what = "what was there; the archives can still be unpacked by hand".into();
        Self::of_entry(id, component, &loss.path, FindingKind::Index, loss.detail.clone(), what)
    }

    /// About the content of an entry.
    pub(crate) fn content(id: &BackupId, component: &str, path: &EntryPath, error: &Error) -> Self {
        let kind = if error.kind() == Kind::Unreadable { FindingKind::Unreadable } else { FindingKind::Content };
        Self::of_entry(id, component, path, kind, error.one_line(), format!("this file; {id} cannot give it back"))
    }

    /// About an entry, of which `what` may be found in earlier backups.
    fn of_entry(
        id: &BackupId,
        component: &str,
        path: &dyn fmt::Display,
        kind: FindingKind,
        detail: String,
        what: String,
    ) -> Self {
        let (backup, path, next) = (id.to_string(), format!("{component}/{path}"), Hint::FindEarlier { what });
        Self { kind, backup, component: Some(component.into()), path, detail, next }
    }
}
