//! The words of the format as types: parsed once, then carried. No I/O.

mod check;
mod digest;
mod entry;
mod fields;
mod id;
mod json;
mod limits;
mod line;
mod manifest;
mod name;
mod path;
mod problem;
mod recovery;
mod scan;
mod text;
mod time;

pub use digest::{Digest, Hasher};
pub use entry::{Chunk, Entry, EntryKind, Extent, Position, Xattr};
pub(crate) use fields::Fields;
pub use id::BackupId;
pub(crate) use json::pretty_json;
pub(crate) use limits::{DEVICE_LIMITS, MAX_TABLE_BYTES, MAX_TARGET_BYTES, MAX_XATTR_BYTES};
pub use limits::{MAX_FRAMES, MAX_OFFSET, MAX_PATH_BYTES, MAX_PAX_BYTES, MAX_REGIONS, MAX_SEQUENCE};
pub(crate) use line::line_path;
pub use manifest::{
    ArchiveRecord, BackupKind, ComponentRecord, FORMAT_NAME, FORMAT_VERSION, IndexRecord, Manifest, ProblemCount,
    RepositoryRecord, Sealing, TableRecord, archive_file_name, index_file_name,
};
pub use name::is_component_name;
pub use path::{EntryPath, escape as escape_path};
pub(crate) use path::{serialize_path, tree_order};
pub use problem::{Problem, ProblemKind};
pub use recovery::{Dependency, FailedComponent, RecoveryPoint, SourceRecord, Verdict};
pub(crate) use scan::Scan;
pub(crate) use text::double_backslashes;
pub use time::{Moment, Timestamp};
pub(crate) use time::{serialize_seconds, unix_seconds};
