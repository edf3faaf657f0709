//! File trees: an ordered, parallel walk, and what a capture reads of each entry.
//!
//! Invariant: no path is ever resolved twice. Every file is reached through the open folder that listed it, links are
//! never followed, and a folder that was closed meanwhile is opened again only as the same device and inode. So there
//! is no limit on the length of a path, and nobody who moves folders or plants links can lead the walk elsewhere.
//! Open folders, finished listings and threads are bounded; memory does not grow with the number of files.
//! Paths and their order: FORMAT.md §6.

mod apply;
mod database;
mod descend;
pub mod destination;
mod exclude;
mod folder;
mod in_use;
mod left_out;
mod list;
mod listing;
mod names;
mod ordered_queue;
mod part;
mod read;
mod source;
mod sparse;
mod stat;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_read;

pub use exclude::Exclude;
pub use folder::problem_kind;
pub use left_out::LeftOut;
pub use names::Names;
pub use part::Part;
pub use source::FilesSource;
pub use sparse::{MAX_REGIONS, data_regions};
pub use stat::{FileKind, Stat};
pub use walk::{Found, Step, Walk, WalkOptions, root_name, walk};
