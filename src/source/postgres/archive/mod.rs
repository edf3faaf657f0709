//! The custom format of `pg_dump -Fc -Z0` (archive versions 1.14 to 1.16), read while it streams.
//!
//! The format has neither an end mark nor a checksum, and `pg_restore -l` takes an archive that was cut behind its table
//! of contents. Here an archive is whole only if it ends exactly at a block border and every entry of its table of
//! contents that has data had its block. Memory does not grow with rows or large objects.

mod entry;
mod parser;
mod reader;
mod rows;
mod search_path;
mod summary;
#[cfg(test)]
mod tests;

pub(super) use reader::{ArchiveReader, SharedSummary, read_archive};
pub(super) use search_path::SearchPath;
#[cfg(test)]
pub(super) use summary::ObjectName;
pub(super) use summary::{DatabaseSql, Summary};
