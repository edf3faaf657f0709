//! The segment table of an index file, and the line that says where it lies (FORMAT.md §7).

use super::segment::Segment;
use crate::archive::{FramedReader, Scratch};
use crate::error::{Error, Result};
use crate::model::Scan;

/// Reads a part of an index stream into memory; the caller has checked the length.
pub(super) fn read_text(file: &FramedReader, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    file.read_range(offset, length, &mut Scratch::new()?, &mut Vec::new(), &mut |piece| {
        text.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(text)
}

/// The segments that a table lists, and the number of their entries.
pub(super) fn parse_table(name: &str, text: &[u8]) -> Result<(Vec<Segment>, u64)> {
    let segments: Vec<_> = lines(text)?.map(Segment::parse_line).collect::<Result<_>>()?;
    let sum = segments.iter().try_fold(0_u64, |n, s| n.checked_add(s.entries));
    let sum = sum.ok_or_else(|| Error::damage(format!("the segment table of {name} does not add up")))?;
    if segments.windows(2).any(|w| w[0].first >= w[1].first) {
        return Err(Error::damage(format!("the segment table of {name} is not in path order")));
    }
    Ok((segments, sum))
}

/// What the end line says.
pub(super) struct End {
    pub(super) table_offset: u64,
    pub(super) segments: u64,
    pub(super) entries: u64,
}

impl End {
    pub(super) fn parse(name: &str, line: &[u8]) -> Result<Self> {
        if !line.ends_with(b"\n") {
            return Err(Error::damage(format!("the last line of {name} does not end")));
        }
        let mut scan = Scan::new(line);
        Self::scan(&mut scan).ok_or_else(|| scan.fault(&format!("the end line of {name}")))
    }

    fn scan(scan: &mut Scan<'_>) -> Option<Self> {
        let table_offset = scan.after("{\"end\":{\"table_offset\":", Scan::number)?;
        let segments = scan.after(",\"segments\":", Scan::number)?;
        let entries = scan.after(",\"entries\":", Scan::number)?;
        scan.end(&["table_offset", "segments", "entries"], "}")?;
        Some(Self { table_offset, segments, entries })
    }
}

/// Lines without their newlines. None is empty in an index, and the parsers of lines refuse such.
pub(super) fn lines(text: &[u8]) -> Result<impl Iterator<Item = &[u8]>> {
    if !text.is_empty() && !text.ends_with(b"\n") {
        return Err(Error::damage("an index ends inside a line"));
    }
    Ok(text.split_inclusive(|&b| b == b'\n'))
}
