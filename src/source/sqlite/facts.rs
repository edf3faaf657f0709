//! What is in a database: whether it is sound, and how many rows each table has.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};

/// Most faults that are told.
const MAX_FAULTS: usize = 8;
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;

/// What is in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether `integrity_check` found it sound; none when there was no time to find out.
    pub(crate) sound: Option<bool>,
    /// What it found, the first few.
    pub(crate) faults: Vec<String>,
    /// Rows by table, virtual ones and those of SQLite itself left out. None when there was no time to count.
    pub(crate) rows: Option<BTreeMap<String, u64>>,
    /// Tables that could not be counted, with the reason.
    pub(crate) uncounted: BTreeMap<String, String>,
}

/// Looks at a database in the transaction that `connection` has open, until `until` if others wait.
pub(crate) fn of(connection: &mut Connection, until: Option<Instant>) -> rusqlite::Result<Facts> {
    if let Some(until) = until {
        connection.progress_handler(STEPS, Some(move || Instant::now() > until))?;
    }
    let facts = look(connection);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    facts
}

/// Looks at the bytes of a database that is not in WAL mode.
pub(crate) fn in_memory(bytes: Vec<u8>) -> rusqlite::Result<Facts> {
    let mut connection = Connection::open_in_memory()?;
    if !bytes.is_empty() {
        let length = bytes.len();
        connection.deserialize_read_exact("main", Cursor::new(bytes), length, true)?;
    }
    look(&connection)
}

fn look(connection: &Connection) -> rusqlite::Result<Facts> {
    let mut facts = Facts::default();
    // Rows first: they are compared when it is put back.
    match count_rows(connection, &mut facts.uncounted) {
        Ok(rows) => facts.rows = Some(rows),
        Err(e) if ran_out_of_time(&e) => return Ok(facts),
        Err(e) if is_damage(&e) => facts.faults.push(e.to_string()),
        Err(e) => return Err(e),
    }
    match integrity(connection) {
        Ok(mut faults) => facts.faults.append(&mut faults),
        Err(e) if ran_out_of_time(&e) => return Ok(facts),
        Err(e) if is_damage(&e) => facts.faults.push(e.to_string()),
        Err(e) => return Err(e),
    }
    facts.faults.truncate(MAX_FAULTS);
    facts.sound = Some(facts.faults.is_empty());
    Ok(facts)
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MAX_FAULTS})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    // One row may hold several lines; the first of them may say where it is.
    let lines = lines.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("***"));
    Ok(lines.filter(|line| *line != "ok").map(str::to_owned).collect())
}

fn count_rows(
    connection: &Connection,
    uncounted: &mut BTreeMap<String, String>,
) -> rusqlite::Result<BTreeMap<String, u64>> {
    // Virtual tables have no root page.
    let mut tables = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names = tables.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut rows = BTreeMap::new();
    for name in names {
        // NOT INDEXED: a damaged index must not decide how many rows there are.
        let query = format!("SELECT count(*) FROM \"{}\" NOT INDEXED", name.replace('"', "\"\""));
        match connection.query_row(&query, [], |row| row.get::<_, i64>(0)) {
            Ok(count) => {
                rows.insert(name, u64::try_from(count).unwrap_or_default());
            }
            Err(e) if ran_out_of_time(&e) || is_damage(&e) => return Err(e),
            // A collation or function that only its own program knows.
            Err(e) => {
                uncounted.insert(name, e.to_string());
            }
        }
    }
    Ok(rows)
}

fn ran_out_of_time(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
