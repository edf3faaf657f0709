#![allow(clippy::unwrap_used, reason = "tests")]
use std::io::Read;

use super::summary::TableName;
use super::*;
use crate::error::{Kind, Result};

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/fixtures/postgres/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Gives at most a few bytes at a time.
struct Drops<'a>(&'a [u8], usize);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = buffer.len().min(self.1).min(self.0.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn summary(bytes: &[u8]) -> Result<Summary> {
    read_archive(bytes)
}

fn passed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ArchiveReader::new(bytes).read_to_end(&mut out).unwrap();
    out
}

fn name(schema: &str, table: &str) -> TableName {
    (schema.to_owned(), table.to_owned())
}

#[test]
fn every_recorded_version_is_counted_to_its_last_row() {
    for (file, minor) in [("small-15.dump", 14), ("small-16.dump", 15), ("small-18.dump", 16)] {
        let found = summary(&recorded(file)).unwrap();
        assert_eq!(found.minor, minor, "{file}");
        assert_eq!(found.database, "small");
        assert_eq!(found.tables[&name("public", "t")].rows, 200, "{file}");
        assert_eq!(found.tables[&name("public", "empty_t")].rows, 0);
        assert_eq!(found.tables[&name("public", "T\u{e4}ble \"q\" x")].rows, 2);
        assert_eq!(found.large_objects, 2, "{file}");
        assert!(found.large_object_bytes > 0);
        assert_eq!(found.sequences[&name("public", "never_used")], "1, false");
        assert_eq!(found.sequences.len(), 3, "{file}");
        assert!(found.stamp.to_string().starts_with("2026-"), "{}", found.stamp);
        assert!(
            found.database_sql.iter().any(|sql| sql.kind == "DATABASE" && sql.sql.contains("CREATE DATABASE small"))
        );
    }
}

#[test]
fn the_versions_agree_about_rows_and_large_objects() {
    let [a, b, c] = ["small-15.dump", "small-16.dump", "small-18.dump"].map(|file| summary(&recorded(file)).unwrap());
    assert_eq!(a.tables, b.tables);
    assert_eq!(a.tables, c.tables);
    assert_eq!(a.sequences, c.sequences);
    assert_eq!(a.large_object_digest, c.large_object_digest);
    assert_eq!(a.objects, b.objects);
}

#[test]
fn an_empty_database_is_whole_and_holds_nothing() {
    let found = summary(&recorded("nothing-15.dump")).unwrap();
    assert!(found.is_pristine());
    assert_eq!(found.rows(), 0);
    assert!(!summary(&recorded("small-15.dump")).unwrap().is_pristine());
}

#[test]
fn only_the_time_stamp_is_changed_and_it_is_a_day_that_exists() {
    for (file, at) in [("small-15.dump", 16), ("small-16.dump", 12), ("small-18.dump", 12)] {
        let before = recorded(file);
        let after = passed(&before);
        assert_eq!(before.len(), after.len());
        assert_eq!(before[..at], after[..at]);
        assert_eq!(before[at + 35..], after[at + 35..]);
        assert_eq!(after[at + 15..at + 20], [0, 1, 0, 0, 0], "day 1");
        assert_eq!(after[at + 25..at + 30], [0, 70, 0, 0, 0], "year 70");
        let mut other_time = before.clone();
        other_time[at + 1] = 59;
        assert_eq!(passed(&other_time), after);
    }
}

#[test]
fn an_archive_that_comes_in_drops_is_the_same() {
    for file in ["small-15.dump", "small-18.dump"] {
        let bytes = recorded(file);
        let whole = summary(&bytes).unwrap();
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(read_archive(Drops(&bytes, size)).unwrap(), whole);
        }
    }
}

#[test]
fn every_recorded_cut_is_found() {
    for file in ["cut-90.dump", "cut-one-byte.dump", "cut-at-block-border.dump", "cut-toc-only.dump"] {
        let error = summary(&recorded(file)).unwrap_err();
        assert_eq!(error.kind(), Kind::Incomplete, "{file}: {}", error.one_line());
    }
    assert_eq!(summary(b"").unwrap_err().kind(), Kind::Incomplete);
}

#[test]
fn a_cut_at_any_byte_is_found() {
    for file in ["small-15.dump", "small-16.dump", "small-18.dump", "nothing-15.dump"] {
        let bytes = recorded(file);
        for end in 0..bytes.len() {
            assert!(summary(&bytes[..end]).is_err(), "{file} cut at {end}");
        }
        assert!(summary(&bytes).is_ok());
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    for more in [&b"\0"[..], b"x", b"\x01", b"\x01\0\x05\0\0\0\0\0\0\0\0"] {
        let mut bytes = recorded("small-15.dump");
        bytes.extend_from_slice(more);
        assert!(summary(&bytes).is_err(), "{more:?}");
    }
}

#[test]
fn a_compressed_archive_is_refused_and_says_why() {
    let error = summary(&recorded("small-15-gzip.dump")).unwrap_err();
    assert!(error.one_line().contains("compressed"), "{}", error.one_line());
}

#[test]
fn an_archive_with_offsets_is_read_as_well() {
    assert_eq!(
        summary(&recorded("small-15-seekable.dump")).unwrap().tables,
        summary(&recorded("small-15.dump")).unwrap().tables
    );
}

#[test]
fn statistics_of_a_newer_server_do_no_harm() {
    assert_eq!(
        summary(&recorded("small-18-statistics.dump")).unwrap().tables,
        summary(&recorded("small-18.dump")).unwrap().tables
    );
}

#[test]
fn no_bytes_make_it_panic_or_promise_too_much() {
    let bytes = recorded("small-15.dump");
    for at in (0..bytes.len().min(9000)).step_by(3) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut other = bytes.clone();
            other[at] = value;
            // Either is right; it must end.
            drop(summary(&other));
        }
    }
}

#[test]
fn a_flipped_byte_in_a_row_changes_the_digest() {
    let bytes = recorded("small-15.dump");
    let whole = summary(&bytes).unwrap();
    let at = bytes.windows(6).rposition(|w| w == b"canary").unwrap();
    let mut other = bytes.clone();
    other[at] = b'X';
    let found = summary(&other).unwrap();
    assert_ne!(found.tables, whole.tables);
    assert_eq!(found.rows(), whole.rows());
}

#[test]
fn rows_in_another_order_have_the_same_digest() {
    let digest = |chunks: &[&[u8]]| {
        let mut rows = super::rows::Rows::default();
        chunks.iter().for_each(|chunk| rows.feed(chunk).unwrap());
        rows.finish().unwrap()
    };
    let one = digest(&[b"1\ta\n", b"2\tb\n", b"\\.\n\n\n"]);
    assert_eq!(one.0, 2);
    assert_eq!(one, digest(&[b"2\tb\n1", b"\ta\n\\", b".\n\n\n"]), "chunks are not rows");
    assert_ne!(one.2, digest(&[b"2\ta\n", b"1\tb\n", b"\\.\n\n\n"]).2);
    assert_eq!(digest(&[b"\n\n", b"\\.\n\n\n"]).0, 2, "rows of a table without columns");
    assert_eq!(digest(&[b"\\\\.\n", b"\\.\n\n\n"]).0, 1, "a value that looks like the end");
    for bad in [&b"1\n"[..], b"\\.\n\n", b"\\.\n\n\n\n", b"\\.\nx\n\n", b""] {
        let mut rows = super::rows::Rows::default();
        assert!(rows.feed(bad).and_then(|()| rows.finish()).is_err(), "{bad:?}");
    }
}

#[test]
fn the_search_path_can_be_another_one() {
    let bytes = recorded("small-15.dump");
    let mut out = Vec::new();
    SearchPath::new(bytes.as_slice(), "\"$user\", 'it''s'").read_to_end(&mut out).unwrap();
    let found = summary(&out).unwrap();
    assert_eq!(found.tables, summary(&bytes).unwrap().tables);
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("set_config('search_path', '\"$user\", ''it''''s''', false)"));
    assert!(SearchPath::new(&b"PGDMP"[..], "x").read_to_end(&mut Vec::new()).is_err());
}
