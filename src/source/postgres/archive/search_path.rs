//! An archive whose `search_path` is another one than the empty one that pg_dump writes.
//!
//! Restoring with an empty search path is safe, and fails where a function that a constraint, an index or a view calls
//! uses names without their schema. The archive comes from a pipe and so has no offsets: the statement may become longer.

use std::io::{self, Read};

use crate::error::Error;

/// The statement of the entry SEARCHPATH.
const STATEMENT: &[u8] = b"SELECT pg_catalog.set_config('search_path', '', false);\n";
/// The entry is the third of the table of contents.
const HEAD_BYTES: usize = 256 << 10;

/// Passes an archive on with another search path.
#[derive(Debug)]
pub(in crate::source::postgres) struct SearchPath<R> {
    from: R,
    path: String,
    head: Option<io::Cursor<Vec<u8>>>,
}

impl<R: Read> SearchPath<R> {
    /// `path` is the value as a setting has it, like `"$user", public`.
    pub(in crate::source::postgres) fn new(from: R, path: &str) -> Self {
        Self { from, path: path.to_owned(), head: None }
    }

    fn fill(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        (&mut self.from).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let old = with_length(STATEMENT);
        let at = head.windows(old.len()).position(|window| window == old);
        let at = at.ok_or_else(|| io::Error::other(Error::damage("the archive sets no empty search path")))?;
        let path = self.path.replace('\'', "''");
        let new = format!("SELECT pg_catalog.set_config('search_path', '{path}', false);\n");
        head.splice(at..at + old.len(), with_length(new.as_bytes()));
        Ok(head)
    }
}

fn with_length(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0];
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text);
    bytes
}

impl<R: Read> Read for SearchPath<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.head.is_none() {
            self.head = Some(io::Cursor::new(self.fill()?));
        }
        match self.head.as_mut().map(|head| head.read(buffer)).transpose()? {
            Some(0) | None => self.from.read(buffer),
            Some(n) => Ok(n),
        }
    }
}
