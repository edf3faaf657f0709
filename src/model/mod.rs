//! The words of the format as types: parsed once, then carried. No I/O.

mod digest;
mod entry;
mod fields;
mod id;
mod line;
mod manifest;
mod path;
mod time;

pub use digest::{Digest, Hasher};
pub use entry::{Chunk, Entry, EntryKind, Extent, Home, Xattr};
pub(crate) use fields::Fields;
pub use id::BackupId;
pub(crate) use line::line_path;
pub use manifest::{
    ArchiveRecord, BackupKind, ComponentRecord, Dependency, FORMAT_NAME, FORMAT_VERSION, IndexRecord, MAX_SEQUENCE,
    Manifest, ProblemCount, RepositoryRecord, Sealing, archive_file_name, index_file_name, is_component_name,
};
pub(crate) use path::tree_order;
pub use path::{EntryPath, MAX_PATH_BYTES, escape_path};
pub use time::Timestamp;
