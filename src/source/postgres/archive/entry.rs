//! One entry of the table of contents, field by field as it comes.

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Longest name that is kept, in bytes: those of functions list all their arguments.
const MAX_NAME_BYTES: u64 = 1 << 20;
/// Longest statement that is kept, in bytes.
const MAX_STATEMENT_BYTES: u64 = 16 << 20;

/// Fields in their order in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Id,
    HasData,
    TableOid,
    Oid,
    Tag,
    Kind,
    Section,
    Definition,
    Drop,
    Copy,
    Namespace,
    Tablespace,
    AccessMethod,
    RelationKind,
    Owner,
    WithOids,
    Dependency,
}

impl Field {
    /// What comes next; none behind the dependencies, which end by themselves.
    pub(super) fn next(self, minor: u8) -> Self {
        match self {
            Self::Id => Self::HasData,
            Self::HasData => Self::TableOid,
            Self::TableOid => Self::Oid,
            Self::Oid => Self::Tag,
            Self::Tag => Self::Kind,
            Self::Kind => Self::Section,
            Self::Section => Self::Definition,
            Self::Definition => Self::Drop,
            Self::Drop => Self::Copy,
            Self::Copy => Self::Namespace,
            Self::Namespace => Self::Tablespace,
            Self::Tablespace => Self::AccessMethod,
            Self::AccessMethod if minor >= 16 => Self::RelationKind,
            Self::AccessMethod | Self::RelationKind => Self::Owner,
            Self::Owner => Self::WithOids,
            Self::WithOids | Self::Dependency => Self::Dependency,
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Id | Self::HasData | Self::Section | Self::RelationKind)
    }
}

/// An entry, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) has_data: bool,
    pub(super) tag: String,
    pub(super) kind: String,
    pub(super) definition: Vec<u8>,
    pub(super) namespace: String,
    pub(super) tablespace: String,
    pub(super) owner: String,
    hasher: Sha256,
}

impl Entry {
    /// How many bytes of this text must be kept; none where its digest will do.
    pub(super) fn keep(&self, field: Field, bytes: u64) -> Result<bool> {
        let most = match field {
            Field::Tag | Field::Kind | Field::Namespace | Field::Tablespace | Field::Owner => MAX_NAME_BYTES,
            Field::Definition if self.definition_counts() => MAX_STATEMENT_BYTES,
            _ => return Ok(false),
        };
        if bytes > most {
            return Err(Error::damage(format!("a name or statement of {bytes} bytes, at most {most} are expected")));
        }
        Ok(true)
    }

    fn definition_counts(&self) -> bool {
        self.kind == "SEQUENCE SET" || self.is_of_subscription() || self.is_of_database()
    }

    /// Whether it says something of the database as a whole, by its name.
    pub(super) fn is_of_database(&self) -> bool {
        match self.kind.as_str() {
            "DATABASE" | "DATABASE PROPERTIES" => true,
            "ACL" | "COMMENT" | "SECURITY LABEL" => self.tag.starts_with("DATABASE "),
            _ => false,
        }
    }

    pub(super) fn is_of_subscription(&self) -> bool {
        is_of_subscription(&self.kind, &self.tag)
    }

    pub(super) fn is_of_large_objects(&self) -> bool {
        match self.kind.as_str() {
            "BLOB" | "BLOBS" | "BLOB METADATA" => true,
            "ACL" | "COMMENT" | "SECURITY LABEL" => self.tag.starts_with("LARGE OBJECT"),
            _ => false,
        }
    }

    pub(super) fn number(&mut self, field: Field, number: i64) {
        match field {
            Field::Id => self.id = number,
            Field::HasData => self.has_data = number != 0,
            _ => {}
        }
    }

    /// Bytes of a text that counts for the digest: all that does not change with ids, but for the place on the disk.
    pub(super) fn hash(&mut self, field: Field, bytes: &[u8]) {
        if matches!(field, Field::Definition | Field::Copy | Field::AccessMethod | Field::Owner | Field::Namespace) {
            self.hasher.update(bytes);
        }
    }

    /// A text begins; its length is hashed, so that no two rows of texts look alike.
    pub(super) fn text_begins(&mut self, field: Field, length: Option<u64>) {
        self.hash(field, &length.map_or(u64::MAX, |n| n).to_le_bytes());
    }

    pub(super) fn text(&mut self, field: Field, bytes: Vec<u8>) {
        match field {
            Field::Tag => self.tag = text_of(&bytes),
            Field::Kind => self.kind = text_of(&bytes),
            Field::Namespace => self.namespace = text_of(&bytes),
            Field::Tablespace => self.tablespace = text_of(&bytes),
            Field::Owner => self.owner = text_of(&bytes),
            Field::Definition => self.definition = bytes,
            _ => {}
        }
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }
}

/// Whether it is a subscription or says something of one.
pub(super) fn is_of_subscription(kind: &str, tag: &str) -> bool {
    match kind {
        "SUBSCRIPTION" => true,
        "COMMENT" | "SECURITY LABEL" => tag.starts_with("SUBSCRIPTION "),
        _ => false,
    }
}

/// UTF-8 as it is; other bytes as `\xNN`, so that no two names become one.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for piece in bytes.utf8_chunks() {
        text.push_str(piece.valid());
        piece.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}
