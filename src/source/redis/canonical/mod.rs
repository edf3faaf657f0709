//! The same bytes for the same data: an RDB whose records are sorted, and whose volatile fields are set apart.
//!
//! A server writes keys in the order of a hash table with a new seed in every process, and its clock, its memory and its
//! position in the replication into the head: two captures of the same data have nothing in common once it was restarted.
//! What [`Gathered`] gives is an RDB all the same, for any server and any tool that reads them: records by database and key (so
//! that what lies near in the name lies near in the file), members sorted, strings not compressed (a chunk's compression does
//! that better), libraries of functions sorted, a fresh checksum at the end.
//!
//! Memory is bounded: 32 MiB of records, 16 MiB of one table's members, then a scratch file that holds no clear text.

mod gather;
mod sealed;
mod sort;
mod stream;

#[cfg(test)]
mod tests;

pub(super) use gather::Gathered;
pub(super) use sort::{MEMORY, Record, Sorted, ValueReader};
pub(super) use stream::CanonicalRdb;
