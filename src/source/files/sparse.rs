//! Where a sparse file holds data (FORMAT.md §5).
//!
//! The list is bounded: it ends up in a PAX record and in an index line. A region may cover a hole, which then is
//! stored as zeros; it never leaves out data.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Most data regions that are reported for one file.
pub const MAX_REGIONS: usize = 4096;

/// Most regions that are found one by one; it bounds the time for files with millions of holes.
const MAX_EXACT: usize = 65_536;

/// The data regions `(offset, length)` of the first `size` bytes, in order; none when there is no hole, or the file
/// system cannot tell.
///
/// At most [`MAX_REGIONS`] are returned: where there are more, the smallest holes count as data; in a file with more
/// than 65 536 regions only holes that are large beside the file's size are found after those. Leaves the file at
/// position 0.
pub fn data_regions(file: &File, size: u64) -> io::Result<Option<Vec<(u64, u64)>>> {
    let regions = scan(file, size, MAX_EXACT, MAX_REGIONS);
    seek(file, SeekFrom::Start(0))?;
    Ok(regions?)
}

/// Where data goes on at or after `at`; `size` when there is none.
fn next_data(file: &File, at: u64, size: u64) -> rustix::io::Result<u64> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(found) => Ok(found.clamp(at, size)),
        Err(Errno::NXIO) => Ok(size), // no data after `at`, or the file became shorter: its reader will notice
        Err(e) => Err(e),
    }
}

fn scan(file: &File, size: u64, exact: usize, limit: usize) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    let mut regions: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match next_data(file, at, size) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            other => other?,
        };
        if start >= size {
            break;
        }
        if regions.len() >= exact {
            scan_coarsely(file, start, size, limit, &mut regions)?;
            break;
        }
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) if end > start => end.min(size),
            Ok(_) | Err(Errno::NXIO) => size,
            Err(e) => return Err(e),
        };
        push(&mut regions, start, end);
        at = end;
    }
    if regions == [(0, size)] || size == 0 {
        return Ok(None);
    }
    Ok(Some(keep_largest_holes(regions, limit)))
}

/// From `start`, where data begins, to the end: looks only at multiples of a step, so that the number of looks is
/// bounded. Every hole of two steps is found; the part of it before the first look counts as data.
fn scan_coarsely(
    file: &File,
    mut start: u64,
    size: u64,
    limit: usize,
    regions: &mut Vec<(u64, u64)>,
) -> rustix::io::Result<()> {
    let step = ((size - start) / limit as u64).max(4096).next_multiple_of(4096);
    let mut at = start;
    loop {
        at = match at.checked_next_multiple_of(step) {
            Some(next) if next > at => next,
            Some(next) => next.saturating_add(step),
            None => size,
        };
        if at >= size {
            break;
        }
        let data = next_data(file, at, size)?;
        if data > at {
            push(regions, start, at);
            (start, at) = (data, data);
        }
    }
    push(regions, start, size);
    Ok(())
}

/// Adds a region, which is merged with the last one where they touch.
fn push(regions: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    if end <= start {
        return;
    }
    match regions.last_mut() {
        Some((offset, length)) if *offset + *length >= start => *length = end - *offset,
        _ => regions.push((start, end - start)),
    }
}

/// Merges regions over the smallest holes between them until `limit` are left.
fn keep_largest_holes(regions: Vec<(u64, u64)>, limit: usize) -> Vec<(u64, u64)> {
    let Some(surplus) = regions.len().checked_sub(limit).filter(|&n| n > 0) else { return regions };
    let mut holes: Vec<(u64, usize)> =
        regions.windows(2).zip(1..).map(|(pair, i)| (pair[1].0 - (pair[0].0 + pair[0].1), i)).collect();
    holes.select_nth_unstable(surplus - 1);
    let mut swallowed = vec![false; regions.len()];
    holes[..surplus].iter().for_each(|&(_, i)| swallowed[i] = true);
    let mut kept: Vec<(u64, u64)> = Vec::with_capacity(limit);
    for (&(offset, length), swallowed) in regions.iter().zip(swallowed) {
        match kept.last_mut() {
            Some(last) if swallowed => last.1 = offset + length - last.0,
            _ => kept.push((offset, length)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn sparse_file(size: u64, data: impl IntoIterator<Item = u64>) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        data.into_iter().for_each(|at| file.write_all_at(&[1; 4096], at).unwrap());
        file
    }

    #[test]
    fn a_terabyte_of_holes_has_two_regions_at_once() {
        let file = sparse_file(1 << 40, [1 << 20, (1 << 40) - 4096]);
        let found = data_regions(&file, 1 << 40).unwrap();
        assert_eq!(found, Some(vec![(1 << 20, 4096), ((1 << 40) - 4096, 4096)]));
    }

    #[test]
    fn full_empty_and_hollow_files_are_told_apart() {
        assert_eq!(data_regions(&sparse_file(4096, [0]), 4096).unwrap(), None);
        assert_eq!(data_regions(&sparse_file(0, []), 0).unwrap(), None);
        assert_eq!(data_regions(&sparse_file(1 << 30, []), 1 << 30).unwrap(), Some(vec![]));
        // A size that no longer fits the file is no reason to loop or to fail.
        assert_eq!(data_regions(&sparse_file(4096, [0]), 1 << 30).unwrap(), Some(vec![(0, 4096)]));
        assert_eq!(data_regions(&sparse_file(8192, [0, 4096]), 5000).unwrap(), None);
    }

    #[test]
    fn of_too_many_holes_the_largest_stay() {
        // Four data blocks; the hole before the third is the smallest.
        let starts = [0, 1 << 20, (1 << 20) + 16384, 1 << 22];
        let file = sparse_file(1 << 23, starts);
        let found = scan(&file, 1 << 23, 100, 3).unwrap();
        assert_eq!(found, Some(vec![(0, 4096), (1 << 20, 16384 + 4096), (1 << 22, 4096)]));
    }

    #[test]
    fn every_byte_of_data_is_in_a_region_when_looking_coarsely() {
        let size = 1 << 26;
        let starts: Vec<u64> = (0..400).map(|i| i * 32768).chain([1 << 25, size - 4096]).collect();
        let file = sparse_file(size, starts.iter().copied());
        for (exact, limit) in [(10, 64), (0, 1), (0, 7), (399, 4096), (1, 1000)] {
            // With few regions allowed no hole may be found at all.
            let regions = scan(&file, size, exact, limit).unwrap().unwrap_or(vec![(0, size)]);
            assert!(regions.len() <= limit, "{}", regions.len());
            let covered = |at: u64| regions.iter().any(|&(o, l)| o <= at && at + 4096 <= o + l);
            assert!(starts.iter().all(|&at| covered(at)));
            assert!(regions.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0));
            assert!(regions.iter().all(|&(_, l)| l > 0));
            if limit >= 64 {
                assert!(regions.iter().map(|r| r.1).sum::<u64>() < size / 2, "the large holes were found");
            }
        }
    }

    #[test]
    fn the_position_is_at_the_start_afterwards() {
        let file = sparse_file(1 << 20, [8192]);
        data_regions(&file, 1 << 20).unwrap();
        assert_eq!(rustix::fs::tell(&file).unwrap(), 0);
    }
}
