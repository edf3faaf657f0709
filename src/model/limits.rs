//! The largest numbers of the format (FORMAT.md §12): what is written keeps below them, what is read is refused above them.

/// No offset or size of the format is larger: 2^60 bytes.
pub const MAX_OFFSET: u64 = 1 << 60;
/// Longest path of an entry, in bytes.
pub const MAX_PATH_BYTES: usize = 32 * 1024;
/// Most data regions of a sparse file.
pub const MAX_REGIONS: usize = 1_000_000;
/// Most bytes of pax records of one member.
pub const MAX_PAX_BYTES: usize = 8 << 20;
/// Most frames of a file: the limit of zstd's seekable format.
pub const MAX_FRAMES: usize = 0x0800_0000;
/// The largest number that a backup may carry.
pub const MAX_SEQUENCE: u64 = MAX_OFFSET;
/// Longest value of an extended attribute, in bytes.
pub(crate) const MAX_XATTR_BYTES: usize = 1 << 20;
/// Longest text of a symbolic link, in bytes.
pub(crate) const MAX_TARGET_BYTES: usize = 4096;
/// Longest segment table of an index, in bytes: a million segments of ordinary paths.
pub(crate) const MAX_TABLE_BYTES: u64 = 512 << 20;
/// Device numbers, major and minor, lie below these: no Linux knows others.
pub(crate) const DEVICE_LIMITS: (u32, u32) = (1 << 12, 1 << 20);
