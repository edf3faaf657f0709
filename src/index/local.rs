//! The clear copy of the last index in the local state folder: with it a host that cannot decrypt makes incrementals.
//!
//! Two files: the lines of the whole inventory, a zstd frame for each segment, and the segment table. Frames of segments
//! that stay as they are go into the next copy as they are. Both files can be deleted at any time; their digests are kept
//! with them, so a damaged copy is noticed before it is used.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::segment::{MAX_SEGMENT_BYTES, Segment};
use crate::durable::{Disk, DurableFile};
use crate::error::{Context, Error, Result};
use crate::model::{Digest, Hasher};

/// Where the local copy of a component's index lies.
#[derive(Clone, Debug)]
pub struct LocalIndex {
    lines: PathBuf,
    segments: PathBuf,
}

impl LocalIndex {
    /// The copy of `component` in `folder`.
    #[must_use]
    pub fn at(folder: &Path, component: &str) -> Self {
        Self {
            lines: folder.join(format!("{component}.lines.zst")),
            segments: folder.join(format!("{component}.segments")),
        }
    }

    /// Begins writing; both files must not exist.
    pub(crate) fn create(&self, disk: &Disk) -> Result<LocalWriter> {
        Ok(LocalWriter {
            lines: disk.create(&self.lines)?,
            table: Vec::new(),
            segments: self.segments.clone(),
            disk: disk.clone(),
        })
    }

    /// Removes what an earlier run left.
    pub(crate) fn remove(&self, disk: &Disk) -> Result<()> {
        disk.remove_file_if_there(&self.lines)?;
        disk.remove_file_if_there(&self.segments)
    }

    /// Makes `other` the same as this one; returns its digest.
    pub(crate) fn copy_to(&self, other: &Self, disk: &Disk) -> Result<Digest> {
        other.remove(disk)?;
        for (from, to) in [(&self.lines, &other.lines), (&self.segments, &other.segments)] {
            let mut file = disk.create(to)?;
            std::io::copy(&mut File::open(from).at("cannot open", from)?, &mut file).at("cannot copy", from)?;
            file.finish()?;
        }
        other.digest()
    }

    /// Digest over both files, to be kept where the copy is described.
    pub fn digest(&self) -> Result<Digest> {
        let mut hasher = Hasher::default();
        for path in [&self.lines, &self.segments] {
            hasher.read(&mut File::open(path).at("cannot open", path)?).at("cannot read", path)?;
        }
        Ok(hasher.finish())
    }

    /// The segment table, and what it needs to pass frames on.
    pub(crate) fn last_segments(&self) -> Result<LastSegments> {
        let text = std::fs::read(&self.segments).at("cannot read", &self.segments)?;
        let lines = File::open(&self.lines).at("cannot open", &self.lines)?;
        let mut offset = Some(0_u64);
        let mut all = Vec::new();
        for line in text.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
            let (segment, stored) = Segment::parse_local_line(line)?;
            let frame = offset.zip(stored);
            offset = frame.and_then(|(at, length)| at.checked_add(length));
            all.push(LastSegment { segment, frame: frame.filter(|f| f.1 <= MAX_SEGMENT_BYTES) });
        }
        Ok(LastSegments { all, lines })
    }

    /// All lines in path order.
    pub fn lines(&self) -> Result<LocalLines> {
        let file = File::open(&self.lines).at("cannot open", &self.lines)?;
        // An inventory without entries has no frame, which a decoder would take for one that was cut off.
        let is_empty = file.metadata().at("cannot stat", &self.lines)?.len() == 0;
        let decoder = zstd::stream::read::Decoder::new(file).at("cannot read", &self.lines)?;
        let reader = BufReader::with_capacity(256 << 10, decoder);
        Ok(LocalLines { reader, is_empty, path: self.lines.clone() })
    }
}

/// Reads the lines of a local copy.
pub struct LocalLines {
    reader: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    is_empty: bool,
    path: PathBuf,
}

impl std::fmt::Debug for LocalLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalLines").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LocalLines {
    /// Replaces `line` by the next line with its newline; false at the end.
    pub fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        if self.is_empty {
            return Ok(false);
        }
        let n = self.reader.read_until(b'\n', line).at("cannot read", &self.path)?;
        if n > 0 && line.last() != Some(&b'\n') {
            return Err(Error::failed(format!("{} ends inside a line", self.path.display())));
        }
        Ok(n > 0)
    }
}

/// The segments of the last index.
#[derive(Debug)]
pub(crate) struct LastSegments {
    pub(super) all: Vec<LastSegment>,
    pub(super) lines: File,
}

/// A segment of the last index.
#[derive(Clone, Debug)]
pub(super) struct LastSegment {
    pub(super) segment: Segment,
    /// Offset and length of its frame in the copy of the lines; earlier versions did not note it.
    frame: Option<(u64, u64)>,
}

impl LastSegments {
    /// Reads the frame of a segment; false where it is not known.
    pub(super) fn read_frame(lines: &File, segment: &LastSegment, out: &mut Vec<u8>) -> Result<bool> {
        let Some((offset, length)) = segment.frame else { return Ok(false) };
        out.resize(usize::try_from(length).unwrap_or(0), 0);
        lines.read_exact_at(out, offset).doing("cannot read the local copy of the last index").map(|()| true)
    }
}

/// Writes a local copy.
#[derive(Debug)]
pub(crate) struct LocalWriter {
    lines: DurableFile,
    table: Vec<u8>,
    segments: PathBuf,
    disk: Disk,
}

impl LocalWriter {
    /// Adds a segment with the frame that holds its lines.
    pub(super) fn put(&mut self, segment: &Segment, frame: &[u8]) -> Result<()> {
        self.lines.write_all(frame).doing("cannot write the local index copy")?;
        segment.write_line(&mut self.table);
        self.table.truncate(self.table.len() - "}\n".len());
        writeln!(self.table, ",\"stored\":{}}}", frame.len()).doing("cannot write the local index copy")
    }

    pub(super) fn finish(self) -> Result<()> {
        self.lines.finish()?;
        self.disk.write_new(&self.segments, &self.table)
    }
}
