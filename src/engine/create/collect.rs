//! The collector's half of `create`: takes what the workers made in the order of the walk, gives it its place in the
//! archive, seals it, and writes the index after it.

use std::collections::{BTreeSet, HashSet};

use crossbeam_channel::Receiver;

use super::options::CreateOptions;
use super::problems::Problems;
use super::work::{ChunkedFrame, IndexLine, Kept, LargeDone, LargePart, Packed, PackedFrame, Slot};
use crate::archive::frame::Compressor;
use crate::archive::{FramedWriter, tar};
use crate::config::ComponentConfig;
use crate::engine::Clock;
use crate::error::{Error, Result};
use crate::index::{IndexWriter, LastSegments, LocalWriter, Pushed};
use crate::model::{
    ArchiveRecord, BackupId, Chunk, ComponentRecord, Digest, Entry, EntryKind, EntryPath, IndexRecord, MAX_OFFSET,
    Moment, Problem, ProblemKind, SourceRecord, Timestamp, archive_file_name, escape_path, index_file_name, line_path,
};
use crate::monitor::Monitor;
use crate::repo::publish::Staging;
use crate::source::Facts;
use crate::source::files::{LeftOut, root_name};
use crate::threads;

/// What a component came to.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) record: ComponentRecord,
    pub(super) depends_on: BTreeSet<BackupId>,
    pub(super) problems: Vec<Problem>,
    /// The last change of anything in it; only where an expectation asks for it.
    pub(super) newest: Option<Timestamp>,
}

/// Writes the archive volumes and the index of one component.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    spec: &'a ComponentConfig,
    options: &'a CreateOptions,
    staging: &'a Staging,
    open: Option<FramedWriter>,
    archives: Vec<ArchiveRecord>,
    index: IndexWriter,
    depends_on: BTreeSet<BackupId>,
    entries: u64,
    new_entries: u64,
    content_bytes: u64,
    bytes_read: u64,
    problems: Problems,
    left_out: LeftOut,
    newest: Option<Timestamp>,
    /// Half an object is none: what is refused fails the component.
    objects: bool,
    refused_object: Option<Error>,
    /// Digests of the paths of entries that were refused; hard links to them must be too.
    refused: HashSet<Digest>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        spec: &'a ComponentConfig,
        options: &'a CreateOptions,
        staging: &'a Staging,
        local: LocalWriter,
        last: Option<LastSegments>,
    ) -> Result<Self> {
        let name = index_file_name(&spec.name, options.sealer.sealing().extension());
        let sealed = FramedWriter::new(staging.create_file(&name)?, &options.sealer)?;
        let index = IndexWriter::new(staging.id().clone(), sealed, local, options.level, last)?;
        Ok(Self {
            spec,
            options,
            staging,
            open: None,
            archives: Vec::new(),
            index,
            depends_on: BTreeSet::new(),
            entries: 0,
            new_entries: 0,
            content_bytes: 0,
            bytes_read: 0,
            problems: Problems::default(),
            left_out: LeftOut::default(),
            newest: None,
            objects: false,
            refused_object: None,
            refused: HashSet::new(),
        })
    }

    /// From now on an entry that readers would refuse is an error; [`Self::refused_object`] tells it from others.
    pub(super) fn takes_objects(&mut self) {
        self.objects = true;
    }

    /// The object that ended the capture because readers would refuse it.
    pub(super) fn refused_object(&mut self) -> Option<Error> {
        self.refused_object.take()
    }

    /// Takes all slots in order.
    pub(super) fn run(&mut self, slots: &Receiver<Slot>, monitor: &dyn Monitor) -> Result<()> {
        for slot in slots {
            monitor.check()?;
            match slot {
                Slot::Kept(kept) => self.kept(&kept)?,
                Slot::Batch(packed) => self.batch(packed.recv().map_err(threads::died)??, monitor)?,
                Slot::Large(parts) => self.large(&parts, monitor)?,
                Slot::Problem(problem) => self.problems.add(problem),
                Slot::LeftOut(left_out) => self.left_out = left_out,
                Slot::Note(note) => monitor.note(&format!("{}: {note}", self.spec.name)),
            }
            if self.open.as_ref().is_some_and(|a| a.compressed_bytes() >= self.options.volume_bytes) {
                self.end_volume()?;
            }
        }
        monitor.check()
    }

    fn batch(&mut self, packed: Packed, monitor: &dyn Monitor) -> Result<()> {
        packed.notes.iter().for_each(|note| monitor.note(&format!("{}: {note}", self.spec.name)));
        let place = self.place();
        for frame in &packed.frames {
            self.put(frame)?;
        }
        self.bytes_read += packed.bytes_read;
        packed.problems.into_iter().for_each(|p| self.problems.add(p));
        packed.lines.into_iter().try_for_each(|line| self.line(line, place, None))
    }

    fn large(&mut self, parts: &Receiver<Result<LargePart>>, monitor: &dyn Monitor) -> Result<()> {
        let place = self.place();
        let mut chunks = Vec::new();
        loop {
            monitor.check()?;
            match parts.recv().map_err(threads::died)?? {
                LargePart::Frame(receiver) => {
                    let ChunkedFrame { frame, chunks: more } = receiver.recv().map_err(threads::died)??;
                    self.put(&frame)?;
                    chunks.extend(more);
                }
                LargePart::Again => chunks.clear(),
                LargePart::Link(packed) => return self.batch(packed, monitor),
                LargePart::Done(done) => {
                    let LargeDone { line, problems, bytes_read } = *done;
                    self.bytes_read += bytes_read;
                    problems.into_iter().for_each(|p| self.problems.add(p));
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

    fn put(&mut self, frame: &PackedFrame) -> Result<()> {
        if self.open.is_none() {
            let sealer = &self.options.sealer;
            let name = archive_file_name(&self.spec.name, self.place().0, sealer.sealing().extension());
            self.open = Some(FramedWriter::new(self.staging.create_file(&name)?, sealer)?);
        }
        if let Some(archive) = &mut self.open {
            archive.put(&frame.compressed, frame.length)?;
        }
        Ok(())
    }

    /// What they refer to was noted where they were compared.
    fn kept(&mut self, kept: &Kept) -> Result<()> {
        self.add_content(kept.content_bytes);
        for line in kept.lines.split_inclusive(|&b| b == b'\n') {
            if self.spec.expect.max_age.is_some() {
                self.note_age(&Entry::parse_line(line)?);
            }
            match self.push_kept(line)? {
                Pushed::Taken => self.entries += 1,
                Pushed::Refused(why) => {
                    let path = line_path(line)?;
                    // It was counted with the others.
                    let size = Entry::parse_line(line).map_or(0, |entry| entry.size());
                    self.content_bytes = self.content_bytes.saturating_sub(size);
                    self.refuse(&path, why)?;
                }
            }
        }
        Ok(())
    }

    fn push_kept(&mut self, line: &[u8]) -> Result<Pushed> {
        if !self.refused.is_empty()
            && let Some(first) = self.lost_first(&Entry::parse_line(line)?)
        {
            return Ok(Pushed::Refused(lost_link(first)));
        }
        self.index.push_line(line)
    }

    fn line(&mut self, line: IndexLine, place: (u32, u64), chunks: Option<Vec<Chunk>>) -> Result<()> {
        let (pushed, entry, is_new) = match line {
            IndexLine::Kept(kept) => return self.kept(&kept),
            IndexLine::Same { line, entry } => match self.lost_first(&entry) {
                Some(first) => (Pushed::Refused(lost_link(first)), entry, false),
                None => (self.index.push_line(&line)?, entry, false),
            },
            IndexLine::New(mut entry) => {
                self.rebase(&mut entry, place, chunks);
                match self.lost_first(&entry) {
                    Some(first) => (Pushed::Refused(lost_link(first)), entry, true),
                    None => (self.index.push(&entry)?, entry, true),
                }
            }
        };
        match pushed {
            Pushed::Taken => {
                self.new_entries += u64::from(is_new);
                self.account(&entry);
            }
            Pushed::Refused(why) => self.refuse(entry.path.as_bytes(), why)?,
        }
        Ok(())
    }

    /// The first name of the same file, if it was refused.
    fn lost_first<'e>(&self, entry: &'e Entry) -> Option<&'e EntryPath> {
        let EntryKind::Hardlink { target } = &entry.kind else { return None };
        let is_lost = !self.refused.is_empty() && self.refused.contains(&Digest::of(target.as_bytes()));
        is_lost.then_some(target)
    }

    /// What readers would not take costs the entry, never the backup; of objects it costs the component.
    fn refuse(&mut self, path: &[u8], why: Error) -> Result<()> {
        let shown = escape_path(path).into_owned();
        if self.objects {
            let error = why.within(format!("cannot capture {shown}"));
            self.refused_object = Some(error.clone());
            return Err(error);
        }
        self.refused.insert(Digest::of(path));
        self.problems.add(Problem { kind: ProblemKind::Unsupported, path: shown, detail: why.one_line() });
        Ok(())
    }

    /// Turns offsets that are relative to the slot into offsets in the volume.
    fn rebase(&self, entry: &mut Entry, (volume, base): (u32, u64), inline_chunks: Option<Vec<Chunk>>) {
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

    fn note_age(&mut self, entry: &Entry) {
        // A folder changes when something in it is removed, too.
        if entry.kind != EntryKind::Dir && self.newest.is_none_or(|newest| newest < entry.mtime) {
            self.newest = Some(entry.mtime);
        }
    }

    fn account(&mut self, entry: &Entry) {
        self.note_age(entry);
        self.entries += 1;
        self.add_content(entry.size());
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

    /// Sparse files can promise more than any number of the format.
    fn add_content(&mut self, bytes: u64) {
        self.content_bytes = self.content_bytes.saturating_add(bytes).min(MAX_OFFSET);
    }

    /// An empty component is never what somebody wanted.
    fn note_emptiness(&mut self) {
        if self.entries > 0 || !self.problems.is_empty() {
            return;
        }
        for root in self.spec.paths() {
            let path = root_name(root).map_or_else(|_| "root".to_owned(), |name| name.to_string());
            let detail = "nothing of it was captured: it is a socket, or own data of the backup".to_owned();
            self.problems.add(Problem { kind: ProblemKind::Unsupported, path, detail });
        }
    }

    fn end_volume(&mut self) -> Result<()> {
        let Some(mut archive) = self.open.take() else { return Ok(()) };
        let mut compressed = Vec::new();
        Compressor::new(self.options.level)?.compress(&tar::END, &mut compressed)?;
        archive.put(&compressed, tar::END.len() as u64)?;
        let written = archive.finish()?;
        let (volume, _) = self.place();
        self.archives.push(ArchiveRecord {
            name: archive_file_name(&self.spec.name, volume, self.options.sealer.sealing().extension()),
            volume,
            size_bytes: written.size_bytes,
            sha256: written.sha256,
            tar_bytes: written.stream_bytes,
            frames: written.frames,
        });
        Ok(())
    }

    /// Ends the files and says what they hold, of a capture that began at `captured_from` and whose source says `facts`.
    pub(super) fn finish(mut self, captured_from: Moment, clock: Clock, facts: Option<Facts>) -> Result<Collected> {
        self.end_volume()?;
        self.note_emptiness();
        let source = facts.map(|facts| {
            facts.problems.into_iter().for_each(|problem| self.problems.add(problem));
            SourceRecord { version: facts.version, counts: facts.counts, facts: facts.facts }
        });
        let (problems, problem_counts) = self.problems.finish();
        let listed: Vec<_> = problems.iter().chain(&self.left_out.listed).cloned().collect();
        let totals = self.index.finish(&listed)?;
        self.depends_on.extend(totals.referenced);
        self.depends_on.remove(self.staging.id());
        let index = IndexRecord {
            name: index_file_name(&self.spec.name, self.options.sealer.sealing().extension()),
            size_bytes: totals.written.size_bytes,
            sha256: totals.written.sha256,
            segments: totals.segments,
            own_segments: totals.own_segments,
            table: Some(totals.table),
        };
        let stored: u64 = self.archives.iter().map(|a| a.size_bytes).sum();
        let left_out = self.left_out.count;
        let record = ComponentRecord {
            name: self.spec.name.clone(),
            kind: self.spec.source.kind().into(),
            captured_from,
            captured_until: clock.now(),
            entries: self.entries,
            new_entries: self.new_entries,
            content_bytes: self.content_bytes,
            bytes_read: self.bytes_read,
            bytes_stored: stored + index.size_bytes,
            archives: self.archives,
            index,
            problems: problem_counts,
            left_out: (left_out > 0).then_some(left_out),
            source,
        };
        Ok(Collected { record, depends_on: self.depends_on, problems, newest: self.newest })
    }
}

fn lost_link(first: &EntryPath) -> Error {
    Error::failed(format!("it is a hard link to {first}, which could not be stored"))
}
