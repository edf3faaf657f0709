//! The stream of an object as it comes: looked at first, for a short one is a document, then cut into chunks.

use std::io::{self, Read};

use super::stream::Fill;
use crate::archive::frame::TARGET_FRAME_BYTES;
use crate::monitor::Monitor;

/// A stream that ends before this many bytes is a document.
const DOCUMENT_BYTES: usize = TARGET_FRAME_BYTES;

/// A stream, read to its end at most once.
pub(super) struct Input<'r> {
    stream: Box<dyn Read + Send + 'r>,
    /// What was read to see whether it is a document.
    head: Vec<u8>,
    at: usize,
    ended: bool,
    monitor: &'r dyn Monitor,
}

impl<'r> Input<'r> {
    pub(super) fn new(stream: Box<dyn Read + Send + 'r>, monitor: &'r dyn Monitor) -> Self {
        Self { stream, head: Vec::new(), at: 0, ended: false, monitor }
    }

    /// What was looked at.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads what may be a document. True when that was all.
    pub(super) fn look(&mut self) -> io::Result<bool> {
        let mut head = vec![0; DOCUMENT_BYTES];
        let read = self.fill(&mut head)?;
        head.truncate(read);
        self.head = head;
        Ok(self.ended)
    }
}

impl Fill for Input<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kept = (self.head.len() - self.at).min(buffer.len());
        buffer[..kept].copy_from_slice(&self.head[self.at..self.at + kept]);
        self.at += kept;
        let mut done = kept;
        while done < buffer.len() && !self.ended {
            match self.stream.read(&mut buffer[done..]) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    done += n;
                    self.monitor.throttle(n as u64);
                    self.monitor.advance(n as u64, 0);
                    self.monitor.check().map_err(io::Error::other)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}
