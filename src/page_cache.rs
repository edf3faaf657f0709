//! Leaves the host's page cache to its services: what a backup reads or writes once must not push out what they need.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// Archives up to this size stay in the cache: most are verified or restored soon after they were made. In bytes.
pub const KEPT_BYTES: u64 = 256 << 20;
/// How often [`Trail`] does something, and how much it leaves behind the position, in bytes.
const STEP_BYTES: u64 = 16 << 20;

/// `RWF_DONTCACHE` of Linux 6.14: what was not in the cache before is dropped after it was read.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Reads at an offset, leaving the cache as it is where kernel and file system can.
pub fn read_once_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if !REFUSED.load(Ordering::Relaxed) {
        match preadv2(file, &mut [IoSliceMut::new(buffer)], offset, DONT_CACHE) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => REFUSED.store(true, Ordering::Relaxed),
            result => return Ok(result?),
        }
    }
    Ok(rustix::io::pread(file, buffer, offset)?)
}

/// Fills the buffer from an offset, as [`read_once_at`] does.
pub fn read_once_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match read_once_at(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Follows a position that runs through an archive from its beginning, and clears the cache behind it. Only for files of
/// our own: it also drops what others have in the cache.
#[derive(Debug, Default)]
pub struct Trail {
    written: u64,
    cleared: u64,
}

impl Trail {
    /// All before this byte was read.
    pub fn read_to(&mut self, file: &File, position: u64) {
        if position >= KEPT_BYTES && position - self.cleared >= STEP_BYTES {
            self.cleared = position;
            advise(file, 0, position - STEP_BYTES);
        }
    }

    /// All before this byte was written. Lets it begin to go to the disk, so that the sync at the end has little to do.
    pub fn written_to(&mut self, file: &File, position: u64) {
        if position - self.written >= STEP_BYTES {
            // What is not on the disk yet stays in the cache: this only starts to write it.
            advise(file, self.written, position - self.written);
            self.written = position;
            self.read_to(file, position);
        }
    }
}

/// Only advice: a file system that does not take it does everything later.
fn advise(file: &File, offset: u64, length: u64) {
    fadvise(file, offset, NonZero::new(length), Advice::DontNeed).ok();
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn reading_once_gives_the_same_bytes_and_notices_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&content).unwrap();
        let mut buffer = vec![0; 300_000];
        read_once_exact_at(&file, &mut buffer, 7).unwrap();
        assert_eq!(buffer, content[7..300_007]);
        assert_eq!(read_once_at(&file, &mut buffer, 399_990).unwrap(), 10);
        let error = read_once_exact_at(&file, &mut buffer, 100_001).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
