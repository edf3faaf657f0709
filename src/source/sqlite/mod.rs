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

pub use source::SqliteSource;
