//! A child whose output is read, or whose input is written, piece by piece.

use std::fmt;
use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use super::child::Running;
use super::ended::Output;
use crate::error::{Error, Result};

/// What a child writes to its standard output. What it does not read of the input it was given is no error. It ends with `Ok(0)` only after the child ended well; else with an error of
/// ours ([`Error`] inside the `io::Error`), and every further read repeats it. Dropped before that, the child is ended.
pub struct Stream<'a> {
    child: Running<'a>,
    input: Zeroizing<Vec<u8>>,
    written: usize,
    /// The verdict, once it is known.
    end: Option<Result<()>>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(child: Running<'a>, input: Zeroizing<Vec<u8>>) -> Self {
        Self { child, input, written: 0, end: None }
    }

    /// All of it, if that is not more than `max` bytes.
    pub(super) fn into_output(mut self, max: u64) -> Result<Output> {
        let (mut stdout, mut buffer) = (Vec::new(), Zeroizing::new([0; 8192]));
        loop {
            let length = self.fill(&mut *buffer)?;
            if length == 0 {
                return Ok(Output { stdout, stderr: self.stderr() });
            }
            if stdout.len() as u64 + length as u64 > max {
                return Err(self.child.too_much(max));
            }
            stdout.extend_from_slice(&buffer[..length]);
        }
    }

    /// The last 8 KiB of its standard error so far, without secrets.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.child.stderr()
    }

    #[cfg(test)]
    pub(super) fn child_end(&self) -> Option<super::ended::End> {
        self.child.watched.shared.end()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            if self.written == self.input.len() && self.child.stdin.is_some() {
                self.child.close_stdin();
            }
            let moved = self.child.step(&self.input[self.written..], buffer)?;
            self.written += moved.written;
            if moved.read > 0 {
                return Ok(moved.read);
            }
            if moved.is_end || (self.child.stdout.is_none() && self.child.stdin.is_none()) {
                self.child.conclude()?;
                return Ok(0);
            }
        }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(end) = &self.end {
            return end.clone().map(|()| 0).map_err(io::Error::from);
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let filled = self.fill(buffer);
        match &filled {
            Ok(0) => self.end = Some(Ok(())),
            Ok(_) => {}
            Err(error) => self.end = Some(Err(error.clone())),
        }
        filled.map_err(io::Error::from)
    }
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("program", &self.child.name).finish_non_exhaustive()
    }
}

/// The standard input of a child. What it writes meanwhile is kept up to a bound. [`Feed::finish`] must be called: dropped
/// before, the child is ended as if it had failed.
pub struct Feed<'a> {
    child: Running<'a>,
    stdout: Vec<u8>,
    max: u64,
    /// The first error; every further call repeats it.
    failed: Option<Error>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(child: Running<'a>, max: u64) -> Self {
        Self { child, stdout: Vec::new(), max, failed: None }
    }

    /// Closes the input, waits for the end, and gives what it wrote.
    pub fn finish(mut self) -> Result<Output> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.child.close_stdin();
        while self.child.stdout.is_some() {
            if self.exchange(&[])?.1 {
                break;
            }
        }
        self.child.conclude()?;
        Ok(Output { stderr: self.child.stderr(), stdout: self.stdout })
    }

    #[cfg(test)]
    pub(super) fn child_id(&self) -> i32 {
        self.child.watched.group.as_raw_pid()
    }

    /// Bytes that were taken, and whether the child takes and gives no more.
    fn exchange(&mut self, input: &[u8]) -> Result<(usize, bool)> {
        let mut buffer = Zeroizing::new([0; 8192]);
        let moved = self.child.step(input, &mut *buffer)?;
        if self.stdout.len() as u64 + moved.read as u64 > self.max {
            return Err(self.child.too_much(self.max));
        }
        self.stdout.extend_from_slice(&buffer[..moved.read]);
        Ok((moved.written, moved.is_end))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<usize> {
        loop {
            if self.child.stdin.is_none() {
                // Why it takes no more says its end; that it ended well is no excuse.
                self.child.conclude()?;
                return Err(Error::failed(format!("{} ended before it had read all its input", self.child.name)));
            }
            let (written, is_end) = self.exchange(bytes)?;
            if written > 0 {
                return Ok(written);
            }
            if is_end {
                self.child.close_stdin();
            }
        }
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        self.push(bytes).map_err(|error| {
            self.failed = Some(error.clone());
            error.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("program", &self.child.name).finish_non_exhaustive()
    }
}
