//! A restore target: the folder under which the entries of one component are made, from many threads at once.
//!
//! Invariant: nothing outside the folder is ever created, changed or removed. Every call starts at one file descriptor,
//! goes down without following symbolic links, never writes into a file that it did not create itself, and changes
//! metadata only of inodes that have no other name (FORMAT.md §6).
//!
//! `root` opens it and finds folders, `metadata` gives entries their attributes, `extras` lists what no inventory
//! has, `remove` removes that, `pending` writes large files, `create` makes entries, `existing` compares with what is
//! there and corrects it.

mod create;
mod existing;
mod extras;
mod folders;
mod handle;
mod layout;
mod metadata;
mod pending;
mod remove;
mod root;
#[cfg(test)]
mod tests;

pub use existing::{Existing, FileState};
pub use pending::{PendingFile, is_part_name};
pub use root::{Destination, DestinationOptions};
