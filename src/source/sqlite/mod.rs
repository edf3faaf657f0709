//! SQLite databases: snapshots that are consistent while others write, and the kind that captures and puts them back.

mod apply;
mod capture;
mod facts;
mod find;
mod header;
mod hold;
mod in_use;
mod inventory;
mod locks;
mod snapshot;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_apply;

pub(crate) use header::{COMPANIONS, MAGIC, database_of, is_database};
pub(crate) use locks::holder;
pub(crate) use snapshot::{Snapshot, Wanted, start_of};
pub use source::SqliteSource;
