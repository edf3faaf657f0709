//! A worker's half of `create`: captures a batch of entries into tar members and compresses them as one frame.
//!
//! Offsets are relative to where the batch will begin in the archive; the writer, which alone knows that place, moves
//! them. An extent or home of the backup being made is such a relative one.

use std::fs::File;
use std::io;
use std::path::Path;

use super::capture::{
    CaptureContext, Captured, accepted, capture_other, changed, distrust, file_entry, may_be_stub, problem_of,
    says_the_same,
};
use super::database;
use super::known::MIN_REFERENCED_BYTES;
use super::links::Name;
use super::stream::{LARGE_FILE_BYTES, StoredStream};
use super::work::{BatchItem, DatabasePart, IndexLine, Job, Packed, PackedFrame};
use crate::archive::frame::{Compressor, TARGET_FRAME_BYTES};
use crate::archive::tar;
use crate::error::{Context as _, Error, Result};
use crate::model::{Digest, Entry, EntryKind, Extent, Problem};
use crate::monitor::Monitor;
use crate::source::files::{FileKind, Found};
use crate::source::sqlite;

/// Packs batches; reuses its buffers and compression context.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    context: &'a CaptureContext<'a>,
    compressor: Compressor,
    raw: Vec<u8>,
    /// Room for the worst case. What leaves here is copied: most of it is a fraction of that.
    compressed: Vec<u8>,
    /// Bytes of earlier frames of the batch.
    before: u64,
}

impl<'a> Packer<'a> {
    pub(super) fn new(context: &'a CaptureContext<'a>, level: i32) -> Result<Self> {
        Ok(Self { context, compressor: Compressor::new(level)?, raw: Vec::new(), compressed: Vec::new(), before: 0 })
    }

    pub(super) fn compressor(&mut self) -> &mut Compressor {
        &mut self.compressor
    }

    pub(super) fn pack(&mut self, items: Vec<BatchItem>, monitor: &dyn Monitor) -> Result<Packed> {
        let mut packed = Packed::default();
        self.before = 0;
        self.raw.clear();
        for item in items {
            match item {
                BatchItem::Kept(kept) => packed.lines.push(IndexLine::Kept(kept)),
                BatchItem::Read(job) => {
                    let read = self.capture(*job, &mut packed)?;
                    monitor.throttle(read);
                    monitor.advance(read, 1);
                    packed.bytes_read += read;
                }
            }
            if self.raw.len() >= TARGET_FRAME_BYTES {
                self.end_frame(&mut packed)?;
            }
        }
        self.end_frame(&mut packed)?;
        Ok(packed)
    }

    fn end_frame(&mut self, packed: &mut Packed) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.compressor.compress(&self.raw, &mut self.compressed)?;
        packed.frames.push(PackedFrame { compressed: self.compressed.clone(), length: self.raw.len() as u64 });
        self.before += self.raw.len() as u64;
        self.raw.clear();
        Ok(())
    }

    /// Captures one entry; returns the bytes read. Whatever goes wrong with it becomes a problem, not an error.
    fn capture(&mut self, job: Job, packed: &mut Packed) -> Result<u64> {
        if job.is_left_out() {
            packed.notes.push(database::left_out(&job.found));
            return Ok(0);
        }
        let Job { found, previous, name, part } = job;
        let first = name.as_ref().and_then(Name::first);
        let start = self.raw.len();
        let problems = packed.problems.len();
        let outcome = if found.stat.kind == FileKind::File && first.is_none() {
            self.capture_file(&found, previous.as_ref().map(|p| &p.1), packed)?
        } else {
            capture_other(&found, first.clone(), self.context, &mut packed.problems).map(|(entry, same)| {
                tar::write_member_header(&entry, &mut self.raw);
                Captured { entry, is_the_one_found: same, bytes_read: 0, is_one_state: false }
            })
        };
        let Captured { mut entry, is_the_one_found, bytes_read, is_one_state } = match outcome.and_then(accepted) {
            Ok(captured) => captured,
            Err(error) => {
                self.raw.truncate(start);
                packed.problems.truncate(problems);
                packed.problems.push(problem_of(&found, &error));
                return Ok(0);
            }
        };
        if packed.problems.len() > problems {
            distrust(&mut entry);
        }
        if let Some(DatabasePart::Database(duty)) = part
            && is_one_state
            && packed.problems.len() == problems
        {
            duty.stands(&found.path);
        }
        // Another file under this name does not stand for the names of the one that was found.
        if let Some(name) = name.filter(|_| is_the_one_found) {
            name.stands(first.as_ref().unwrap_or(&found.path));
        }
        match previous {
            Some((line, old)) if says_the_same(&entry, &old) => {
                self.raw.truncate(start);
                packed.lines.push(IndexLine::Same { line, entry: old });
            }
            _ => {
                entry.home.offset = self.before + start as u64;
                packed.lines.push(IndexLine::New(entry));
            }
        }
        Ok(bytes_read)
    }

    /// Reads a file that fits a frame. One that changes under the reading is read once more.
    fn capture_file(
        &mut self,
        found: &Found,
        previous: Option<&Entry>,
        packed: &mut Packed,
    ) -> Result<io::Result<Captured>> {
        let start = self.raw.len();
        let problems = packed.problems.len();
        let mut bytes_read = 0;
        let mut attempt = 1;
        loop {
            self.raw.truncate(start);
            packed.problems.truncate(problems);
            match self.read_file(found, &mut packed.problems) {
                Ok((mut captured, trouble)) => {
                    bytes_read += captured.bytes_read;
                    if trouble.is_some() && attempt == 1 {
                        attempt = 2;
                        continue;
                    }
                    packed.problems.extend(trouble);
                    captured.entry = self.refer_if_known(captured.entry, previous, start)?;
                    return Ok(Ok(Captured { bytes_read, ..captured }));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// One reading: the entry with its member in the buffer, and what was wrong with it.
    fn read_file(&mut self, found: &Found, problems: &mut Vec<Problem>) -> io::Result<(Captured, Option<Problem>)> {
        let start = self.raw.len();
        let known = problems.len();
        let (file, mut stat) = found.open()?;
        let is_the_one_found = stat.is_same_file(&found.stat);
        let mut trouble = None;
        let is_database = found.is_database_in_use();
        if let Some(scratch) = self.context.databases.filter(|_| is_database) {
            match self.read_state(found, &file, scratch, problems) {
                Ok(entry) => return Ok((state_of(entry, is_the_one_found), None)),
                Err(e) => trouble = Some(database::only_read(found, &e)),
            }
            self.raw.truncate(start);
            problems.truncate(known);
        }
        if stat.size > LARGE_FILE_BYTES {
            let detail = format!("it grew to {} bytes while the backup ran; its beginning was stored", stat.size);
            trouble = Some(changed(found, &detail));
            stat.size = LARGE_FILE_BYTES;
        }
        let (mut entry, regions) = file_entry(found, &file, &stat, self.context, problems)?;
        let content_bytes = tar::write_member_header(&entry, &mut self.raw);
        let content_start = self.raw.len();
        let length = usize::try_from(content_bytes).map_err(io::Error::other)?;
        let mut stream = StoredStream::new(&file, stat.size, regions.as_deref());
        stream.append_to(&mut self.raw);
        debug_assert_eq!(self.raw.len(), content_start + length);
        let fault = stream.fault(found)?;
        if trouble.is_none() && fault.is_none() && !stat.same_content(&found.stat_again(&file)?) {
            trouble = Some(changed(found, "it was written to while it was read, twice"));
        }
        let mut trouble = trouble.or(fault);
        // What was not known to be in use may be so now.
        let is_database = !is_database && sqlite::is_database(&self.raw[content_start..]);
        if let Some(scratch) = self.context.databases.filter(|_| is_database)
            && database::is_in_use(found, &file, trouble.is_some())
        {
            let read = self.raw.split_off(start);
            let known = problems.len();
            match self.read_state(found, &file, scratch, problems) {
                Ok(entry) => return Ok((state_of(entry, is_the_one_found), None)),
                Err(e) => trouble = Some(database::only_read(found, &e)),
            }
            self.raw.truncate(start);
            self.raw.extend_from_slice(&read);
            problems.truncate(known);
        }
        let digest = Digest::of(&self.raw[content_start..]);
        self.raw.resize(content_start + length + tar::padding(content_bytes), 0);
        if let EntryKind::File { sha256, extents, unsettled, .. } = &mut entry.kind {
            *sha256 = digest;
            *unsettled = trouble.is_some();
            extents.push(Extent {
                backup: self.context.backup.clone(),
                volume: 0,
                offset: self.before + content_start as u64,
                length: content_bytes,
            });
        }
        Ok((Captured { entry, is_the_one_found, bytes_read: content_bytes, is_one_state: false }, trouble))
    }

    /// One state of a database that is in use, with its member in the buffer.
    fn read_state(&mut self, found: &Found, file: &File, scratch: &Path, problems: &mut Vec<Problem>) -> Result<Entry> {
        let (snapshot, stat) = database::snapshot(found, file, scratch)?;
        if stat.size > LARGE_FILE_BYTES {
            return Err(Error::failed(format!("it grew to {} bytes while the backup ran", stat.size)));
        }
        let entry = file_entry(found, file, &stat, self.context, problems);
        let (mut entry, _) = entry.doing("its attributes cannot be read")?;
        let content_bytes = tar::write_member_header(&entry, &mut self.raw);
        let content_start = self.raw.len();
        let mut stream = StoredStream::new(&snapshot, stat.size, None);
        stream.append_to(&mut self.raw);
        if let Some(fault) = stream.fault(found).doing("it cannot be read")? {
            return Err(Error::failed(fault.detail));
        }
        snapshot.finish()?;
        let content_end = self.raw.len();
        self.raw.resize(content_end + tar::padding(content_bytes), 0);
        if let EntryKind::File { sha256, extents, .. } = &mut entry.kind {
            *sha256 = Digest::of(&self.raw[content_start..content_end]);
            let offset = self.before + content_start as u64;
            extents.push(Extent { backup: self.context.backup.clone(), volume: 0, offset, length: content_bytes });
        }
        Ok(entry)
    }

    /// Replaces the member by a stub when the chain holds the content already.
    fn refer_if_known(&mut self, mut entry: Entry, previous: Option<&Entry>, start: usize) -> Result<Entry> {
        if self.context.known.is_empty() || !may_be_stub(&entry) {
            return Ok(entry);
        }
        let EntryKind::File { sha256: digest, extents, unsettled: false, .. } = &entry.kind else { return Ok(entry) };
        let length: u64 = extents.iter().map(|e| e.length).sum();
        if length <= MIN_REFERENCED_BYTES {
            return Ok(entry);
        }
        let old = match previous.map(|p| &p.kind) {
            Some(EntryKind::File { sha256, extents, .. })
                if sha256 == digest && extents.iter().map(|e| e.length).sum::<u64>() == length =>
            {
                Some(extents.clone())
            }
            _ => self.context.known.find(*digest, length)?.map(|extent| vec![extent]),
        };
        if let (Some(old), EntryKind::File { extents, in_pieces, .. }) = (old, &mut entry.kind) {
            *extents = old;
            *in_pieces = true;
            self.raw.truncate(start);
            tar::write_member_header(&entry, &mut self.raw);
        }
        Ok(entry)
    }
}

fn state_of(entry: Entry, is_the_one_found: bool) -> Captured {
    let bytes_read = entry.size();
    Captured { entry, is_the_one_found, bytes_read, is_one_state: true }
}
