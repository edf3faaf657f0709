//! The first bytes of a database file, and the names of the files beside it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// How every database file begins that holds a page.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of the header that are looked at.
pub(crate) const HEADER_BYTES: usize = 100;

/// Ends of the names of files that belong to a database, in the order of their names.
pub(crate) const COMPANIONS: [&str; 3] = ["-journal", "-shm", "-wal"];

/// Whether the file that begins so is a database.
pub(crate) fn is_database(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Whether the database that begins so is in WAL mode: then what is committed may lie beside the file.
pub(crate) fn is_in_wal_mode(start: &[u8]) -> bool {
    is_database(start) && (start.get(18) == Some(&2) || start.get(19) == Some(&2))
}

/// The path of a file that belongs to the database at `path`.
pub(crate) fn companion(path: &Path, end: &str) -> PathBuf {
    let mut text = OsString::from(path.as_os_str());
    text.push(end);
    text.into()
}

/// The name of the database to which a file with this name would belong.
pub(crate) fn database_of(name: &OsStr) -> Option<&[u8]> {
    let name = name.as_encoded_bytes();
    COMPANIONS.iter().find_map(|end| name.strip_suffix(end.as_bytes())).filter(|base| !base.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_companions_lead_to_their_database() {
        let of = |name: &'static str| database_of(OsStr::new(name));
        assert_eq!(of("a.db-wal"), Some(&b"a.db"[..]));
        assert_eq!(of("a.db-journal"), Some(&b"a.db"[..]));
        assert_eq!((of("-wal"), of("a.db"), of("a.db-wal2")), (None, None, None));
        assert_eq!(companion(Path::new("/x/a.db"), "-shm"), Path::new("/x/a.db-shm"));
    }

    #[test]
    fn a_header_tells_the_mode() {
        let mut start = [0; HEADER_BYTES];
        assert!(!is_database(&start) && !is_in_wal_mode(&start) && !is_database(b"SQLite"));
        start[..16].copy_from_slice(MAGIC);
        assert!(is_database(&start) && !is_in_wal_mode(&start));
        start[18] = 2;
        assert!(is_in_wal_mode(&start));
    }
}
