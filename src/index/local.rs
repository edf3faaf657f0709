//! The clear copy of the last index in the local state folder: with it a host that cannot decrypt makes incrementals.
//!
//! Two files: the lines of the whole inventory as one zstd stream, and the segment table. Both can be deleted at any
//! time; their digests are kept with them, so a damaged copy is noticed before it is used.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::segment::Segment;
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
        let encoder = zstd::stream::write::Encoder::new(disk.create(&self.lines)?, 1)
            .doing("cannot begin the local index copy")?;
        Ok(LocalWriter { encoder, segments: self.segments.clone(), disk: disk.clone() })
    }

    /// Removes what an earlier run left.
    pub(crate) fn remove(&self, disk: &Disk) -> Result<()> {
        disk.remove_file_if_there(&self.lines)?;
        disk.remove_file_if_there(&self.segments)
    }

    /// Digest over both files, to be kept where the copy is described.
    pub fn digest(&self) -> Result<Digest> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 20];
        for path in [&self.lines, &self.segments] {
            let mut file = File::open(path).at("cannot open", path)?;
            loop {
                match file.read(&mut buffer).at("cannot read", path)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
        }
        Ok(hasher.finish())
    }

    /// The segment table.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        let text = std::fs::read(&self.segments).at("cannot read", &self.segments)?;
        text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(Segment::parse_line).collect()
    }

    /// All lines in path order.
    pub fn lines(&self) -> Result<LocalLines> {
        let file = File::open(&self.lines).at("cannot open", &self.lines)?;
        let decoder = zstd::stream::read::Decoder::new(file).at("cannot read", &self.lines)?;
        Ok(LocalLines { reader: BufReader::with_capacity(256 << 10, decoder), path: self.lines.clone() })
    }
}

/// Reads the lines of a local copy.
pub struct LocalLines {
    reader: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
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
        let n = self.reader.read_until(b'\n', line).at("cannot read", &self.path)?;
        if n > 0 && line.last() != Some(&b'\n') {
            return Err(Error::failed(format!("{} ends inside a line", self.path.display())));
        }
        Ok(n > 0)
    }
}

/// Writes a local copy.
pub struct LocalWriter {
    encoder: zstd::stream::write::Encoder<'static, DurableFile>,
    segments: PathBuf,
    disk: Disk,
}

impl std::fmt::Debug for LocalWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalWriter").field("segments", &self.segments).finish_non_exhaustive()
    }
}

impl LocalWriter {
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<()> {
        self.encoder.write_all(lines).doing("cannot write the local index copy")
    }

    pub(super) fn finish(self, table: &[Segment]) -> Result<()> {
        let file: io::Result<DurableFile> = self.encoder.finish();
        file.doing("cannot write the local index copy")?.finish()?;
        let mut text = Vec::new();
        table.iter().for_each(|s| s.write_line(&mut text));
        self.disk.write_new(&self.segments, &text)
    }
}
