//! The slots of a cluster: which of 16,384 a key belongs to.

/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: CRC-16 (XMODEM) of it, or of what stands in its first braces if that is not empty.
#[must_use]
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(hashed(key)) % SLOTS
}

fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else { return key };
    match key[open + 1..].iter().position(|b| *b == b'}') {
        None | Some(0) => key,
        Some(length) => &key[open + 1..open + 1 + length],
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_in_the_slot_that_redis_says() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"k1"), 12706);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn only_the_first_braces_that_are_not_empty_count() {
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"a{user1000}{b}"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"{}bar"), crc16(b"{}bar") % SLOTS);
        assert_eq!(slot(b"foo{"), crc16(b"foo{") % SLOTS);
        assert_ne!(slot(b"{}bar"), slot(b"bar"));
        assert_ne!(slot(b"foo{"), slot(b"foo"));
    }
}
