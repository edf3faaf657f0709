//! The output of a capture, and what makes it whole.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::CommandConfig;
use crate::error::{Error, Kind, Result};
use crate::process::Stream;

/// Where the end marker must stand: within so many bytes from the end.
const END: usize = 4096;

/// Ends well only after its program did, and when it is what is expected.
#[derive(Debug)]
pub(super) struct Output<'a> {
    stream: Stream<'a>,
    marker: Option<String>,
    min_bytes: u64,
    bytes: Arc<AtomicU64>,
    /// The last bytes, [`END`] at least if there were as many.
    end: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(super) fn new(stream: Stream<'a>, config: &CommandConfig) -> Self {
        let (marker, min_bytes) = (config.end_marker.clone(), config.min_bytes);
        Self { stream, marker, min_bytes, bytes: Arc::default(), end: Vec::new() }
    }

    /// Counts the bytes that were read.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    fn remember(&mut self, part: &[u8]) {
        self.bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
        if self.marker.is_none() {
            return;
        }
        let part = &part[part.len().saturating_sub(END)..];
        self.end.extend_from_slice(part);
        if self.end.len() > 4 * END {
            self.end.drain(..self.end.len() - END);
        }
    }

    fn is_whole(&self) -> Result<()> {
        let incomplete = |message: String| Err(Error::new(Kind::Incomplete, message));
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes < self.min_bytes {
            return incomplete(format!(
                "the program ended well after {bytes} bytes, at least {} are expected",
                self.min_bytes
            ));
        }
        let Some(marker) = &self.marker else { return Ok(()) };
        let end = &self.end[self.end.len().saturating_sub(END)..];
        if end.windows(marker.len()).any(|window| window == marker.as_bytes()) {
            return Ok(());
        }
        incomplete("the program ended well, but the end marker is not in the last 4096 bytes of its output".to_owned())
    }
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = self.stream.read(buffer)?;
        if length == 0 {
            self.is_whole()?;
        }
        self.remember(&buffer[..length]);
        Ok(length)
    }
}
