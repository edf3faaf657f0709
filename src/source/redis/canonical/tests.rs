//! Equal data are equal bytes.

use std::io::Read as _;

use super::gather::Gathered;
use super::stream::CanonicalRdb;
use crate::error::Result;
use crate::source::redis::rdb::tests::fixture;
use crate::source::redis::rdb::{Input, RdbReader, put_length, put_string};

fn canonical(rdb: &[u8], run_bytes: usize) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = RdbReader::new(Input::new(rdb))?;
    let all = Gathered::read(&mut reader, folder.path(), run_bytes, &mut |_| Ok(()))?;
    let mut bytes = Vec::new();
    CanonicalRdb::of(all)?.read_to_end(&mut bytes).map_err(|e| e.downcast::<crate::Error>().unwrap())?;
    Ok(bytes)
}

#[test]
fn two_captures_of_the_same_data_give_the_same_bytes() {
    let first = fixture("all-types-v10.rdb");
    let second = fixture("all-types-v10-second-capture.rdb");
    assert_ne!(first, second);
    let bytes = canonical(&first, 1 << 20).unwrap();
    assert!(bytes == canonical(&second, 1 << 20).unwrap());
    assert!(bytes == canonical(&bytes, 1 << 20).unwrap(), "canonical bytes stay as they are");
}

#[test]
fn what_does_not_fit_into_memory_comes_out_as_if_it_did() {
    let rdb = fixture("all-types-v10.rdb");
    let bytes = canonical(&rdb, 1 << 20).unwrap();
    assert!(bytes == canonical(&rdb, 2000).unwrap(), "in runs");
    assert!(bytes == canonical(&rdb, 0).unwrap(), "each record is a run");
}

/// An RDB of strings, without checksum.
fn strings<'a>(records: impl IntoIterator<Item = (u32, &'a [u8], Vec<u8>)>) -> Vec<u8> {
    let mut rdb = b"REDIS0010".to_vec();
    for (database, key, value) in records {
        rdb.push(254);
        put_length(database.into(), &mut rdb).unwrap();
        rdb.push(0);
        put_string(key, &mut rdb).unwrap();
        rdb.extend_from_slice(&value);
    }
    rdb.push(255);
    rdb.extend_from_slice(&[0; 8]);
    rdb
}

fn long(byte: u8, length: usize) -> Vec<u8> {
    let mut value = Vec::new();
    put_string(&vec![byte; length], &mut value).unwrap();
    value
}

#[test]
fn many_runs_and_large_values_keep_their_order() {
    let keys: Vec<String> = (0..1000_u32).map(|n| format!("key:{}", n.wrapping_mul(2_654_435_761))).collect();
    let record = |n: usize| {
        let length = if n.is_multiple_of(100) { 300_000 + n } else { n % 50 };
        ((n % 3) as u32, keys[n].as_bytes(), long(n as u8, length))
    };
    let forwards = strings((0..keys.len()).map(record));
    let backwards = strings((0..keys.len()).rev().map(record));
    let bytes = canonical(&forwards, 64 << 20).unwrap();
    assert!(bytes == canonical(&backwards, 2000).unwrap(), "with runs");
    assert!(bytes == canonical(&backwards, 0).unwrap(), "with runs of runs");
    assert!(bytes == canonical(&bytes, 5000).unwrap());
}

#[test]
fn a_compressed_string_is_stored_as_its_content() {
    // A run of 'a', as LZF writes it: one literal, then copies from one byte before.
    let packed = [0, b'a', 0xe0, 255, 0, 0xe0, 255, 0];
    let mut value = vec![0xc3];
    put_length(packed.len() as u64, &mut value).unwrap();
    put_length(1 + 264 * 2, &mut value).unwrap();
    value.extend_from_slice(&packed);
    let compressed = strings([(0, b"k".as_slice(), value)]);
    let plain = strings([(0, b"k".as_slice(), long(b'a', 529))]);
    assert!(canonical(&compressed, 1 << 20).unwrap() == canonical(&plain, 1 << 20).unwrap());
}

#[test]
fn members_of_a_table_have_one_order() {
    let set = |members: &[&[u8]]| {
        let mut value = vec![];
        put_length(members.len() as u64, &mut value).unwrap();
        members.iter().for_each(|member| put_string(member, &mut value).unwrap());
        let mut rdb = strings([(0, b"k".as_slice(), value)]);
        let at = rdb.iter().position(|b| *b == 254).unwrap() + 2;
        rdb[at] = 2;
        rdb
    };
    let one = canonical(&set(&[b"c", b"12", b"a"]), 1 << 20).unwrap();
    assert!(one == canonical(&set(&[b"12", b"a", b"c"]), 1 << 20).unwrap());
    assert!(one != canonical(&set(&[b"12", b"a", b"b"]), 1 << 20).unwrap());
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let rdb = strings([
        (0, b"k".as_slice(), long(1, 30)),
        (1, b"k".as_slice(), long(1, 30)),
        (0, b"k".as_slice(), long(2, 30)),
    ]);
    assert!(canonical(&rdb, 1 << 20).unwrap_err().to_string().contains("a key is twice in database 0"));
}
