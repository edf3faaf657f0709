//! Reads an RDB to its end, and keeps what it holds in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use super::sort::{Sorted, Sorter};
use crate::error::{Error, Kind, Result};
use crate::source::redis::rdb::{Checksum, Form, Item, MODULE_VALUE, RdbReader, Sink, type_name};

/// Values about the whole that change by themselves.
const VOLATILE: [&[u8]; 5] = [b"ctime", b"used-mem", b"repl-stream-db", b"repl-id", b"repl-offset"];
/// Bytes that all which is not a record may have together.
const MAX_HEAD: usize = 128 << 20;

/// What is counted of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source::redis) struct DatabaseCounts {
    /// Keys.
    pub(in crate::source::redis) keys: u64,
    /// Keys with a time of expiry.
    pub(in crate::source::redis) expiring: u64,
    /// Keys whose time had come when the RDB was begun. A server that loads it as a master drops them.
    pub(in crate::source::redis) expired: u64,
}

/// Keeps the first bytes of a value: the id of its type.
struct Noticing<'a> {
    sink: &'a mut dyn Sink,
    start: &'a mut Vec<u8>,
}

impl Sink for Noticing<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let missing = 9_usize.saturating_sub(self.start.len());
        self.start.extend(bytes.iter().take(missing));
        self.sink.put(bytes)
    }
}

/// All of an RDB.
#[derive(Debug)]
pub(in crate::source::redis) struct Gathered {
    /// Version of the format.
    pub(in crate::source::redis) version: u32,
    /// What the checksum at its end said.
    pub(in crate::source::redis) checksum: Checksum,
    /// Bytes it had.
    pub(in crate::source::redis) bytes: u64,
    /// Values about the whole that change by themselves, as text.
    pub(in crate::source::redis) volatile: BTreeMap<String, String>,
    /// Counts of each database that has keys.
    pub(in crate::source::redis) databases: BTreeMap<u32, DatabaseCounts>,
    /// Tables that were too large to be sorted.
    pub(in crate::source::redis) unsorted: u64,
    /// The eviction clock was in it, and was left out.
    pub(in crate::source::redis) clocks: bool,
    /// The code of the libraries of functions, sorted.
    pub(in crate::source::redis) functions: Vec<Vec<u8>>,
    /// Names of the types of modules in it.
    pub(in crate::source::redis) module_types: BTreeSet<String>,
    pub(super) aux: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) modules_before: Vec<Vec<u8>>,
    pub(super) modules_after: Vec<Vec<u8>>,
    pub(super) sorter: Sorter,
}

impl Gathered {
    /// Reads all that `reader` gives. Records beyond `memory` bytes go to a sealed file below `scratch`. `step` is told of the bytes read, now and then, and may stop it.
    pub(in crate::source::redis) fn read<R: Read>(
        reader: &mut RdbReader<R>,
        scratch: &Path,
        memory: usize,
        step: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Self> {
        let mut all = Self {
            version: reader.version(),
            checksum: Checksum::Off,
            bytes: 0,
            volatile: BTreeMap::new(),
            databases: BTreeMap::new(),
            unsorted: 0,
            clocks: false,
            functions: Vec::new(),
            module_types: BTreeSet::new(),
            aux: Vec::new(),
            modules_before: Vec::new(),
            modules_after: Vec::new(),
            sorter: Sorter::new(scratch, memory),
        };
        let mut began = i64::MIN;
        let mut told = 0;
        let mut head = 0;
        let mut bounded = |bytes: usize| {
            head += bytes + 64;
            if head <= MAX_HEAD {
                return Ok(());
            }
            Err(Error::new(Kind::Incomplete, format!("the RDB holds more than {MAX_HEAD} bytes beside its keys")))
        };
        while let Some(item) = reader.next()? {
            match item {
                Item::Aux(name, value) => {
                    bounded(name.len() + value.len())?;
                    if name == b"ctime" {
                        let seconds = String::from_utf8_lossy(&value).parse::<i64>().unwrap_or(0);
                        began = seconds.saturating_mul(1000);
                    }
                    if VOLATILE.contains(&name.as_slice()) {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(100).collect::<String>();
                        all.volatile.insert(text(&name), text(&value));
                    } else {
                        all.aux.push((name, value));
                    }
                }
                Item::Function(code) => {
                    bounded(code.len())?;
                    all.functions.push(code);
                }
                Item::ModuleAux(bytes, after) => {
                    bounded(bytes.len())?;
                    all.module_types.insert(type_name(&bytes[1..]));
                    if after { all.modules_after.push(bytes) } else { all.modules_before.push(bytes) }
                }
                Item::Record(head) => {
                    let counts = all.databases.entry(head.database).or_default();
                    counts.keys += 1;
                    counts.expiring += u64::from(head.expires.is_some());
                    counts.expired += u64::from(head.expires.is_some_and(|at| at < began));
                    let of_module = head.kind == MODULE_VALUE;
                    let mut start = Vec::new();
                    let unsorted = all.sorter.add(head, |sink| {
                        if of_module {
                            reader.value(Form::Canonical, &mut Noticing { sink, start: &mut start })
                        } else {
                            reader.value(Form::Canonical, sink)
                        }
                    })?;
                    if of_module {
                        let name = type_name(&start);
                        if !all.module_types.contains(&name) {
                            bounded(name.len())?;
                            all.module_types.insert(name);
                        }
                    }
                    all.unsorted += u64::from(unsorted);
                }
                Item::End(checksum) => all.checksum = checksum,
            }
            let position = reader.position();
            if position - told >= 1 << 18 {
                step(position - told)?;
                told = position;
            }
        }
        all.bytes = reader.position();
        step(all.bytes - told)?;
        all.clocks = reader.has_clocks();
        all.functions.sort_unstable();
        Ok(all)
    }

    /// Keys of all databases.
    pub(in crate::source::redis) fn keys(&self) -> u64 {
        self.databases.values().map(|counts| counts.keys).sum()
    }

    /// Names of what modules wrote cannot be told; whether there was anything.
    pub(in crate::source::redis) fn has_modules(&self) -> bool {
        !self.modules_before.is_empty() || !self.modules_after.is_empty()
    }

    /// The records alone, in order.
    pub(in crate::source::redis) fn records(self) -> Result<Sorted> {
        self.sorter.sorted()
    }
}
