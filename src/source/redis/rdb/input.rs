//! Bytes of an RDB, read once from front to back: counted, summed up, and never more of them held than somebody asked for.
//!
//! Invariant: a length that the stream claims allocates nothing. Memory grows only with bytes that have come.

use std::fmt;
use std::io::{ErrorKind, Read};

use super::crc64::crc64;
use crate::error::{Error, Kind, Result};

/// Bytes that are asked for at once.
const BUFFER: usize = 64 * 1024;

/// Takes the bytes of one value, piece by piece.
pub(in crate::source::redis) trait Sink {
    /// The next bytes.
    fn put(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Takes bytes that nobody wants.
#[derive(Debug)]
pub(in crate::source::redis) struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A stream with a position and a running checksum over all that was taken from it.
pub(in crate::source::redis) struct Input<R> {
    inner: R,
    /// What is read, for errors.
    what: &'static str,
    buffer: Box<[u8]>,
    /// What is taken next.
    at: usize,
    /// Bytes in the buffer.
    end: usize,
    /// Where in the buffer the checksum stands.
    summed: usize,
    crc: u64,
    /// Bytes that were taken and have left the buffer.
    before: u64,
}

impl<R> fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input at {}", self.position())
    }
}

impl<R> Input<R> {
    /// What the bytes come from.
    pub(in crate::source::redis) fn inner(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Bytes taken so far.
    pub(in crate::source::redis) fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// Forgets checksum and position: what follows is `what`, and counts from here.
    pub(in crate::source::redis) fn restart(&mut self, what: &'static str) {
        self.what = what;
        self.buffer.copy_within(self.at..self.end, 0);
        (self.end, self.at) = (self.end - self.at, 0);
        (self.summed, self.crc, self.before) = (0, 0, 0);
    }

    /// The checksum over all that was taken.
    pub(in crate::source::redis) fn checksum(&mut self) -> u64 {
        self.crc = crc64(self.crc, &self.buffer[self.summed..self.at]);
        self.summed = self.at;
        self.crc
    }
}

impl<R: Read> Input<R> {
    /// Reads an RDB from `inner`.
    pub(in crate::source::redis) fn new(inner: R) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { inner, what: "the RDB", buffer, at: 0, end: 0, summed: 0, crc: 0, before: 0 }
    }

    /// At least one byte that comes next; empty only at the end of the stream.
    pub(in crate::source::redis) fn peek(&mut self) -> Result<&[u8]> {
        if self.at == self.end {
            self.checksum();
            self.before += self.at as u64;
            (self.at, self.end, self.summed) = (0, 0, 0);
            loop {
                match self.inner.read(&mut self.buffer) {
                    Ok(count) => {
                        self.end = count;
                        break;
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(reading(e, self.what)),
                }
            }
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn more(&mut self) -> Result<&[u8]> {
        let (position, what) = (self.position(), self.what);
        let bytes = self.peek()?;
        if bytes.is_empty() {
            let message = format!("the stream ended after {position} bytes, in the middle of {what}");
            return Err(Error::new(Kind::Incomplete, message));
        }
        Ok(bytes)
    }

    /// One byte.
    pub(in crate::source::redis) fn byte(&mut self) -> Result<u8> {
        let byte = self.more()?[0];
        self.at += 1;
        Ok(byte)
    }

    /// Exactly `N` bytes.
    pub(in crate::source::redis) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        let mut filled = 0;
        while filled < N {
            let bytes = self.more()?;
            let count = bytes.len().min(N - filled);
            array[filled..filled + count].copy_from_slice(&bytes[..count]);
            filled += count;
            self.at += count;
        }
        Ok(array)
    }

    /// Hands exactly `count` bytes on.
    pub(in crate::source::redis) fn copy(&mut self, count: u64, sink: &mut dyn Sink) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let bytes = self.more()?;
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink.put(&bytes[..count])?;
            left -= count as u64;
            self.at += count;
        }
        Ok(())
    }
}

/// An error of this crate inside of an I/O error is told as it is.
fn reading(e: std::io::Error, what: &str) -> Error {
    let kind = e.kind();
    match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) if matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            Error::new(Kind::TimedOut, format!("nothing came any more in the middle of {what}")).because(e)
        }
        Err(e) if matches!(kind, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
            Error::new(Kind::Incomplete, format!("the connection broke in the middle of {what}")).because(e)
        }
        Err(e) => Error::failed(format!("cannot read {what}")).because(e),
    }
}
