//! The documents of `--json` (docs/OUTPUT.md). Names and types are a contract; fields are added, never changed.

use serde::Serialize;

use crate::model::{BackupId, BackupKind};

/// `create --json`
#[derive(Clone, Debug, Serialize)]
pub struct CreateOutput {
    /// The new backup.
    pub id: BackupId,
    /// Full or incremental.
    pub kind: BackupKind,
    /// The backup before this one.
    pub parent: Option<BackupId>,
    /// Components in the order of their capture.
    pub components: Vec<CreatedComponent>,
    /// Bytes of all archives and indexes.
    pub bytes_stored: u64,
    /// Wall-clock time of the run.
    pub duration_seconds: f64,
    /// Problems of all components and of the backup as a whole. Not empty means exit code 3.
    pub problems: Vec<ProblemOutput>,
}

/// A component of [`CreateOutput`].
#[derive(Clone, Debug, Serialize)]
pub struct CreatedComponent {
    /// Name.
    pub name: String,
    /// Kind of source, `files`.
    pub kind: String,
    /// Entries of the inventory.
    pub entries: u64,
    /// Entries that this backup holds itself.
    pub new_entries: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes of archives and index.
    pub bytes_stored: u64,
    /// RFC 3339, UTC, when the capture began.
    pub captured_at: String,
    /// Problems of this component.
    pub problems: Vec<ProblemOutput>,
}

/// Something that was not captured as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemOutput {
    /// `unreadable`, `vanished`, `changed`, `unsupported`, …
    pub kind: String,
    /// Component; none for the backup as a whole.
    pub component: Option<String>,
    /// Path inside the component, C-escaped.
    pub path: Option<String>,
    /// For people.
    pub detail: String,
}

/// An element of `list --json`, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct ListEntry {
    /// The backup.
    pub id: BackupId,
    /// Full or incremental.
    pub kind: BackupKind,
    /// The backup before it; it may be gone.
    pub parent: Option<BackupId>,
    /// Whether a key is needed to read it.
    pub encrypted: bool,
    /// Names of its components.
    pub components: Vec<String>,
    /// Bytes of all archives and indexes.
    pub bytes_stored: u64,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC, when this host verified it last.
    pub verified_at: Option<String>,
}

/// How deep a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Signatures, digests and the chain.
    Keyless,
    /// Every file was decrypted and hashed.
    Deep,
}

/// `verify --json`
#[derive(Clone, Debug, Serialize)]
pub struct VerifyOutput {
    /// The backup; none for `--all`.
    pub id: Option<BackupId>,
    /// Nothing was found.
    pub ok: bool,
    /// How deep the check went.
    pub depth: Depth,
    /// Archive files that were checked.
    pub archives: u64,
    /// Stored bytes that were checked.
    pub bytes: u64,
    /// Entries that were checked; 0 without a key.
    pub entries: u64,
    /// What is wrong. Not empty means exit code 4.
    pub findings: Vec<FindingOutput>,
}

/// A finding of [`VerifyOutput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingOutput {
    /// `missing`, `changed`, `unsigned`, `wrong-signer`, …
    pub kind: String,
    /// The backup it lies in.
    pub backup: Option<String>,
    /// Component, if it belongs to one.
    pub component: Option<String>,
    /// File of the backup, or path inside the component, C-escaped.
    pub path: Option<String>,
    /// For people.
    pub detail: String,
    /// What to do next.
    pub next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(document: &impl Serialize) -> Vec<String> {
        let value = serde_json::to_value(document).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_documents_have_the_promised_keys_in_order() {
        let id: BackupId = "20260117-143000".parse().unwrap();
        let component = CreatedComponent {
            name: "configs".into(),
            kind: "files".into(),
            entries: 2,
            new_entries: 1,
            bytes_read: 3,
            bytes_stored: 4,
            captured_at: "2026-01-17T14:30:00Z".into(),
            problems: vec![],
        };
        let expected =
            ["name", "kind", "entries", "new_entries", "bytes_read", "bytes_stored", "captured_at", "problems"];
        assert_eq!(keys(&component), expected);
        let create = CreateOutput {
            id: id.clone(),
            kind: BackupKind::Full,
            parent: None,
            components: vec![component],
            bytes_stored: 4,
            duration_seconds: 0.5,
            problems: vec![],
        };
        let expected = ["id", "kind", "parent", "components", "bytes_stored", "duration_seconds", "problems"];
        assert_eq!(keys(&create), expected);
        let text = serde_json::to_string(&create).unwrap();
        assert!(text.starts_with(r#"{"id":"20260117-143000","kind":"full","parent":null,"#), "{text}");
        let list = ListEntry {
            id: id.clone(),
            kind: BackupKind::Incremental,
            parent: Some(id.clone()),
            encrypted: true,
            components: vec!["configs".into()],
            bytes_stored: 4,
            created_at: String::new(),
            verified_at: None,
        };
        let expected = ["id", "kind", "parent", "encrypted", "components", "bytes_stored", "created_at", "verified_at"];
        assert_eq!(keys(&list), expected);
        let finding = FindingOutput {
            kind: "missing".into(),
            backup: Some(id.to_string()),
            component: None,
            path: None,
            detail: String::new(),
            next: String::new(),
        };
        assert_eq!(keys(&finding), ["kind", "backup", "component", "path", "detail", "next"]);
        let verify = VerifyOutput {
            id: Some(id),
            ok: false,
            depth: Depth::Keyless,
            archives: 1,
            bytes: 2,
            entries: 0,
            findings: vec![finding],
        };
        assert_eq!(keys(&verify), ["id", "ok", "depth", "archives", "bytes", "entries", "findings"]);
        assert!(serde_json::to_string(&verify).unwrap().contains(r#""depth":"keyless""#));
    }
}
