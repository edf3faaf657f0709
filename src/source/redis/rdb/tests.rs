//! Recorded RDBs, read to their end, cut, and changed.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::error::{Error, Kind, Result};

pub(in crate::source::redis) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/redis").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All records as `DUMP` would give them, and the end.
#[expect(clippy::type_complexity, reason = "a list of pairs and how it ended, for tests alone")]
fn dumps(rdb: &[u8]) -> Result<(Vec<(RecordHead, Vec<u8>)>, Checksum)> {
    let mut reader = RdbReader::new(Input::new(rdb))?;
    let mut records = Vec::new();
    loop {
        match reader.next()? {
            Some(Item::Record(head)) => {
                let mut dump = vec![head.kind];
                reader.value(Form::AsItIs, &mut dump)?;
                dump.extend_from_slice(&(reader.version() as u16).to_le_bytes());
                dump.extend_from_slice(&crc64(0, &dump).to_le_bytes());
                records.push((head, dump));
            }
            Some(Item::End(checksum)) => {
                assert_eq!(reader.next()?, None);
                assert_eq!(reader.position(), rdb.len() as u64);
                return Ok((records, checksum));
            }
            Some(_) => {}
            None => panic!("no end"),
        }
    }
}

fn refusal(rdb: &[u8]) -> Error {
    dumps(rdb).map(|_| ()).unwrap_err()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Digits after which the recorder cut a value.
const CUT: usize = 6000;

#[test]
fn every_value_is_byte_for_byte_what_dump_gives() {
    let (records, checksum) = dumps(&fixture("all-types-v10.rdb")).unwrap();
    assert_eq!(checksum, Checksum::Right);
    let expected: Value = serde_json::from_slice(&fixture("all-types-v10.expected.json")).unwrap();
    let mut compared = 0;
    for (database, keys) in expected["keys_by_db"].as_object().unwrap() {
        for key in keys.as_array().unwrap() {
            let found = records.iter().find(|(head, _)| {
                head.database.to_string() == *database && hex(&head.key) == key["key_hex"].as_str().unwrap()
            });
            let (head, dump) = found.unwrap_or_else(|| panic!("{key} is not there"));
            assert_eq!(head.expires.unwrap_or(-1), key["pexpiretime"].as_i64().unwrap(), "{key}");
            // Long ones are cut in the recording.
            let (ours, theirs) = (hex(dump), key["dump_hex"].as_str().unwrap());
            assert!(ours == theirs || theirs.len() == CUT && ours.starts_with(theirs), "{} differs", key["key_hex"]);
            compared += 1;
        }
    }
    let unlisted: Vec<_> = records.iter().filter(|(head, _)| head.key == b"expired").collect();
    assert_eq!(records.len(), compared + unlisted.len());
    assert!(compared >= 20);
}

#[test]
fn functions_and_values_about_the_whole_come_before_the_keys() {
    let rdb = fixture("functions-only.rdb");
    let mut reader = RdbReader::new(Input::new(rdb.as_slice())).unwrap();
    let mut aux = Vec::new();
    let mut functions = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Aux(name, value) => aux.push((String::from_utf8(name).unwrap(), String::from_utf8(value).unwrap())),
            Item::Function(code) => functions.push(String::from_utf8(code).unwrap()),
            Item::End(checksum) => assert_eq!(checksum, Checksum::Right),
            other => panic!("{other:?}"),
        }
    }
    assert!(aux.contains(&("redis-ver".to_owned(), "7.0.15".to_owned())), "{aux:?}");
    assert!(aux.contains(&("redis-bits".to_owned(), "64".to_owned())), "{aux:?}");
    assert!(functions.len() == 1 && functions[0].starts_with("#!lua name=mylib"), "{functions:?}");
    assert_eq!(dumps(&fixture("no-data.rdb")).unwrap().0, []);
}

#[test]
fn an_rdb_cut_anywhere_is_refused() {
    let rdb = fixture("all-types-v10.rdb");
    for length in (0..rdb.len()).step_by(11).chain(rdb.len() - 20..rdb.len()) {
        assert_eq!(refusal(&rdb[..length]).kind(), Kind::Incomplete, "cut at {length}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let rdb = fixture("all-types-v10.rdb");
    for at in (0..rdb.len()).step_by(13) {
        let mut changed = rdb.clone();
        changed[at] ^= 1;
        let kind = refusal(&changed).kind();
        assert!(matches!(kind, Kind::Incomplete | Kind::Version), "byte {at}: {kind:?}");
    }
}

#[test]
fn any_bytes_without_a_checksum_are_read_or_refused_and_nothing_panics() {
    let mut rdb = fixture("all-types-v10.rdb");
    let end = rdb.len() - 8;
    rdb[end..].fill(0);
    assert_eq!(dumps(&rdb).unwrap().1, Checksum::Off);
    let mut seed = 7_u64;
    for _ in 0..3000 {
        let mut changed = rdb.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % end;
            changed[at] = (seed >> 24) as u8;
        }
        let Ok(mut reader) = RdbReader::new(Input::new(changed.as_slice())) else { continue };
        while let Ok(Some(item)) = reader.next() {
            if let Item::Record(head) = item {
                let mut value = Vec::new();
                if reader.value(Form::Canonical, &mut value).is_err() {
                    break;
                }
                drop(fingerprint(&mut Input::new(value.as_slice()), head.kind, head.kind));
            }
        }
    }
}

#[test]
fn a_length_that_nothing_follows_allocates_nothing() {
    let rdb = [b"REDIS0010".as_slice(), &[0, 0x81], &u64::MAX.to_be_bytes(), b"key"].concat();
    assert_eq!(refusal(&rdb).kind(), Kind::Incomplete);
    let rdb = [b"REDIS0010".as_slice(), &[0, 1, b'k', 0x81], &u64::MAX.to_be_bytes(), b"value"].concat();
    assert_eq!(refusal(&rdb).kind(), Kind::Incomplete);
}

#[test]
fn what_is_newer_than_this_program_is_said_to_be_so() {
    let mut rdb = fixture("no-data.rdb");
    rdb[5..9].copy_from_slice(b"9999");
    assert_eq!(refusal(&rdb).to_string(), "the RDB has the version 9999; this program reads 1 to 12");
    assert_eq!(refusal(b"VALKEY080").kind(), Kind::Version);
    let rdb = [b"REDIS0010".as_slice(), &[99, 1, b'k', 0]].concat();
    let error = refusal(&rdb);
    assert_eq!(error.kind(), Kind::Version);
    assert!(error.to_string().contains("the type of value 99"), "{error}");
    assert_eq!(refusal(&[b"REDIS0010".as_slice(), &[200]].concat()).kind(), Kind::Version);
    assert!(refusal(b"HTTP/1.1 400 Bad Request\r\n").to_string().contains("does not begin as an RDB"));
}

#[test]
fn a_hash_means_the_same_in_every_encoding() {
    let of = |kind: u8, bytes: &[u8]| fingerprint(&mut Input::new(bytes), kind, kind).unwrap();
    let table = [2, 1, b'a', 1, b'x', 0xc0, 7, 0xc0, 255];
    let other_order = [2, 1, b'7', 0xc0, 255, 1, b'a', 1, b'x'];
    let listpack = [18, 18, 0, 0, 0, 4, 0, 0x81, b'a', 2, 0x81, b'x', 2, 7, 1, 0xdf, 0xff, 2, 0xff];
    assert_eq!(of(4, &table), of(4, &other_order));
    assert_eq!(of(4, &table), of(16, &listpack));
    assert_ne!(of(4, &table), of(4, &[2, 1, b'a', 1, b'x', 0xc0, 7, 0xc0, 254]));
    assert_ne!(of(2, &[2, 1, b'a', 1, b'b']), of(1, &[2, 1, b'a', 1, b'b']), "a set is no list");
    assert_ne!(of(1, &[2, 1, b'a', 1, b'b']), of(1, &[2, 1, b'b', 1, b'a']), "a list has an order");
}
