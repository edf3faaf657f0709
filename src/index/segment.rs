//! Segments: where the index is cut, and how a cut piece is named (FORMAT.md §7).

use std::io::Write as _;

use crate::error::{Error, Result};
use crate::model::{BackupId, Digest, EntryPath, MAX_OFFSET, Scan};

/// A segment ends after an entry whose path's hash has these bits clear, once it holds [`MIN_ENTRIES`] …
const BOUNDARY_MASK: u64 = 127;
const MIN_ENTRIES: u64 = 64;
/// … or in any case after this many entries …
const MAX_ENTRIES: u64 = 1024;
/// … or this many bytes (lines of large files are long).
const MAX_BYTES: usize = 4 << 20;

/// Upper bound that a reader accepts for a segment, in bytes.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 128 << 20;

/// A stretch of the inventory and the index file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Backup whose index file of the same component holds the lines.
    pub backup: BackupId,
    /// Offset in that file's stream, in bytes; a frame begins there.
    pub offset: u64,
    /// Length in bytes; that frame's length.
    pub length: u64,
    /// SHA-256 of the lines.
    pub sha256: Digest,
    /// Number of lines.
    pub entries: u64,
    /// Path of the first entry.
    pub first: EntryPath,
}

impl Segment {
    /// Appends the table line.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) {
        let first = self.first.escaped().replace('\\', "\\\\");
        writeln!(
            out,
            "{{\"segment\":[\"{}\",{},{},\"{}\",{},\"{first}\"]}}",
            self.backup, self.offset, self.length, self.sha256, self.entries
        )
        .expect("writing to memory does not fail");
    }

    /// Reads an untrusted table line.
    pub(crate) fn parse_line(line: &[u8]) -> Result<Self> {
        match Self::parse_local_line(line)? {
            (segment, None) => Ok(segment),
            (segment, Some(_)) => {
                Err(Error::damage(format!("the segment line of {} has a key of a local copy", segment.first)))
            }
        }
    }

    /// The same of a local copy, where the length of the segment's frame may stand after it.
    pub(super) fn parse_local_line(line: &[u8]) -> Result<(Self, Option<u64>)> {
        let mut scan = Scan::new(line);
        let (segment, stored) = Self::scan(&mut scan).ok_or_else(|| scan.fault("a segment line"))??;
        let Self { offset, length, entries, .. } = segment;
        if length == 0 || length > MAX_SEGMENT_BYTES || entries == 0 || entries > length || offset > MAX_OFFSET {
            return Err(Error::damage(format!("the segment at {} has impossible numbers", segment.first)));
        }
        Ok((segment, stored))
    }

    /// None where the form is not that of the format.
    fn scan(scan: &mut Scan<'_>) -> Option<Result<(Self, Option<u64>)>> {
        let backup = scan.after("{\"segment\":[", Scan::quoted)?;
        let offset = scan.after(",", Scan::number)?;
        let length = scan.after(",", Scan::number)?;
        let sha256 = scan.after(",", Scan::quoted)?;
        let entries = scan.after(",", Scan::number)?;
        let first = scan.after(",\"", Scan::escaped)?;
        scan.expect("]")?;
        let stored = scan.optional(",\"stored\":", Scan::number)?;
        scan.expect("}")?;
        scan.done()?;
        let first = EntryPath::from_escaped(&first);
        Some(first.map(|first| (Self { backup, offset, length, sha256, entries, first }, stored)))
    }
}

/// Whether a segment of `entries` lines and `bytes` bytes ends after the line with this JSON path text.
pub(crate) fn ends_after(line: &[u8], entries: u64, bytes: usize) -> bool {
    if entries >= MAX_ENTRIES || bytes >= MAX_BYTES {
        return true;
    }
    entries >= MIN_ENTRIES && boundary_hash(path_text(line)) & BOUNDARY_MASK == 0
}

/// What every line begins with.
pub(super) const PATH_KEY: &[u8] = b"{\"path\":\"";

/// The text between the quotes of `{"path":"…"`, which every line begins with.
pub(super) fn path_text(line: &[u8]) -> &[u8] {
    let text = line.strip_prefix(PATH_KEY).unwrap_or(line);
    text.split(|&b| b == b'"').next().unwrap_or(text)
}

/// FNV-1a with its high half folded down. Readers do not depend on it.
fn boundary_hash(text: &[u8]) -> u64 {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}
