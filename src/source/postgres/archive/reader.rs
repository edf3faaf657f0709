//! An archive on its way: passes its bytes on, looks at each, and ends only where a whole one ends.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::parser::Parser;
use super::summary::Summary;
use crate::error::{Context as _, Error, Result};

/// Where the summary lies once the stream has ended well.
pub(in crate::source::postgres) type SharedSummary = Arc<Mutex<Option<Summary>>>;

/// Passes an archive on with its time stamp fixed. Its end is an error unless the archive is whole.
#[derive(Debug)]
pub(in crate::source::postgres) struct ArchiveReader<R> {
    from: R,
    parser: Option<Parser>,
    summary: SharedSummary,
    failed: Option<Error>,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads from `from`.
    pub(in crate::source::postgres) fn new(from: R) -> Self {
        Self { from, parser: Some(Parser::default()), summary: SharedSummary::default(), failed: None }
    }

    /// Where the summary will lie.
    pub(in crate::source::postgres) fn summary(&self) -> SharedSummary {
        Arc::clone(&self.summary)
    }

    fn fail(&mut self, error: Error) -> io::Error {
        self.parser = None;
        self.failed = Some(error.clone());
        io::Error::other(error)
    }
}

impl<R: Read> Read for ArchiveReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(io::Error::other(error.clone()));
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(parser) = &mut self.parser else { return Ok(0) };
        let n = self.from.read(buffer)?;
        let bytes = buffer.get_mut(..n).unwrap_or_default();
        if let Err(error) = parser.feed(bytes) {
            return Err(self.fail(error));
        }
        if n == 0 {
            match self.parser.take().unwrap_or_default().finish() {
                Ok(summary) => *self.summary.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary),
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(n)
    }
}

/// Reads an archive to its end and says what it holds.
pub(in crate::source::postgres) fn read_archive(from: impl Read) -> Result<Summary> {
    let mut reader = ArchiveReader::new(from);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => {
                if read.doing("cannot read the archive")? == 0 {
                    break;
                }
            }
        }
    }
    let summary = reader.summary.lock().unwrap_or_else(PoisonError::into_inner).take();
    summary.ok_or_else(|| Error::failed("the archive ended without a summary"))
}
