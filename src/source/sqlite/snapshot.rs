//! One consistent state of a database, as the bytes of a database file, while others go on writing.
//!
//! A read transaction is held open, and the pages are read through SQLite itself, by the table `sqlite_dbpage`: so what lies
//! in the write-ahead log is in them, memory stays flat, and nothing lies anywhere in clear. The bytes are those that the file
//! would have after a checkpoint: equal data are equal bytes.
//!
//! The alternatives were measured (docs/SOURCES.md): SQLite's backup call does the same page by page under the same lock, but
//! writes a database, which is either in memory whole or on the disk in clear, and it gives the copy a schema number of its own;
//! `sqlite3_serialize` gives the same bytes as here, all in memory at once. The latter stands in for small databases where
//! the library was built without `sqlite_dbpage`.
//!
//! Writers: in WAL mode nobody waits, and the log cannot be reset before the end. In the other modes a reader keeps writers from
//! committing, so there the pages are copied at once ([`Hold`]) and the lock is given back before anything else is done.
//!
//! Invariant: bytes count only after [`Snapshot::finish`] said that the locks under which they were read were never lost.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::facts::{self, Facts};
use super::header::{HEADER_BYTES, companion, is_database, is_in_wal_mode};
use super::hold::{Hold, MEMORY_BYTES};
use super::locks::{NotLocked, OwnLocks};
use crate::error::{Context as _, Error, Result, path_text};

/// How long a writer that has the database locked is waited for.
const BUSY: Duration = Duration::from_secs(10);
/// How long writers may be kept waiting for anything but the copying of the pages: most programs wait 5 seconds.
const LOCKED_CHECKS: Duration = Duration::from_secs(2);
const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NOFOLLOW);
/// Memory of SQLite's page cache, in KiB.
const CACHE_KIB: i64 = 4096;
/// Without `sqlite_dbpage`, larger databases are refused; in bytes.
const MAX_SERIALIZED_BYTES: u64 = 256 << 20;

/// What is wanted of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Where pages may be kept sealed for a moment.
    pub(crate) scratch: &'a Path,
    /// Whether the database is checked and its rows are counted.
    pub(crate) facts: bool,
    /// Whether a transaction that a crash cut short may be rolled back in the database itself, as every program would do
    /// that opens it.
    pub(crate) recover: bool,
}

/// One state of a database.
pub(crate) struct Snapshot {
    // Before `file`: a file that is closed takes the locks of the connection with it.
    pages: Mutex<Pages>,
    locks: Option<OwnLocks>,
    file: File,
    /// The metadata of a file that nobody had open when it was opened without locks.
    at_rest: Option<Metadata>,
    path: PathBuf,
    bytes: u64,
    page_bytes: u64,
    mode: String,
    facts: Option<Facts>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({:?}, {} bytes)", self.path, self.bytes)
    }
}

/// Where the pages come from.
enum Pages {
    /// From the database, in its transaction.
    Live(Live),
    /// The transaction has ended.
    Held(Hold),
}

struct Live {
    connection: Connection,
    page_bytes: usize,
    /// The page that was read last, and its number.
    last: (u64, Vec<u8>),
}

impl Snapshot {
    /// Begins a snapshot of the database at `path`, an absolute path without links.
    pub(crate) fn open(path: &Path, wanted: Wanted<'_>) -> Result<Self> {
        let file = File::open(path).at("cannot open", path)?;
        let metadata = file.metadata().at("cannot stat", path)?;
        let start = start_of(&file).at("cannot read", path)?;
        if metadata.len() > 0 && !is_database(&start) {
            let message = format!("{} is not a SQLite database", path_text(path));
            return Err(Error::failed(message).hint("an encrypted database looks so, too: capture it as a file"));
        }
        let said = |e: rusqlite::Error| error_of(path, &e);
        let rests = is_in_wal_mode(&start) && is_at_rest(path);
        if rests {
            return Self::of_one_at_rest(path, file, metadata, wanted);
        }
        let mut connection = begin(path, READ_ONLY).or_else(|error| {
            if wanted.recover && needs_recovery(&error) {
                // The first program that opens it rolls back; it does so by the journal, under a lock.
                drop(
                    begin(path, OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NOFOLLOW))
                        .map_err(said)?,
                );
                return begin(path, READ_ONLY).map_err(said);
            }
            Err(said(error))
        })?;
        let locks = OwnLocks::on(path, metadata.ino()).map_err(|NotLocked| replaced(path))?;
        let now = path.symlink_metadata().at("cannot stat", path)?;
        if (now.dev(), now.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(replaced(path));
        }
        let mode: String = pragma(&connection, "journal_mode").map_err(said)?;
        let mut snapshot = Self::new(path, file, &connection, mode)?;
        snapshot.locks = locks;
        if !has_page_table(&connection) {
            let hold = serialized(&mut connection, snapshot.bytes, path)?;
            snapshot.facts = wanted.facts.then(|| facts::of(&mut connection, None)).transpose().map_err(said)?;
            return snapshot.release(connection, hold);
        }
        let mut live = Live::new(connection, snapshot.page_bytes);
        if snapshot.is_wal() {
            snapshot.facts = wanted.facts.then(|| facts::of(&mut live.connection, None)).transpose().map_err(said)?;
            snapshot.pages = Mutex::new(Pages::Live(live));
            return Ok(snapshot);
        }
        let hold = Hold::fill(snapshot.bytes, MEMORY_BYTES, wanted.scratch, |part, at| read_exact(&mut live, part, at));
        let hold = hold.map_err(|e| io_error(path, e))?;
        if let Hold::Memory(all) = &hold {
            let all = all.clone();
            let snapshot = snapshot.release(live.connection, hold)?;
            let facts = wanted.facts.then(|| facts::in_memory(all)).transpose().map_err(said)?;
            return Ok(Self { facts, ..snapshot });
        }
        if wanted.facts {
            let until = Instant::now() + LOCKED_CHECKS;
            snapshot.facts = Some(facts::of(&mut live.connection, Some(until)).map_err(said)?);
        }
        snapshot.release(live.connection, hold)
    }

    fn new(path: &Path, file: File, connection: &Connection, mode: String) -> Result<Self> {
        let number = |name| {
            let number = pragma::<i64>(connection, name).map_err(|e| error_of(path, &e))?;
            Ok::<_, Error>(u64::try_from(number).unwrap_or(0))
        };
        let (pages, page_bytes) = (number("page_count")?, number("page_size")?);
        let bytes = pages.saturating_mul(page_bytes);
        let pages = Mutex::new(Pages::Held(Hold::Memory(Vec::new())));
        let path = path.to_owned();
        Ok(Self { pages, locks: None, file, at_rest: None, path, bytes, page_bytes, mode, facts: None })
    }

    /// In WAL mode the first who opens a database makes files beside it, which is not for a backup to do. While nobody has it
    /// open the file alone is the database, and a change of it shows.
    fn of_one_at_rest(path: &Path, file: File, metadata: Metadata, wanted: Wanted<'_>) -> Result<Self> {
        let said = |e: rusqlite::Error| error_of(path, &e);
        let mut connection =
            begin(Path::new(&immutable(path)), READ_ONLY | OpenFlags::SQLITE_OPEN_URI).map_err(said)?;
        let mut snapshot = Self::new(path, file, &connection, "wal".to_owned())?;
        snapshot.at_rest = Some(metadata);
        snapshot.facts = wanted.facts.then(|| facts::of(&mut connection, None)).transpose().map_err(said)?;
        let pages = if has_page_table(&connection) {
            Pages::Live(Live::new(connection, snapshot.page_bytes))
        } else {
            Pages::Held(serialized(&mut connection, snapshot.bytes, path)?)
        };
        snapshot.pages = Mutex::new(pages);
        snapshot.finish()?;
        Ok(snapshot)
    }

    /// Ends the transaction; all pages are held.
    fn release(mut self, connection: Connection, hold: Hold) -> Result<Self> {
        self.check_locks()?;
        drop(connection);
        self.locks = None;
        self.pages = Mutex::new(Pages::Held(hold));
        Ok(self)
    }

    /// Length of the database file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length of a page in bytes.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// The journal mode: `wal`, `delete`, …
    pub(crate) fn mode(&self) -> &str {
        &self.mode
    }

    /// The file itself, for its metadata. It must not be closed, nor a copy of it, before the snapshot is dropped.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What was counted, if that was wanted.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    fn is_wal(&self) -> bool {
        self.mode == "wal"
    }

    /// Reads some bytes at `offset`; 0 at the end.
    pub(crate) fn read_at(&self, part: &mut [u8], offset: u64) -> io::Result<usize> {
        match &mut *self.pages.lock().unwrap_or_else(PoisonError::into_inner) {
            Pages::Live(live) => live.read_at(part, offset, self.bytes),
            Pages::Held(hold) => hold.read_at(part, offset),
        }
    }

    /// Says whether all that was read is one state: to be called after the last read, before anything counts.
    pub(crate) fn finish(&self) -> Result<()> {
        if let Some(before) = &self.at_rest {
            let now = self.file.metadata().at("cannot stat", &self.path)?;
            let seen = |m: &Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
            if seen(before) != seen(&now) {
                let path = path_text(&self.path);
                return Err(Error::failed(format!("{path} was opened and written to while it was read; try again")));
            }
        }
        self.check_locks()
    }

    fn check_locks(&self) -> Result<()> {
        if self.locks.as_ref().is_none_or(OwnLocks::still_held) {
            return Ok(());
        }
        let path = path_text(&self.path);
        Err(Error::failed(format!("the lock on {path} was lost while it was read, so what was read is not one state")))
    }
}

impl Live {
    fn new(connection: Connection, page_bytes: u64) -> Self {
        Self { connection, page_bytes: usize::try_from(page_bytes).unwrap_or_default(), last: (0, Vec::new()) }
    }

    fn read_at(&mut self, part: &mut [u8], offset: u64, bytes: u64) -> io::Result<usize> {
        let page_bytes = self.page_bytes;
        let mut done = 0;
        while done < part.len() && offset + (done as u64) < bytes {
            let at = offset + done as u64;
            let number = at / page_bytes as u64 + 1;
            if self.last.0 != number {
                self.last.0 = 0;
                self.read_page(number).map_err(|e| io::Error::other(e.to_string()))?;
                self.last.0 = number;
            }
            let inside = usize::try_from(at % page_bytes as u64).map_err(io::Error::other)?;
            let from = &self.last.1[inside..];
            let n = from.len().min(part.len() - done);
            part[done..done + n].copy_from_slice(&from[..n]);
            done += n;
        }
        Ok(done)
    }

    fn read_page(&mut self, number: u64) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?;
        let mut rows = statement.query([i64::try_from(number).unwrap_or(i64::MAX)])?;
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let data = row.get_ref(0)?.as_blob()?;
        if data.len() != self.page_bytes {
            return Err(rusqlite::Error::InvalidQuery);
        }
        self.last.1.clear();
        self.last.1.extend_from_slice(data);
        Ok(())
    }
}

fn read_exact(live: &mut Live, part: &mut [u8], at: u64) -> io::Result<()> {
    let n = live.read_at(part, at, u64::MAX)?;
    if n == part.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The name by which SQLite reads a file that nobody changes, without locks, and without looking for or making anything beside it.
pub(crate) fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}

/// Whether nobody has the database open, which is in WAL mode, and everything is in its file. Who opens it makes the `-shm` file
/// first.
pub(crate) fn is_at_rest(path: &Path) -> bool {
    let length = |end| companion(path, end).symlink_metadata().map(|m| m.len());
    length("-shm").is_err() && length("-wal").unwrap_or(0) == 0
}

/// Opens a database and begins a read transaction in it.
fn begin(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.execute_batch("BEGIN")?;
    // The transaction begins with the first reading.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// A transaction that was cut short has to be rolled back first, and who only reads cannot do that.
fn needs_recovery(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(e, _)
        if e.extended_code == ffi::SQLITE_READONLY_ROLLBACK || e.extended_code == ffi::SQLITE_READONLY_RECOVERY)
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn has_page_table(connection: &Connection) -> bool {
    connection.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1").is_ok()
}

fn serialized(connection: &mut Connection, bytes: u64, path: &Path) -> Result<Hold> {
    if bytes > MAX_SERIALIZED_BYTES {
        let limit = MAX_SERIALIZED_BYTES >> 20;
        let text = format!("{} has more than {limit} MiB, and this program cannot stream it", path_text(path));
        return Err(Error::failed(text).hint("it was built without LIBSQLITE3_FLAGS=-DSQLITE_ENABLE_DBPAGE_VTAB"));
    }
    let data = connection.serialize("main").map_err(|e| error_of(path, &e))?;
    Ok(Hold::Memory(data.to_vec()))
}

/// The first bytes of a file; fewer when it is shorter.
pub(crate) fn start_of(file: &File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; HEADER_BYTES];
    let n = file.read_at(&mut start, 0)?;
    start.truncate(n);
    Ok(start)
}

/// The error of a call about the database at `path`.
pub(crate) fn error_of(path: &Path, error: &rusqlite::Error) -> Error {
    let path = path_text(path);
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{path} was locked by another program for {} seconds", BUSY.as_secs())
        }
        Some(ErrorCode::NotADatabase) => format!("{path} is not a SQLite database, or it is encrypted"),
        Some(ErrorCode::DatabaseCorrupt) => format!("the database {path} is damaged"),
        _ if needs_recovery(error) => {
            format!("{path} holds a transaction that a crash cut short, which has to be rolled back first")
        }
        _ => format!("cannot read the database {path}"),
    };
    Error::failed(message).because(io::Error::other(error.to_string()))
}

fn io_error(path: &Path, error: io::Error) -> Error {
    Error::failed(format!("cannot read the database {}", path_text(path))).because(error)
}

fn replaced(path: &Path) -> Error {
    Error::failed(format!("{} was replaced by another file while it was opened", path_text(path)))
}

/// Reads a snapshot from its beginning to its end, which is reached only when it is one state.
#[derive(Debug)]
pub(crate) struct SnapshotReader<'a> {
    snapshot: &'a Snapshot,
    at: u64,
}

impl<'a> SnapshotReader<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, at: 0 }
    }
}

impl io::Read for SnapshotReader<'_> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let n = self.snapshot.read_at(part, self.at)?;
        self.at += n as u64;
        if n == 0 && !part.is_empty() {
            if self.at != self.snapshot.bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.snapshot.finish().map_err(io::Error::other)?;
        }
        Ok(n)
    }
}
