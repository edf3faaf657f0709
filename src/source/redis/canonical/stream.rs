//! The canonical RDB as a stream.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::gather::{DatabaseCounts, Gathered};
use super::sealed::ExtentReader;
use super::sort::{Sorted, Value, ValueReader};
use crate::error::{Context as _, Result};
use crate::source::redis::rdb::{Sink as _, crc64, put_length, put_string};

/// Bytes that are made at once, at least.
const PIECE: usize = 64 * 1024;

/// The bytes of an RDB, from its magic to its checksum.
#[derive(Debug)]
pub(in crate::source::redis) struct CanonicalRdb {
    sorted: Sorted,
    databases: BTreeMap<u32, DatabaseCounts>,
    database: Option<u32>,
    /// What comes after the records.
    tail: Vec<u8>,
    /// What was made and not yet given.
    piece: Vec<u8>,
    at: usize,
    /// A value that goes straight through.
    large: Option<ExtentReader>,
    crc: u64,
    ended: bool,
}

impl CanonicalRdb {
    /// The RDB of what was gathered.
    pub(in crate::source::redis) fn of(all: Gathered) -> Result<Self> {
        let mut piece = format!("REDIS{:04}", all.version).into_bytes();
        for (name, value) in &all.aux {
            piece.put(&[250])?;
            put_string(name, &mut piece)?;
            put_string(value, &mut piece)?;
        }
        all.modules_before.iter().try_for_each(|bytes| piece.put(bytes))?;
        for code in &all.functions {
            piece.put(&[245])?;
            put_string(code, &mut piece)?;
        }
        let tail = all.modules_after.concat();
        let (sorted, crc) = (all.sorter.sorted()?, crc64(0, &piece));
        let databases = all.databases;
        Ok(Self { sorted, databases, database: None, tail, piece, at: 0, large: None, crc, ended: false })
    }

    /// Makes the next piece, which is empty only after the end.
    fn make(&mut self) -> Result<()> {
        self.piece.clear();
        self.at = 0;
        while !self.ended && self.piece.len() < PIECE {
            if let Some(large) = &mut self.large {
                let count =
                    large.take(PIECE as u64).read_to_end(&mut self.piece).doing("cannot read the scratch file")?;
                if count > 0 {
                    break;
                }
                self.large = None;
            }
            let Some(record) = self.sorted.next()? else {
                self.piece.append(&mut self.tail);
                self.piece.push(255);
                self.ended = true;
                break;
            };
            let head = &record.head;
            if self.database != Some(head.database) {
                self.database = Some(head.database);
                let counts = self.databases.get(&head.database).copied().unwrap_or_default();
                self.piece.push(254);
                put_length(head.database.into(), &mut self.piece)?;
                self.piece.push(251);
                put_length(counts.keys, &mut self.piece)?;
                put_length(counts.expiring, &mut self.piece)?;
            }
            if let Some(expires) = head.expires {
                self.piece.push(252);
                self.piece.extend_from_slice(&expires.to_le_bytes());
            }
            self.piece.push(head.kind);
            put_string(&head.key, &mut self.piece)?;
            if let ValueReader::Stored(large) = self.sorted.open(&record.value)? {
                self.large = Some(large);
            } else if let Value::Held(bytes) = &record.value {
                self.piece.extend_from_slice(bytes);
            }
        }
        self.crc = crc64(self.crc, &self.piece);
        if self.ended && !self.piece.is_empty() {
            let crc = self.crc.to_le_bytes();
            self.piece.extend_from_slice(&crc);
        }
        Ok(())
    }
}

impl Read for CanonicalRdb {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            self.make().map_err(io::Error::other)?;
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
