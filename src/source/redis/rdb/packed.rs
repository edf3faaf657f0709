//! Collections that Redis keeps in one string: listpack, ziplist, intset, zipmap.

use crate::error::{Error, Kind, Result};

/// The elements of a listpack, integers as text.
pub(super) fn listpack(blob: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut bytes = Bytes { what: "listpack", left: blob };
    let (total, count) = (bytes.u32()?, bytes.u16()?);
    if total as usize != blob.len() {
        return Err(bytes.damaged());
    }
    let mut elements = Vec::new();
    loop {
        let start = bytes.left;
        let first = bytes.byte()?;
        let element = match first {
            0..0x80 => first.to_string().into_bytes(),
            0x80..0xc0 => bytes.take(usize::from(first & 0x3f))?.to_vec(),
            0xc0..0xe0 => {
                let raw = i16::from(first & 0x1f) << 8 | i16::from(bytes.byte()?);
                (if raw >= 1 << 12 { raw - (1 << 13) } else { raw }).to_string().into_bytes()
            }
            0xe0..0xf0 => {
                let length = usize::from(first & 0xf) << 8 | usize::from(bytes.byte()?);
                bytes.take(length)?.to_vec()
            }
            0xf0 => {
                let length = bytes.u32()? as usize;
                bytes.take(length)?.to_vec()
            }
            0xf1 => bytes.integer(2)?,
            0xf2 => bytes.integer(3)?,
            0xf3 => bytes.integer(4)?,
            0xf4 => bytes.integer(8)?,
            0xff => break,
            _ => return Err(bytes.damaged()),
        };
        let length = start.len() - bytes.left.len();
        // The length of the element in groups of seven bits, for walking backwards.
        bytes.take(match length {
            0..128 => 1,
            128..16_384 => 2,
            16_384..2_097_152 => 3,
            2_097_152..268_435_456 => 4,
            _ => 5,
        })?;
        elements.push(element);
    }
    bytes.end(elements, count)
}

/// The elements of a ziplist, integers as text.
pub(super) fn ziplist(blob: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut bytes = Bytes { what: "ziplist", left: blob };
    let (total, _tail, count) = (bytes.u32()?, bytes.u32()?, bytes.u16()?);
    if total as usize != blob.len() {
        return Err(bytes.damaged());
    }
    let mut elements = Vec::new();
    loop {
        match bytes.byte()? {
            0xff => break,
            0xfe => bytes.take(4)?,
            _ => &[],
        };
        let first = bytes.byte()?;
        elements.push(match first {
            0..0x40 => bytes.take(usize::from(first))?.to_vec(),
            0x40..0x80 => {
                let length = usize::from(first & 0x3f) << 8 | usize::from(bytes.byte()?);
                bytes.take(length)?.to_vec()
            }
            0x80 => {
                let length = bytes.u32()?.swap_bytes() as usize;
                bytes.take(length)?.to_vec()
            }
            0xc0 => bytes.integer(2)?,
            0xd0 => bytes.integer(4)?,
            0xe0 => bytes.integer(8)?,
            0xf0 => bytes.integer(3)?,
            0xfe => bytes.integer(1)?,
            0xf1..=0xfd => (first - 0xf1).to_string().into_bytes(),
            _ => return Err(bytes.damaged()),
        });
    }
    bytes.end(elements, count)
}

/// The members of an intset, as text.
pub(super) fn intset(blob: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut bytes = Bytes { what: "intset", left: blob };
    let (width, count) = (bytes.u32()?, bytes.u32()?);
    let width = match width {
        2 | 4 | 8 => width as usize,
        _ => return Err(bytes.damaged()),
    };
    if bytes.left.len() / width != count as usize || !bytes.left.len().is_multiple_of(width) {
        return Err(bytes.damaged());
    }
    (0..count).map(|_| bytes.integer(width)).collect()
}

/// Fields and values of a zipmap, in turn.
pub(super) fn zipmap(blob: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut bytes = Bytes { what: "zipmap", left: blob };
    bytes.byte()?;
    let mut elements = Vec::new();
    loop {
        let is_value = elements.len() % 2 == 1;
        let length = match bytes.byte()? {
            255 if !is_value => break,
            254 => bytes.u32()? as usize,
            255 => return Err(bytes.damaged()),
            short => usize::from(short),
        };
        let unused = if is_value { usize::from(bytes.byte()?) } else { 0 };
        elements.push(bytes.take(length)?.to_vec());
        bytes.take(unused)?;
    }
    bytes.end(elements, u16::MAX)
}

struct Bytes<'a> {
    what: &'static str,
    left: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(count).ok_or_else(|| self.damaged())?;
        self.left = left;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from(self.u16()?) | u32::from(self.u16()?) << 16)
    }

    /// An integer of so many bytes, little endian, as text.
    fn integer(&mut self, width: usize) -> Result<Vec<u8>> {
        let bytes = self.take(width)?;
        let sign = if bytes.last().is_some_and(|b| *b >= 0x80) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..width].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(wide).to_string().into_bytes())
    }

    /// All was taken, and there are as many elements as the header says (if it says it: the largest number means many).
    fn end(self, elements: Vec<Vec<u8>>, count: u16) -> Result<Vec<Vec<u8>>> {
        let counted = count == u16::MAX || elements.len() == usize::from(count);
        if counted && self.left.is_empty() { Ok(elements) } else { Err(self.damaged()) }
    }

    fn damaged(&self) -> Error {
        Error::new(Kind::Incomplete, format!("a {} is damaged", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_changed_collection_is_refused_and_never_panics() {
        let listpack_bytes = [15, 0, 0, 0, 3, 0, 1, 1, 0x81, b'a', 2, 0xdf, 0xff, 2, 0xff];
        assert_eq!(listpack(&listpack_bytes).unwrap(), [b"1".to_vec(), b"a".to_vec(), b"-1".to_vec()]);
        let intset_bytes = [2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 7, 0];
        assert_eq!(intset(&intset_bytes).unwrap(), [b"-1".to_vec(), b"7".to_vec()]);
        let ziplist_bytes = [17, 0, 0, 0, 14, 0, 0, 0, 2, 0, 0, 0xf3, 2, 1, b'x', b'y', 0xff];
        assert!(ziplist(&ziplist_bytes).is_err(), "a length that does not fit");
        let ziplist_bytes = [17, 0, 0, 0, 14, 0, 0, 0, 2, 0, 0, 0xf3, 2, 2, b'x', b'y', 0xff];
        assert_eq!(ziplist(&ziplist_bytes).unwrap(), [b"2".to_vec(), b"xy".to_vec()]);
        let zipmap_bytes = [1, 1, b'f', 2, 1, b'v', b'w', 0, 255];
        assert_eq!(zipmap(&zipmap_bytes).unwrap(), [b"f".to_vec(), b"vw".to_vec()]);
        for blob in [&listpack_bytes[..], &intset_bytes, &ziplist_bytes, &zipmap_bytes] {
            for length in 0..blob.len() {
                let cut = &blob[..length];
                let results = [listpack(cut), ziplist(cut), intset(cut), zipmap(cut)];
                assert!(results.iter().filter(|r| r.is_ok()).count() <= 1, "{blob:?} cut at {length}");
            }
            for at in 0..blob.len() {
                let mut changed = blob.to_vec();
                changed[at] ^= 0xff;
                let _ = (
                    listpack(&changed).is_ok(),
                    ziplist(&changed).is_ok(),
                    intset(&changed).is_ok(),
                    zipmap(&changed).is_ok(),
                );
            }
        }
    }
}
