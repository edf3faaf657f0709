//! One thing that is wrong, with what to do about it.

use serde::Serialize;

use crate::error::{Error, Kind};
use crate::index::Loss;
use crate::model::{BackupId, ComponentRecord, EntryPath};
use crate::repo::REPOSITORY_FILE;
use crate::repo::backup::MANIFEST_FILE;

/// Damage: what, where, and what next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `missing`, `changed`, `unexpected`, `unsigned`, `wrong-signer`, `manifest`, `chain`, `repository`, `content`, …
    pub kind: String,
    /// The backup, or empty for the repository itself.
    pub backup: String,
    /// The component, where one is concerned.
    pub component: Option<String>,
    /// File in the repository, or `component/path` of an entry.
    pub path: String,
    /// Expectation and fact.
    pub detail: String,
    /// What the reader can do.
    pub next: String,
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
        self.kind == Kind::NewerFormat.name()
    }

    /// About a file of a backup.
    pub(crate) fn of_file(id: &BackupId, component: Option<&str>, name: &str, kind: &str, detail: String) -> Self {
        let next = match component {
            Some(component) => format!(
                "bring {id}/{name} back from another copy of the repository; `ccbackup verify {id} --deep` then tells \
                 which files of {component} are concerned; the next `ccbackup create --full` does not depend on it"
            ),
            None => {
                format!("bring {id}/{name} back from another copy of the repository, or run `ccbackup create --full`")
            }
        };
        Self {
            kind: kind.into(),
            backup: id.to_string(),
            component: component.map(Into::into),
            path: format!("{id}/{name}"),
            detail,
            next,
        }
    }

    /// About a backup as a whole.
    pub(crate) fn of_backup(id: &BackupId, kind: &str, error: &Error) -> Self {
        let kind = match error.kind() {
            Kind::Unsigned => "unsigned",
            Kind::WrongSigner => "wrong-signer",
            Kind::NewerFormat => "newer-format",
            _ => kind,
        };
        let next = error.hint_text().unwrap_or(
            "do not restore from this backup unless you know why; bring its folder back from another copy, or use an \
             earlier backup",
        );
        Self {
            kind: kind.into(),
            backup: id.to_string(),
            component: None,
            path: id.to_string(),
            detail: error.one_line(),
            next: next.into(),
        }
    }

    /// About the repository's own files.
    pub(crate) fn of_repository(path: &str, detail: String, next: &str) -> Self {
        Self {
            kind: "repository".into(),
            backup: String::new(),
            component: None,
            path: path.into(),
            detail,
            next: next.into(),
        }
    }

    /// About a `repository.json` that cannot be read.
    pub(crate) fn of_record(fault: &str) -> Self {
        let next =
            "bring repository.json back from another copy of the repository; what is signed is restored without it";
        Self::of_repository(REPOSITORY_FILE, fault.into(), next)
    }

    /// About an index of which nothing can be used.
    pub(crate) fn index(id: &BackupId, component: &ComponentRecord, error: &Error) -> Self {
        let kind = if error.kind() == Kind::Unreadable { "unreadable" } else { "index" };
        let mut finding = Self::of_file(id, Some(&component.name), &component.index.name, kind, error.one_line());
        finding.next = format!(
            "bring {id}/{} back from another copy of the repository; the archives can still be unpacked by hand",
            component.index.name
        );
        finding
    }

    /// About what the manifest says of a component.
    pub(crate) fn of_component(id: &BackupId, component: &str, detail: String) -> Self {
        let mut finding = Self::of_file(id, Some(component), MANIFEST_FILE, "manifest", detail);
        finding.next = "whoever wrote it made a mistake or lied; what it lists can be restored".into();
        finding
    }

    /// About lines of an index.
    pub(crate) fn lines(id: &BackupId, component: &str, loss: &Loss) -> Self {
        Self {
            kind: "index".into(),
            backup: id.to_string(),
            component: Some(component.into()),
            path: format!("{component}/{}", loss.path),
            detail: loss.detail.clone(),
            next:
                "`ccbackup find` shows earlier versions of what was there; the archives can still be unpacked by hand"
                    .into(),
        }
    }

    /// About the content of an entry.
    pub(crate) fn content(id: &BackupId, component: &str, path: &EntryPath, error: &Error) -> Self {
        Self {
            kind: if error.kind() == Kind::Unreadable { "unreadable" } else { "content" }.into(),
            backup: id.to_string(),
            component: Some(component.into()),
            path: format!("{component}/{path}"),
            detail: error.one_line(),
            next: format!("`ccbackup find` shows earlier versions of this file; {id} cannot give it back"),
        }
    }
}
