//! Writes documents and metadata as chromem-go does: for a store that is repaired, and for tests that play contextd.

use std::collections::BTreeMap;

use super::document::{Document, Metadata};

/// `struct{ Name string; Metadata map[string]string }`, as types 64 and 65.
const METADATA_TYPES: &[u8] =
    b"\x22\x7f\x03\x01\x02\xff\x80\x00\x01\x02\x01\x04Name\x01\x0c\x00\x01\x08Metadata\x01\xff\x82\x00\x00\x00\
    \x21\xff\x81\x04\x01\x01\x11map[string]string\x01\xff\x82\x00\x01\x0c\x01\x0c\x00\x00";
/// `struct Document{ ID string; Metadata map[string]string; Embedding []float32; Content string }`, as types 64 to 66.
const DOCUMENT_TYPES: &[u8] = b"\x45\x7f\x03\x01\x01\x08Document\x01\xff\x80\x00\x01\x04\x01\x02ID\x01\x0c\x00\
    \x01\x08Metadata\x01\xff\x82\x00\x01\x09Embedding\x01\xff\x84\x00\x01\x07Content\x01\x0c\x00\x00\x00\
    \x21\xff\x81\x04\x01\x01\x11map[string]string\x01\xff\x82\x00\x01\x0c\x01\x0c\x00\x00\
    \x17\xff\x83\x02\x01\x01\x09[]float32\x01\xff\x84\x00\x01\x08\x00\x00";
/// The number of the struct, 64, as values begin with it.
const STRUCT: &[u8] = b"\xff\x80";

/// The bytes of `00000000.gob`.
#[must_use]
pub fn metadata_bytes(metadata: &Metadata) -> Vec<u8> {
    let mut value = Fields::default();
    value.string(&metadata.name);
    value.strings(&metadata.metadata);
    value.finish(METADATA_TYPES)
}

/// The bytes of a document's file.
#[must_use]
pub fn document_bytes(document: &Document) -> Vec<u8> {
    let mut value = Fields::default();
    value.string(&document.id);
    value.strings(&document.metadata);
    value.floats(&document.embedding);
    value.string(&document.content);
    value.finish(DOCUMENT_TYPES)
}

/// The fields of a struct, those left out that are empty. (A map that is empty is sent: chromem-go never has none.)
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    step: u64,
}

impl Fields {
    fn begin(&mut self, is_empty: bool) -> bool {
        self.step += 1;
        if !is_empty {
            uint(&mut self.bytes, self.step);
            self.step = 0;
        }
        !is_empty
    }

    fn string(&mut self, text: &[u8]) {
        if self.begin(text.is_empty()) {
            counted(&mut self.bytes, text);
        }
    }

    fn strings(&mut self, map: &BTreeMap<Vec<u8>, Vec<u8>>) {
        self.begin(false);
        uint(&mut self.bytes, map.len() as u64);
        for (key, value) in map {
            counted(&mut self.bytes, key);
            counted(&mut self.bytes, value);
        }
    }

    fn floats(&mut self, floats: &[f32]) {
        if self.begin(floats.is_empty()) {
            uint(&mut self.bytes, floats.len() as u64);
            floats.iter().for_each(|f| uint(&mut self.bytes, f64::from(*f).to_bits().swap_bytes()));
        }
    }

    fn finish(mut self, types: &[u8]) -> Vec<u8> {
        self.bytes.push(0);
        let mut out = types.to_vec();
        uint(&mut out, (STRUCT.len() + self.bytes.len()) as u64);
        out.extend_from_slice(STRUCT);
        out.append(&mut self.bytes);
        out
    }
}

fn uint(out: &mut Vec<u8>, number: u64) {
    if let Ok(small @ 0..=0x7f) = u8::try_from(number) {
        return out.push(small);
    }
    let bytes = number.to_be_bytes();
    let length = 8 - number.leading_zeros() as usize / 8;
    out.push((length as u8).wrapping_neg());
    out.extend_from_slice(&bytes[8 - length..]);
}

fn counted(out: &mut Vec<u8>, text: &[u8]) {
    uint(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_go_writes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let metadata = Metadata { name: b"contextd_memories".to_vec(), metadata: BTreeMap::new() };
        let expected = "227f030102ff8000010201044e616d65010c0001084d6574616461746101ff8200000021ff81040101116d61705b73747\
            2696e675d737472696e6701ff8200010c010c000018ff800111636f6e74657874645f6d656d6f72696573010000";
        assert_eq!(hex(&metadata_bytes(&metadata)), expected);
        let document = Document {
            id: b"m1".to_vec(),
            metadata: [(b"k".to_vec(), b"v".to_vec())].into(),
            embedding: vec![0.6, -0.8, 1.0],
            content: b"hi".to_vec(),
        };
        let expected = "457f03010108446f63756d656e7401ff8000010401024944010c0001084d6574616461746101ff82000109456d6265646\
            4696e6701ff84000107436f6e74656e74010c00000021ff81040101116d61705b737472696e675d737472696e6701ff8200010c010c0\
            00017ff83020101095b5d666c6f6174333201ff84000108000022ff8001026d310101016b01760103fb403333e33ffba09999e9bffef\
            03f0102686900";
        assert_eq!(hex(&document_bytes(&document)), expected);
        assert_eq!(Document::decode(&document_bytes(&document)), Ok(document));
    }
}
