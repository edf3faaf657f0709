//! The writer's half of `create`: takes what the workers made in the order of the walk, gives it its place in the
//! archive, seals it, and writes the index behind it.

use std::collections::{BTreeSet, HashSet};

use crossbeam_channel::Receiver;

use super::large::{Compressed, Done, Part};
use super::pack::{Frame, Line, Packed};
use super::plan::{Kept, Slot};
use crate::archive::frame::Compressor;
use crate::archive::seal::Sealer;
use crate::archive::{FramedWriter, tar};
use crate::error::{Error, Result};
use crate::index::IndexWriter;
use crate::model::{ArchiveRecord, BackupId, Chunk, Entry, EntryKind, IndexRecord, archive_file_name, index_file_name};
use crate::monitor::Monitor;
use crate::repo::publish::Staging;
use crate::source::Problem;
use crate::source::files::LeftOut;

/// What a component came to.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) archives: Vec<ArchiveRecord>,
    pub(super) index: IndexRecord,
    pub(super) depends_on: BTreeSet<BackupId>,
    pub(super) entries: u64,
    pub(super) new_entries: u64,
    pub(super) content_bytes: u64,
    pub(super) bytes_read: u64,
    pub(super) problems: Vec<Problem>,
    pub(super) left_out: u64,
}

/// Writes the archive volumes and the index of one component.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    component: &'a str,
    staging: &'a Staging,
    sealer: &'a Sealer,
    volume_bytes: u64,
    open: Option<FramedWriter>,
    archives: Vec<ArchiveRecord>,
    index: IndexWriter,
    level: i32,
    depends_on: BTreeSet<BackupId>,
    entries: u64,
    new_entries: u64,
    content_bytes: u64,
    bytes_read: u64,
    problems: Vec<Problem>,
    left_out: LeftOut,
    /// Files that could not be captured; further names of them cannot be either.
    lost: HashSet<String>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        component: &'a str,
        staging: &'a Staging,
        sealer: &'a Sealer,
        volume_bytes: u64,
        level: i32,
        index: IndexWriter,
    ) -> Self {
        Self {
            component,
            staging,
            sealer,
            volume_bytes,
            open: None,
            archives: Vec::new(),
            index,
            level,
            depends_on: BTreeSet::new(),
            entries: 0,
            new_entries: 0,
            content_bytes: 0,
            bytes_read: 0,
            problems: Vec::new(),
            left_out: LeftOut::default(),
            lost: HashSet::new(),
        }
    }

    /// Takes all slots in order; ends with the files finished and synced.
    pub(super) fn run(mut self, slots: &Receiver<Slot>, monitor: &dyn Monitor) -> Result<Collected> {
        let gone = |_| Error::failed("a worker ended unexpectedly");
        for slot in slots {
            monitor.check()?;
            match slot {
                Slot::Kept(kept) => self.kept(&kept)?,
                Slot::Batch(packed) => self.batch(packed.recv().map_err(gone)??)?,
                Slot::Large(parts) => self.large(&parts, monitor)?,
                Slot::Problem(problem) => self.problem(problem),
                Slot::LeftOut(left_out) => self.left_out = left_out,
                Slot::Note(note) => monitor.note(&format!("{}: {note}", self.component)),
            }
            if self.open.as_ref().is_some_and(|a| a.compressed_bytes() >= self.volume_bytes) {
                self.end_volume()?;
            }
        }
        monitor.check()?;
        self.finish()
    }

    fn batch(&mut self, packed: Packed) -> Result<()> {
        let place = self.place();
        for frame in &packed.frames {
            self.put(frame)?;
        }
        self.bytes_read += packed.bytes_read;
        packed.problems.into_iter().for_each(|p| self.problem(p));
        packed.lines.into_iter().try_for_each(|line| self.line(line, place, None))
    }

    fn large(&mut self, parts: &Receiver<Result<Part>>, monitor: &dyn Monitor) -> Result<()> {
        let gone = |_| Error::failed("a worker ended unexpectedly");
        let place = self.place();
        let mut chunks = Vec::new();
        loop {
            monitor.check()?;
            match parts.recv().map_err(gone)?? {
                Part::Frame(receiver) => {
                    let Compressed { frame, chunks: more } = receiver.recv().map_err(gone)??;
                    self.put(&frame)?;
                    chunks.extend(more);
                }
                Part::Again => chunks.clear(),
                Part::Done(done) => {
                    let Done { line, problems, bytes_read } = *done;
                    self.bytes_read += bytes_read;
                    problems.into_iter().for_each(|p| self.problem(p));
                    return line.map_or(Ok(()), |line| self.line(line, place, Some(chunks)));
                }
            }
        }
    }

    /// Volume and offset at which what comes next will begin.
    fn place(&self) -> (u32, u64) {
        let volume = u32::try_from(self.archives.len()).unwrap_or(u32::MAX);
        (volume, self.open.as_ref().map_or(0, FramedWriter::stream_bytes))
    }

    fn put(&mut self, frame: &Frame) -> Result<()> {
        if self.open.is_none() {
            let name = archive_file_name(self.component, self.place().0, self.sealer.sealing().extension());
            self.open = Some(FramedWriter::new(self.staging.create_file(&name)?, self.sealer)?);
        }
        if let Some(archive) = &mut self.open {
            archive.put(&frame.compressed, frame.length)?;
        }
        Ok(())
    }

    /// What they refer to was noted where they were compared.
    fn kept(&mut self, kept: &Kept) -> Result<()> {
        self.entries += kept.entries;
        self.content_bytes += kept.content_bytes;
        kept.lines.split_inclusive(|&b| b == b'\n').try_for_each(|line| self.index.push_line(line))
    }

    fn line(&mut self, line: Line, place: (u32, u64), chunks: Option<Vec<Chunk>>) -> Result<()> {
        match line {
            Line::Kept(kept) => self.kept(&kept),
            Line::Same { line, entry } => {
                self.account(&entry);
                self.index.push_line(&line)
            }
            Line::New(mut entry) => {
                if let EntryKind::Hardlink { target } = &entry.kind {
                    if self.lost.contains(&*target.escaped()) {
                        let detail = format!("it is a further name of {target}, which could not be read");
                        let path = entry.path.escaped().into_owned();
                        self.problem(Problem { kind: "unreadable".into(), path, detail });
                        return Ok(());
                    }
                }
                self.settle(&mut entry, place, chunks);
                self.new_entries += 1;
                self.account(&entry);
                self.index.push(&entry)
            }
        }
    }

    /// Turns offsets that are relative to the slot into offsets in the volume.
    fn settle(&self, entry: &mut Entry, (volume, base): (u32, u64), inline_chunks: Option<Vec<Chunk>>) {
        entry.home.volume = volume;
        entry.home.offset += base;
        let own = self.staging.id();
        if let EntryKind::File { extents, chunks, .. } = &mut entry.kind {
            for extent in extents.iter_mut().filter(|e| e.backup == *own) {
                extent.volume = volume;
                extent.offset += base;
            }
            if let Some(inline) = inline_chunks.filter(|c| !c.is_empty() && chunks.is_empty()) {
                *chunks = inline;
            }
        }
    }

    fn account(&mut self, entry: &Entry) {
        self.entries += 1;
        self.content_bytes += entry.size();
        let mut need = |backup: &BackupId| {
            if !self.depends_on.contains(backup) {
                self.depends_on.insert(backup.clone());
            }
        };
        need(&entry.home.backup);
        if let EntryKind::File { extents, .. } = &entry.kind {
            extents.iter().for_each(|e| need(&e.backup));
        }
    }

    fn problem(&mut self, problem: Problem) {
        if matches!(problem.kind.as_str(), "unreadable" | "vanished") {
            self.lost.insert(problem.path.clone());
        }
        self.problems.push(problem);
    }

    fn end_volume(&mut self) -> Result<()> {
        let Some(mut archive) = self.open.take() else { return Ok(()) };
        let mut compressed = Vec::new();
        Compressor::new(self.level)?.compress(&tar::END, &mut compressed)?;
        archive.put(&compressed, tar::END.len() as u64)?;
        let written = archive.finish()?;
        let (volume, _) = self.place();
        self.archives.push(ArchiveRecord {
            name: archive_file_name(self.component, volume, self.sealer.sealing().extension()),
            volume,
            size_bytes: written.size_bytes,
            sha256: written.sha256,
            tar_bytes: written.stream_bytes,
            frames: written.frames,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Collected> {
        self.end_volume()?;
        let listed: Vec<_> = self.problems.iter().chain(&self.left_out.listed).cloned().collect();
        let totals = self.index.finish(&listed)?;
        self.depends_on.extend(totals.referenced);
        self.depends_on.remove(self.staging.id());
        let index = IndexRecord {
            name: index_file_name(self.component, self.sealer.sealing().extension()),
            size_bytes: totals.written.size_bytes,
            sha256: totals.written.sha256,
            segments: totals.segments,
            own_segments: totals.own_segments,
        };
        Ok(Collected {
            archives: self.archives,
            index,
            depends_on: self.depends_on,
            entries: self.entries,
            new_entries: self.new_entries,
            content_bytes: self.content_bytes,
            bytes_read: self.bytes_read,
            problems: self.problems,
            left_out: self.left_out.count,
        })
    }
}
