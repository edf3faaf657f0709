//! The map of a sparse file in the form GNU.sparse 1.0 (FORMAT.md §5).
//!
//! The map is text at the start of the member's content, one decimal number a line: the count of entries, then offset
//! and length of each, with zeros up to the next block. A file that ends with a hole has a last entry `(size, 0)`. The
//! data regions follow one after the other. Maps that are read are untrusted.

use std::io::Write as _;

use crate::error::{Error, Result};
use crate::model::MAX_REGIONS;

use super::block::{BLOCK, padding};

/// Longest entry: two numbers of 20 digits, each with its newline.
const MAX_ENTRY_BYTES: u64 = 42;

/// Makes regions of data, in order, fit for a member: each begins and ends at a multiple of 512 bytes or at the end of
/// the file, none is empty and none touches the next.
///
/// GNU tar pads every region to a whole block where other readers expect none, so only such regions mean the same to
/// all. File systems report larger blocks anyway; where one does not, some bytes of a hole are stored as zeros.
pub fn align_regions(regions: &mut Vec<(u64, u64)>, size: u64) {
    let block = BLOCK as u64;
    let mut aligned: Vec<(u64, u64)> = Vec::with_capacity(regions.len());
    for &(offset, length) in regions.iter().filter(|(_, length)| *length > 0) {
        let start = offset - offset % block;
        let end = offset.saturating_add(length).checked_next_multiple_of(block).unwrap_or(u64::MAX).min(size);
        match aligned.last_mut() {
            Some((before, covered)) if *before + *covered >= start => *covered = end.saturating_sub(*before),
            _ if end > start => aligned.push((start, end - start)),
            _ => {}
        }
    }
    *regions = aligned;
}

/// Appends the map with its padding.
pub(super) fn put_map(out: &mut Vec<u8>, regions: &[(u64, u64)], size: u64) {
    let data = || regions.iter().filter(|(_, length)| *length > 0);
    let last_end = data().next_back().map(|(offset, length)| offset.saturating_add(*length));
    let end = (size, 0);
    let closing = (last_end != Some(size)).then_some(&end);
    let start = out.len();
    let mut line = |number: u64| writeln!(out, "{number}").expect("writing to memory does not fail");
    line((data().count() + usize::from(closing.is_some())) as u64);
    for (offset, length) in data().chain(closing) {
        line(*offset);
        line(*length);
    }
    let length = out.len() - start;
    out.resize(out.len() + padding(length as u64), 0);
}

/// What [`parse_map`] found.
pub(super) enum Parsed {
    /// The regions that are not empty, and the size of the map with its padding.
    Map(Vec<(u64, u64)>, u64),
    /// That many bytes of content are wanted.
    More(u64),
}

/// Reads the map at the start of a member's content. `bytes` is what is at hand of it, `stored` its whole size,
/// `size` the real size of the file.
pub(super) fn parse_map(bytes: &[u8], stored: u64, size: u64) -> Result<Parsed> {
    let whole = bytes.len() as u64 >= stored;
    let bytes = if whole { &bytes[..usize::try_from(stored).unwrap_or(bytes.len())] } else { bytes };
    let bad = |what: &str| Error::damage(format!("the map of a sparse file {what}"));
    let mut at = 0;
    let mut next = || -> Result<Option<u64>> {
        let rest = &bytes[at..];
        let Some(end) = rest.iter().take(21).position(|&b| b == b'\n') else {
            return if whole || rest.len() > 20 { Err(bad("is cut or no text")) } else { Ok(None) };
        };
        at += end + 1;
        let number = std::str::from_utf8(&rest[..end]).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
        number.and_then(|t| t.parse().ok()).map(Some).ok_or_else(|| bad("holds something that is not a number"))
    };
    let Some(count) = next()? else { return Ok(Parsed::More(stored.min(BLOCK as u64))) };
    // The shortest entry is `0\n0\n`.
    if count > MAX_REGIONS as u64 || count > stored / 4 {
        return Err(bad(&format!("claims {count} entries")));
    }
    let mut regions = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(bytes.len() / 4));
    let (mut end, mut total) = (0_u64, 0_u64);
    for done in 0..count {
        let (Some(offset), Some(length)) = (next()?, next()?) else {
            return Ok(Parsed::More(stored.min(bytes.len() as u64 + (count - done) * MAX_ENTRY_BYTES)));
        };
        let region_end = offset.checked_add(length).filter(|&e| offset >= end && e <= size);
        end = region_end.ok_or_else(|| bad("is out of order or exceeds the size of the file"))?;
        total += length;
        if length > 0 {
            regions.push((offset, length));
        }
    }
    let map = (at as u64).next_multiple_of(BLOCK as u64);
    if map.checked_add(total) != Some(stored) {
        return Err(bad(&format!("of {map} bytes lists {total} bytes of data, {stored} bytes are stored")));
    }
    if (bytes.len() as u64) < map {
        return Ok(Parsed::More(map));
    }
    Ok(Parsed::Map(regions, map))
}
