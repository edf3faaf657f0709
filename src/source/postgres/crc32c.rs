//! CRC-32C (Castagnoli), as the manifests of base backups have it.

const POLYNOMIAL: u32 = 0x82f6_3b78;
/// One table for each of eight bytes that are taken at once.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A sum that is computed piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let at = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
        let (eights, rest) = bytes.as_chunks::<8>();
        let mut sum = self.0;
        for [a, b, c, d, e, f, g, h] in eights {
            let [w, x, y, z] = (sum ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
            sum = at(7, w) ^ at(6, x) ^ at(5, y) ^ at(4, z) ^ at(3, *e) ^ at(2, *f) ^ at(1, *g) ^ at(0, *h);
        }
        for byte in rest {
            let [low, ..] = sum.to_le_bytes();
            sum = (sum >> 8) ^ at(0, low ^ byte);
        }
        self.0 = sum;
    }

    /// The sum as a manifest writes it: the bytes from the lowest on, in hex.
    pub(super) fn hex(self) -> String {
        (!self.0).to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_that_everybody_knows() {
        let mut whole = Crc32c::default();
        whole.update(b"123456789");
        // 0xe3069283
        assert_eq!(whole.hex(), "839206e3");
        let mut pieces = Crc32c::default();
        [&b"1"[..], b"2345678", b"9"].iter().for_each(|piece| pieces.update(piece));
        assert_eq!(pieces.hex(), whole.hex());
        let mut long = Crc32c::default();
        long.update(&[0; 32]);
        assert_eq!(long.hex(), "aa36918a");
    }
}
