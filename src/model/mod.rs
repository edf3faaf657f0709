//! The words of the format as types: parsed once, then carried. No I/O.

mod digest;
mod entry;
mod id;
mod manifest;
mod path;

pub use digest::{Digest, Hasher};
pub use entry::{Chunk, Entry, EntryKind, Extent, Home, Timestamp, Xattr};
pub use id::BackupId;
pub use manifest::{
    ArchiveRecord, BackupKind, ComponentRecord, Dependency, FORMAT_NAME, FORMAT_VERSION, IndexRecord, Manifest,
    ProblemCount, RepositoryRecord, Sealing, archive_file_name, index_file_name, is_component_name,
};
pub use path::{EntryPath, MAX_PATH_BYTES, escape_path};
