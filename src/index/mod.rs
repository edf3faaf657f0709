//! The index: the complete inventory of one component of one backup, in path order (FORMAT.md §7).
//!
//! It is cut into segments at boundaries that only depend on the paths, so an unchanged stretch of the tree gives the
//! same bytes as in the last backup and is referenced instead of written again. A restore needs this one index, and for
//! referenced segments the index files of earlier backups; it never replays deletions.

mod entries;
mod local;
mod loss;
mod order;
mod problem;
mod reader;
mod segment;
mod table;
mod writer;

pub use entries::Entries;
pub(crate) use local::{LastSegments, LocalWriter};
pub use local::{LocalIndex, LocalLines};
pub use loss::Loss;
pub use reader::{IndexFiles, Inventory};
pub use segment::Segment;
pub use writer::{IndexTotals, IndexWriter, Pushed};
