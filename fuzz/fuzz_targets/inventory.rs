//! Index files from anywhere: no panic, and what an accepted one lists is in order, below folders, and found by path.
//!
//! The input is cut at byte 0x1e into pieces that become zstd frames. Chance finds no digest, so with the first byte
//! odd every piece is taken for a segment and gets a right table; otherwise table and end line come from the input.
#![no_main]

use std::sync::Arc;

use ccbackup::archive::FramedReader;
use ccbackup::archive::frame::{Compressor, SeekTable};
use ccbackup::index::{IndexFiles, Inventory};
use ccbackup::keys::Keys;
use ccbackup::model::{BackupId, Digest, Entry, Sealing};
use ccbackup::{Error, Result};
use libfuzzer_sys::fuzz_target;

const OWN: &str = "20260117-143000";

/// One file, which stands for the index of every backup.
#[derive(Debug)]
struct InMemory(Arc<Vec<u8>>);

impl IndexFiles for InMemory {
    fn open_index(&self, backup: &BackupId) -> Result<FramedReader> {
        if backup.as_str().len() > OWN.len() {
            return Err(Error::damage("this backup is not there"));
        }
        FramedReader::open(self.0.clone(), &Sealing::None, &Keys::none(), "index")
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let pieces: Vec<&[u8]> = bytes.split(|&b| b == 0x1e).filter(|piece| !piece.is_empty()).collect();
    let mut file = File { stored: vec![], table: SeekTable::default(), compressor: Compressor::new(1).expect("level") };
    if mode & 1 == 1 {
        let (mut segments, mut count) = (Vec::new(), 0);
        for piece in &pieces {
            let lines: Vec<&[u8]> = piece.split(|&b| b == b'\n').filter(|line| !line.is_empty()).collect();
            let Some(first) = lines.first().and_then(|line| Entry::parse_line(line).ok()) else { return };
            let (offset, sha256) = (file.table.size(), Digest::of(piece));
            let segment = (OWN, offset, piece.len(), sha256, lines.len(), first.path.escaped());
            segments.extend(serde_json::to_vec(&serde_json::json!({ "segment": segment })).expect("plain values"));
            segments.push(b'\n');
            count += lines.len();
            file.put(piece);
        }
        let table_offset = file.table.size();
        if !segments.is_empty() {
            file.put(&segments);
        }
        let end = serde_json::json!({
            "end": { "table_offset": table_offset, "segments": pieces.len(), "entries": count }
        });
        file.put(format!("{end}\n").as_bytes());
    } else {
        pieces.iter().for_each(|piece| file.put(piece));
    }
    let File { mut stored, table, .. } = file;
    table.write(&mut stored);
    let files = Box::new(InMemory(Arc::new(stored)));
    if let Ok(inventory) = Inventory::open("index", OWN.parse().expect("an id"), files) {
        check(&inventory);
    }
});

struct File {
    stored: Vec<u8>,
    table: SeekTable,
    compressor: Compressor,
}

impl File {
    fn put(&mut self, piece: &[u8]) {
        let mut frame = Vec::new();
        self.compressor.compress(piece, &mut frame).expect("pieces are small");
        self.table.push(frame.len() as u64, piece.len() as u64).expect("pieces are small");
        self.stored.extend(frame);
    }
}

fn check(inventory: &Inventory) {
    let Ok(entries) = inventory.readable().expect("zstd works").collect::<Result<Vec<Entry>>>() else { return };
    if inventory.is_lossy() {
        return;
    }
    assert_eq!(entries.len() as u64, inventory.entries());
    assert!(entries.windows(2).all(|w| w[0].path < w[1].path));
    for entry in entries.iter().take(8) {
        assert_eq!(inventory.find(&entry.path).expect("it was read before").as_ref(), Some(entry));
        let parent = entry.path.parent();
        assert!(parent.is_none_or(|parent| entries.iter().any(|e| e.path.as_bytes() == parent)));
    }
}
