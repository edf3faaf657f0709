//! Seek tables and frames from anywhere: no panic, no more memory than is there, and an accepted table is canonical.
#![no_main]

use std::sync::Arc;

use ccbackup::archive::frame::{Decompressor, FOOTER_BYTES, SeekTable};
use ccbackup::archive::{FramedReader, Scratch};
use ccbackup::keys::Keys;
use ccbackup::model::Sealing;
use libfuzzer_sys::fuzz_target;

/// Enough to reach every path, little enough to stay quick: frames may claim 64 MiB each.
const MOST_BYTES: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Some(footer) = bytes.last_chunk::<FOOTER_BYTES>() {
        if let Ok(size) = SeekTable::table_size_from_footer(footer) {
            let start = usize::try_from(size).ok().and_then(|size| bytes.len().checked_sub(size));
            match (start, claimed_bytes(bytes, start)) {
                (Some(start), Some(payload)) => check_table(bytes, start, payload),
                _ => assert!(SeekTable::parse(bytes, bytes.len() as u64).is_err()),
            }
        }
    }
    let whole: Arc<Vec<u8>> = Arc::new(bytes.to_vec());
    if let Ok(reader) = FramedReader::open(whole, &Sealing::None, &Keys::none(), "input") {
        check_frames(&reader);
    }
    let mut out = Vec::new();
    let length = bytes.len().saturating_mul(4).min(1 << 16);
    if Decompressor::new().expect("zstd works").decompress(bytes, length, &mut out).is_ok() {
        assert_eq!(out.len(), length);
    } else {
        assert!(out.is_empty());
    }
});

/// The stored lengths in the table added up, as the file's size would say it.
fn claimed_bytes(bytes: &[u8], start: Option<usize>) -> Option<u64> {
    let entries = bytes.get(start? + 8..bytes.len() - FOOTER_BYTES)?;
    Some(entries.chunks_exact(8).map(|e| u64::from(u32::from_le_bytes([e[0], e[1], e[2], e[3]]))).sum())
}

fn check_table(bytes: &[u8], start: usize, payload: u64) {
    assert!(SeekTable::parse(bytes, payload + 1).is_err());
    let Ok(table) = SeekTable::parse(bytes, payload) else { return };
    let mut written = Vec::new();
    table.write(&mut written);
    assert_eq!(written, &bytes[start..]);
    assert_eq!(table.stored_size(), payload);
    let (mut stored, mut offset) = (0, 0);
    for at in 0..table.frames() {
        let span = table.frame(at);
        assert_eq!((span.stored_offset, span.offset), (stored, offset));
        stored += span.stored_length;
        offset += span.length;
        if span.length > 0 {
            assert_eq!(table.find(span.offset), Some(at));
            assert_eq!(table.find(offset - 1), Some(at));
        }
    }
    assert_eq!((stored, offset), (payload, table.size()));
    assert_eq!(table.find(offset), None);
}

fn check_frames(reader: &FramedReader) {
    let mut scratch = Scratch::new().expect("zstd works");
    let (mut out, mut read) = (Vec::new(), 0);
    for at in 0..reader.frames() {
        let span = reader.span(at);
        read += span.length;
        if read > MOST_BYTES {
            return;
        }
        if reader.read_frame(at, &mut scratch, &mut out).is_ok() {
            assert_eq!(out.len() as u64, span.length);
        }
    }
    let mut sum = 0;
    let whole = reader.read_range(0, reader.stream_bytes(), &mut scratch, &mut out, &mut |piece| {
        sum += piece.len() as u64;
        Ok(())
    });
    if whole.is_ok() {
        assert_eq!(sum, reader.stream_bytes());
    }
}
