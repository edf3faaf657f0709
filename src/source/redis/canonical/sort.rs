//! Records in the order of database and key, however many there are: sorted in memory up to a bound, in sealed runs beyond it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::sealed::{Extent, ExtentReader, SealedFile, Writing};
use crate::error::{Error, Kind, Result};
use crate::source::redis::rdb::{Input, RecordHead, Sink};

/// Bytes of records that are usually sorted in memory.
pub(in crate::source::redis) const MEMORY: usize = 32 << 20;
/// Runs that are merged at once.
const RUNS: usize = 128;
/// Bytes of a value from which on it goes to the scratch file by itself.
const LARGE: usize = 256 << 10;
/// What a record costs beside its bytes.
const RECORD_COST: usize = 128;

/// The bytes of a value, without its type.
#[derive(Debug)]
pub(in crate::source::redis) enum Value {
    /// In memory.
    Held(Vec<u8>),
    /// In the scratch file.
    Stored(Extent),
}

impl Value {
    /// Bytes of it.
    pub(in crate::source::redis) fn length(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Stored(extent) => extent.length,
        }
    }
}

/// A key with its value.
#[derive(Debug)]
pub(in crate::source::redis) struct Record {
    pub(in crate::source::redis) head: RecordHead,
    pub(in crate::source::redis) value: Value,
}

impl Record {
    fn order(&self) -> (u32, &[u8]) {
        (self.head.database, &self.head.key)
    }
}

/// Takes records in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    folder: PathBuf,
    file: Option<SealedFile>,
    records: Vec<Record>,
    bytes: usize,
    run_bytes: usize,
    runs: VecDeque<Extent>,
}

impl Sorter {
    /// What does not fit into so many bytes of memory goes, sealed, to a file without a name below `folder`.
    pub(super) fn new(folder: &Path, run_bytes: usize) -> Self {
        let folder = folder.to_owned();
        Self { folder, file: None, records: Vec::new(), bytes: 0, run_bytes, runs: VecDeque::new() }
    }

    /// Takes a record, whose value is what `write` puts into the sink.
    pub(super) fn add<T>(&mut self, head: RecordHead, write: impl FnOnce(&mut dyn Sink) -> Result<T>) -> Result<T> {
        let mut large = Large { folder: &self.folder, file: Slot::Closed(&mut self.file), held: Vec::new() };
        let written = write(&mut large)?;
        let Large { file, held, .. } = large;
        let value = match file {
            Slot::Open(writing) => Value::Stored(writing.end()?),
            Slot::Closed(_) | Slot::Taken => Value::Held(held),
        };
        self.bytes += head.key.len() + RECORD_COST + if let Value::Held(bytes) = &value { bytes.len() } else { 0 };
        self.records.push(Record { head, value });
        if self.bytes > self.run_bytes {
            self.flush()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.records.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        let file = opened(&mut self.file, &self.folder)?;
        let mut run = file.extent();
        for record in self.records.drain(..) {
            write(&record, &mut run)?;
        }
        self.runs.push_back(run.end()?);
        self.bytes = 0;
        Ok(())
    }

    /// All were added: gives them in their order. Only now runs are merged: while records come a server waits at the other end,
    /// and ends a transfer that stands still.
    pub(super) fn sorted(mut self) -> Result<Sorted> {
        self.records.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        let merge = match &mut self.file {
            Some(file) => {
                while self.runs.len() > RUNS {
                    // As many as leave no more than can be merged at once; the oldest, so that few are copied twice.
                    let count = RUNS.min(self.runs.len() - RUNS + 1);
                    let oldest: Vec<Extent> = self.runs.drain(..count).collect();
                    let mut merged = Merge::of(file, &oldest, Vec::new())?;
                    let mut run = file.extent();
                    while let Some(record) = merged.next()? {
                        write(&record, &mut run)?;
                    }
                    self.runs.push_back(run.end()?);
                }
                Merge::of(file, self.runs.make_contiguous(), self.records)?
            }
            None => Merge::begin(vec![Run::Held(self.records.into_iter())])?,
        };
        Ok(Sorted { merge, file: self.file, last: None })
    }
}

fn opened<'a>(file: &'a mut Option<SealedFile>, folder: &Path) -> Result<&'a mut SealedFile> {
    Ok(match file {
        Some(file) => file,
        none => none.insert(SealedFile::create(folder)?),
    })
}

/// Holds a value, or stores it once it is large.
struct Large<'a> {
    folder: &'a Path,
    file: Slot<'a>,
    held: Vec<u8>,
}

enum Slot<'a> {
    Closed(&'a mut Option<SealedFile>),
    Open(Writing<'a>),
    Taken,
}

impl Sink for Large<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if let Slot::Open(writing) = &mut self.file {
            return writing.put(bytes);
        }
        if self.held.len() + bytes.len() <= LARGE {
            return self.held.put(bytes);
        }
        if let Slot::Closed(file) = std::mem::replace(&mut self.file, Slot::Taken) {
            let mut writing = opened(file, self.folder)?.extent();
            writing.put(&std::mem::take(&mut self.held))?;
            writing.put(bytes)?;
            self.file = Slot::Open(writing);
        }
        Ok(())
    }
}

/// Records in order.
#[derive(Debug)]
pub(in crate::source::redis) struct Sorted {
    merge: Merge,
    file: Option<SealedFile>,
    last: Option<(u32, Vec<u8>)>,
}

impl Sorted {
    /// The next record. A key that is there twice is an error: no server would load it.
    pub(in crate::source::redis) fn next(&mut self) -> Result<Option<Record>> {
        let Some(record) = self.merge.next()? else { return Ok(None) };
        if let Some((database, key)) = &mut self.last {
            if (*database, key.as_slice()) == record.order() {
                let message = format!("the RDB is damaged: a key is twice in database {database}");
                return Err(Error::new(Kind::Incomplete, message));
            }
            *database = record.head.database;
            key.clone_from(&record.head.key);
        } else {
            self.last = Some((record.head.database, record.head.key.clone()));
        }
        Ok(Some(record))
    }

    /// The bytes of a value that this gave.
    pub(in crate::source::redis) fn open<'v>(&self, value: &'v Value) -> Result<ValueReader<'v>> {
        Ok(match (value, &self.file) {
            (Value::Held(bytes), _) => ValueReader::Held(bytes),
            (Value::Stored(extent), Some(file)) => ValueReader::Stored(file.read(*extent)),
            (Value::Stored(_), None) => return Err(Error::failed("a value lies in a scratch file of another run")),
        })
    }
}

/// The bytes of a value.
#[derive(Debug)]
pub(in crate::source::redis) enum ValueReader<'v> {
    /// From memory.
    Held(&'v [u8]),
    /// From the scratch file.
    Stored(ExtentReader),
}

impl Read for ValueReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Held(bytes) => bytes.read(buffer),
            Self::Stored(reader) => reader.read(buffer),
        }
    }
}

/// Several sorted runs as one.
#[derive(Debug)]
struct Merge {
    heads: BinaryHeap<Reverse<Head>>,
}

#[derive(Debug)]
struct Head {
    record: Record,
    run: Run,
}

#[derive(Debug)]
enum Run {
    Held(std::vec::IntoIter<Record>),
    Stored(Box<Input<ExtentReader>>, u64),
}

impl Merge {
    fn of(file: &SealedFile, runs: &[Extent], held: Vec<Record>) -> Result<Self> {
        let stored = runs.iter().map(|run| Run::Stored(Box::new(Input::new(file.read(*run))), run.length));
        Self::begin(stored.chain([Run::Held(held.into_iter())]).collect())
    }

    fn begin(runs: Vec<Run>) -> Result<Self> {
        let mut heads = BinaryHeap::new();
        for mut run in runs {
            if let Some(record) = run.next()? {
                heads.push(Reverse(Head { record, run }));
            }
        }
        Ok(Self { heads })
    }

    fn next(&mut self) -> Result<Option<Record>> {
        let Some(Reverse(Head { record, mut run })) = self.heads.pop() else { return Ok(None) };
        if let Some(record) = run.next()? {
            self.heads.push(Reverse(Head { record, run }));
        }
        Ok(Some(record))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.record.order().cmp(&other.record.order())
    }
}

const HAS_EXPIRY: u8 = 1;
const IS_STORED: u8 = 2;

fn write(record: &Record, run: &mut Writing<'_>) -> Result<()> {
    let Record { head, value } = record;
    let stored = matches!(value, Value::Stored(_));
    let flags = if head.expires.is_some() { HAS_EXPIRY } else { 0 } | if stored { IS_STORED } else { 0 };
    run.put(&[flags, head.kind])?;
    run.put(&head.database.to_le_bytes())?;
    run.put(&head.expires.unwrap_or(0).to_le_bytes())?;
    run.put(&(head.key.len() as u64).to_le_bytes())?;
    run.put(&head.key)?;
    run.put(&value.length().to_le_bytes())?;
    match value {
        Value::Held(bytes) => run.put(bytes),
        Value::Stored(extent) => run.put(&extent.first.to_le_bytes()),
    }
}

impl Run {
    fn next(&mut self) -> Result<Option<Record>> {
        let (input, length) = match self {
            Self::Held(records) => return Ok(records.next()),
            Self::Stored(input, length) => (input, *length),
        };
        if input.position() == length {
            return Ok(None);
        }
        let [flags, kind] = input.array()?;
        let database = u32::from_le_bytes(input.array()?);
        let expires = i64::from_le_bytes(input.array()?);
        let expires = (flags & HAS_EXPIRY != 0).then_some(expires);
        let mut key = Vec::new();
        let length = u64::from_le_bytes(input.array()?);
        input.copy(length, &mut key)?;
        let length = u64::from_le_bytes(input.array()?);
        let value = if flags & IS_STORED != 0 {
            Value::Stored(Extent { first: u64::from_le_bytes(input.array()?), length })
        } else {
            let mut bytes = Vec::new();
            input.copy(length, &mut bytes)?;
            Value::Held(bytes)
        };
        Ok(Some(Record { head: RecordHead { database, key, expires, kind }, value }))
    }
}
