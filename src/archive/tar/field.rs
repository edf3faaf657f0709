//! The fields of the 512-byte header: numbers, checksum, typeflags (FORMAT.md §5).
//!
//! Numbers are octal with a final NUL; what does not fit is GNU's base-256 form, which every reader knows that has to
//! hold such numbers. Header blocks are untrusted.

use tar::Header;

use super::block::BLOCK;

/// Largest number an octal field of `length` bytes holds.
pub(super) const fn octal_max(length: usize) -> u64 {
    (1 << (3 * (length - 1))) - 1
}

/// Fills a field with a number: octal, or base-256 when the digits do not suffice.
pub(super) fn put_number(field: &mut [u8], value: u64) {
    if value <= octal_max(field.len()) {
        field.fill(0);
        let mut rest = value;
        for slot in field.iter_mut().rev().skip(1) {
            *slot = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
    } else {
        let mut rest = value;
        for slot in field.iter_mut().rev() {
            *slot = (rest & 0xff) as u8;
            rest >>= 8;
        }
        field[0] |= 0x80;
    }
}

/// Reads an octal or base-256 number of at most 12 bytes; an empty field is 0. Only base-256 gives negative numbers.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let sign = if first & 0x40 != 0 { -64 } else { 0 };
        let start = sign + i128::from(first & 0x3f);
        return Some(rest.iter().fold(start, |n, &b| n << 8 | i128::from(b)));
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let clean = rest.iter().all(|b| matches!(b, 0 | b' ')) && digits.iter().all(|b| (b'0'..=b'7').contains(b));
    clean.then(|| digits.iter().fold(0, |n, &b| n << 3 | i128::from(b - b'0')))
}

/// Copies as much of `text` as fits.
pub(super) fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// The text up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&b| b == 0).unwrap_or(field.len())]
}

/// Whether the checksum field holds the sum of the block.
pub(super) fn checksum_matches(header: &Header) -> bool {
    let field = &header.as_old().cksum;
    let sum = |bytes: &[u8]| bytes.iter().map(|&b| i64::from(b)).sum::<i64>();
    // The field itself counts as spaces.
    let expected = sum(header.as_bytes()) - sum(field) + sum(&[b' '; 8]);
    number(field) == Some(expected.into())
}

/// Views a block as a header.
pub(super) fn header(block: &[u8; BLOCK]) -> &Header {
    Header::from_byte_slice(block)
}
