use proptest::prelude::*;

use super::*;
use crate::vectorstore::{Document, Unreadable, document_bytes};

fn example() -> Document {
    Document {
        id: b"m1".to_vec(),
        metadata: [(b"k".to_vec(), b"v".to_vec()), (b"n".to_vec(), vec![b'x'; 300])].into(),
        embedding: vec![0.6, -0.8, 1.0, f32::MAX, f32::MIN_POSITIVE, 0.0, -0.0],
        content: "grün".as_bytes().to_vec(),
    }
}

#[test]
fn what_a_newer_contextd_may_add_is_passed_over_and_other_gobs_are_refused() {
    // Written by Go: the fields of a document in another order, among structs, maps, arrays, interfaces, pointers, times.
    let rich = include_bytes!("../../fixtures/chromem/gobs/rich.gob");
    let document = Document::decode(rich).unwrap();
    assert_eq!((&document.id[..], &document.content[..]), (&b"id-1"[..], &b"text"[..]));
    assert_eq!(document.embedding, [0.25, -1e-30]);
    assert_eq!(document.metadata, [(b"k".to_vec(), b"v".to_vec())].into());
    for length in 0..rich.len() {
        assert!(Document::decode(&rich[..length]).is_err(), "{length}");
    }
    let other: [&[u8]; 3] = [
        include_bytes!("../../fixtures/chromem/gobs/wrongtype.gob"), // its Embedding is []float64 and its name fits
        include_bytes!("../../fixtures/chromem/gobs/string.gob"),
        include_bytes!("../../fixtures/chromem/gobs/foreign.gob"),
    ];
    assert_eq!(Document::decode(other[0]).map(|document| document.embedding), Ok(vec![1.0]));
    assert!(matches!(Document::decode(other[1]), Err(Unreadable::Malformed("its value is no struct"))));
    assert!(matches!(Document::decode(other[2]), Err(Unreadable::Malformed("it holds no document"))));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_document_cut_anywhere_is_refused() {
    let whole = document_bytes(&example());
    assert_eq!(Document::decode(&whole), Ok(example()));
    for length in 0..whole.len() {
        let fault = Document::decode(&whole[..length]).expect_err("a cut document must not be read");
        assert_eq!(fault, if length == 0 { Unreadable::Empty } else { Unreadable::Truncated }, "{length}");
    }
}

#[test]
fn counts_and_lengths_beyond_the_message_are_refused_before_anything_is_allocated() {
    // A message of 2^62 bytes, then strings and counts of 2^62 where there are a few bytes.
    for text in ["f8 40 00 00 00 00 00 00 00 01", "0b ff80 01 f8 40 00 00 00 00 00 00 00"] {
        assert!(Document::decode(&hex(text)).is_err(), "{text}");
    }
    let whole = document_bytes(&example());
    for at in 0..whole.len() {
        for huge in [&[0xf8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0xff, 0xff], &[0x80], &[0x00]] {
            let mut bytes = whole.clone();
            bytes.splice(at..=at, huge.iter().copied());
            drop(Document::decode(&bytes));
        }
    }
}

#[test]
fn types_that_contain_themselves_end() {
    // Type 64: struct{ A = type 64 }; a value of 40 structs in each other, then of 100.
    let define = hex("10 7f 03 01 01 01 54 01 ff80 00 01 01 01 01 41 01 ff80 00 00 00");
    let mut define = define;
    define[0] = (define.len() - 1) as u8;
    for (levels, good) in [(40, true), (100, false)] {
        let mut value = hex("ff80");
        value.extend(std::iter::repeat_n(1, levels));
        value.extend(std::iter::repeat_n(0, levels + 1));
        let mut bytes = define.clone();
        if value.len() > 127 {
            bytes.push(0xff);
        }
        bytes.push(value.len() as u8);
        bytes.extend(value);
        let gob = Gob::parse(&bytes).expect("the types are good");
        assert_eq!(gob.each_field(|_, _| Ok(())).is_ok(), good, "{levels}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Document::decode(&bytes));
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
        let mut bytes = document_bytes(&example());
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut / 8));
        drop(Document::decode(&bytes));
    }

    #[test]
    fn every_document_comes_back(
        id in proptest::collection::vec(any::<u8>(), 0..20),
        metadata in proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 0..9), proptest::collection::vec(any::<u8>(), 0..200), 0..5),
        embedding in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits).prop_filter("equal to itself", |f| !f.is_nan()), 0..50),
        content in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let document = Document { id, metadata, embedding, content };
        prop_assert_eq!(Document::decode(&document_bytes(&document)), Ok(document));
    }
}
