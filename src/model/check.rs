//! What must hold of a single entry (FORMAT.md §7, §12): the same code for what is read and for what is about to be
//! written, so that no line is ever written that is refused when it is read.

use super::entry::{Entry, EntryKind, Extent, Xattr};
use super::limits::{DEVICE_LIMITS, MAX_OFFSET, MAX_PAX_BYTES, MAX_REGIONS, MAX_TARGET_BYTES, MAX_XATTR_BYTES};
use crate::error::{Error, Result};

/// Regions of data begin at multiples of this.
const BLOCK: u64 = 512;

impl Entry {
    /// Checks everything that an index line says of this entry alone. What refers to other entries is the inventory's
    /// business: order, the folder that holds it, the first name of a hard link.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Error::damage(format!("the entry {} {what}", self.path));
        if self.mode > 0o7777 {
            return Err(bad("has a mode of more than four octal digits"));
        }
        if self.mtime.nanoseconds >= 1_000_000_000 || self.ctime.nanoseconds >= 1_000_000_000 {
            return Err(bad("has a time with a second or more of nanoseconds"));
        }
        if self.user.contains('\0') || self.group.contains('\0') {
            return Err(bad("has the name of a user or group with a NUL byte"));
        }
        if self.home.offset > MAX_OFFSET {
            return Err(bad("has its home after the largest offset"));
        }
        self.check_kind().and_then(|()| self.check_xattrs()).map_err(bad)
    }

    fn check_kind(&self) -> std::result::Result<(), &'static str> {
        match &self.kind {
            EntryKind::File { .. } => self.check_file(),
            EntryKind::Symlink { target } => {
                let fits = (1..=MAX_TARGET_BYTES).contains(&target.len()) && !target.contains(&0);
                if fits { Ok(()) } else { Err("is a symbolic link with an impossible text") }
            }
            // What comes later, or is the entry itself, cannot have been made before it.
            EntryKind::Hardlink { target } if *target >= self.path => {
                Err("is a hard link to something that does not come before it")
            }
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                let fits = *major < DEVICE_LIMITS.0 && *minor < DEVICE_LIMITS.1;
                if fits { Ok(()) } else { Err("is a device with impossible numbers") }
            }
            EntryKind::Hardlink { .. } | EntryKind::Dir | EntryKind::Fifo => Ok(()),
        }
    }

    fn check_file(&self) -> std::result::Result<(), &'static str> {
        let EntryKind::File { size, extents, in_pieces, regions, chunks, .. } = &self.kind else { return Ok(()) };
        if *size > MAX_OFFSET {
            return Err("has a size beyond the limit");
        }
        let stored = match regions {
            None => *size,
            Some(regions) => sum_of_regions(regions, *size)?,
        };
        if (!in_pieces && extents.len() != 1) || (*in_pieces && extents.iter().any(|e| e.length == 0)) {
            return Err("must have its content in one extent, or in pieces that are not empty");
        }
        let inside = |e: &Extent| e.offset.checked_add(e.length).is_some_and(|end| end <= MAX_OFFSET);
        if !extents.iter().all(inside) {
            return Err("has an extent that ends after the largest offset");
        }
        if !adds_up(extents.iter().map(|e| e.length), stored) {
            return Err("has extents that do not add up to its content");
        }
        if !chunks.is_empty()
            && (chunks.iter().any(|c| c.length == 0) || !adds_up(chunks.iter().map(|c| c.length), stored))
        {
            return Err("has chunks that are empty or do not add up to its content");
        }
        Ok(())
    }

    fn check_xattrs(&self) -> std::result::Result<(), &'static str> {
        if !self.xattrs.is_empty() && matches!(self.kind, EntryKind::Hardlink { .. }) {
            return Err("is a hard link with attributes, which are those of the first name");
        }
        let fits =
            |x: &Xattr| (1..=255).contains(&x.name.len()) && !x.name.contains(&0) && x.value.len() <= MAX_XATTR_BYTES;
        if !self.xattrs.iter().all(fits) {
            return Err("has an attribute with an impossible name or value");
        }
        if self.xattrs.windows(2).any(|w| w[0].name >= w[1].name) {
            return Err("has attributes that are not sorted, or one of them twice");
        }
        // A little more than they take: names with their escapes, values, lengths and keys, and all other records.
        let escapes = |name: &[u8]| name.iter().filter(|&&b| b == b'%' || b == b'=').count();
        let attributes: usize =
            self.xattrs.iter().map(|x| x.name.len() + 2 * escapes(&x.name) + x.value.len() + 24).sum();
        let target = match &self.kind {
            EntryKind::Hardlink { target } => target.as_bytes().len(),
            EntryKind::Symlink { target } => target.len(),
            _ => 0,
        };
        let names = 2 * self.path.as_bytes().len() + target + self.user.len() + self.group.len();
        if attributes + names + 1024 > MAX_PAX_BYTES {
            return Err("has attributes and names beyond the limit of pax records");
        }
        Ok(())
    }
}

/// Bytes of all regions, which lie in order in a file of `size` bytes.
fn sum_of_regions(regions: &[(u64, u64)], size: u64) -> std::result::Result<u64, &'static str> {
    if size == 0 || regions.len() > MAX_REGIONS {
        return Err("has too many data regions");
    }
    let (mut last_end, mut sum) = (0, 0);
    for &(offset, length) in regions {
        let end = offset.checked_add(length).filter(|&end| length > 0 && offset >= last_end && end <= size);
        last_end = end.ok_or("has data regions that are empty, out of order or outside the file")?;
        if offset % BLOCK != 0 || (last_end % BLOCK != 0 && last_end != size) {
            return Err("has data regions that do not begin and end at blocks");
        }
        sum += length;
    }
    Ok(sum)
}

fn adds_up(mut lengths: impl Iterator<Item = u64>, whole: u64) -> bool {
    lengths.try_fold(0_u64, u64::checked_add) == Some(whole)
}
