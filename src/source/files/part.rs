//! What a file has to do with a database of SQLite.

use crate::model::Timestamp;

/// The part of a file in a database of SQLite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A database that is in use: a log with something in it, or a journal, lies beside it.
    Database {
        /// When the content of the newest of the files beside it was changed.
        changed: Timestamp,
        /// Bytes of its log.
        log_bytes: u64,
    },
    /// A file that belongs to such a database in the same folder.
    Companion,
}

/// Whether a name may be that of a log or a journal.
pub(super) fn may_belong(name: &[u8]) -> bool {
    name.ends_with(b"-wal") || name.ends_with(b"-journal")
}
