//! Zstd frames and the seek table (FORMAT.md §9).
//!
//! A tar stream is cut into independent frames, so that any of them can be compressed and read alone, on any thread. A
//! table of their sizes in zstd's seekable format follows them in a skippable frame, which `zstd -d` ignores.
//!
//! Invariant: what is read is untrusted. No frame gives more bytes than the caller asked for, and a table is believed
//! only when its sums are the sizes that are there.

use std::fmt;

use zstd::zstd_safe::{self, CParameter, DParameter};

use crate::error::{Context as _, Error, Result};
pub use crate::model::MAX_FRAMES;

/// Input bytes of an ordinary frame.
pub const TARGET_FRAME_BYTES: usize = 4 << 20;
/// Most input bytes of any frame, written or accepted.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// Length of the footer that ends every table, in bytes.
pub const FOOTER_BYTES: usize = 9;

/// Most stored bytes of any frame: what zstd may need for [`MAX_FRAME_BYTES`] that do not compress.
const MAX_STORED_BYTES: u64 = (MAX_FRAME_BYTES + (MAX_FRAME_BYTES >> 8) + 1024) as u64;
/// `zstd -d` refuses larger windows unless it is told otherwise.
const WINDOW_LOG_MAX: u32 = 27;
const FRAME_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const TABLE_MAGIC: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
const SEEKABLE_MAGIC: [u8; 4] = 0x8F92_EAB1_u32.to_le_bytes();
const TABLE_HEADER_BYTES: usize = 8;
const TABLE_ENTRY_BYTES: usize = 8;

/// Makes frames; one for each thread that compresses.
pub struct Compressor {
    inner: zstd::bulk::Compressor<'static>,
    level: i32,
    sample: Vec<u8>,
}

impl Compressor {
    /// A compressor of the given zstd level. A level that zstd does not have is a usage error.
    pub fn new(level: i32) -> Result<Self> {
        let levels = zstd::compression_level_range();
        if !levels.contains(&level) {
            return Err(Error::usage(format!(
                "the compression level must be {} to {}, not {level}",
                levels.start(),
                levels.end()
            )));
        }
        let mut inner = zstd::bulk::Compressor::new(level).doing("cannot set up zstd")?;
        // The window never gets larger than the input, which keeps it below WINDOW_LOG_MAX at every level.
        inner.set_parameter(CParameter::ChecksumFlag(true)).doing("cannot set up zstd")?;
        inner.set_parameter(CParameter::ContentSizeFlag(true)).doing("cannot set up zstd")?;
        Ok(Self { inner, level, sample: Vec::new() })
    }

    /// Compresses `input`, at most [`MAX_FRAME_BYTES`], into one frame with checksum and content size. `out` is
    /// replaced; its capacity is reused. The same input and level give the same bytes.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        if input.len() > MAX_FRAME_BYTES {
            return Err(Error::failed(format!(
                "a frame can hold {MAX_FRAME_BYTES} bytes, {} were given to it",
                input.len()
            )));
        }
        let level = if self.hardly_compresses(input, out) { 1 } else { self.level };
        self.set_level(level)?;
        out.clear();
        out.reserve(zstd_safe::compress_bound(input.len()));
        let result = self.inner.compress_to_buffer(input, out).doing("zstd cannot compress a frame");
        if result.is_err() {
            out.clear(); // The context needs no reset: one-shot calls begin with one.
        }
        result.map(drop)
    }
}

/// Half the hash table that zstd has at its default level: two threads share the cache of a core. It takes 5 % less time
/// for 0.7 % more bytes of source code.
const HASH_LOG_OF_LEVEL_3: u32 = 16;

/// Samples that are tried before a large input is compressed, and the length of each, in bytes.
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 8 << 10;

impl Compressor {
    fn set_level(&mut self, level: i32) -> Result<()> {
        let hash_log = if level == 3 { HASH_LOG_OF_LEVEL_3 } else { 0 };
        let set = self.inner.set_parameter(CParameter::CompressionLevel(level));
        set.and_then(|()| self.inner.set_parameter(CParameter::HashLog(hash_log))).doing("cannot set up zstd")
    }

    /// Vectors and the like lose a tenth at any level, at level 1 in a third of the time. `scratch` is overwritten.
    fn hardly_compresses(&mut self, input: &[u8], scratch: &mut Vec<u8>) -> bool {
        if !(2..=9).contains(&self.level) || input.len() < 4 * SAMPLES * SAMPLE_BYTES {
            return false;
        }
        self.sample.clear();
        let step = input.len() / SAMPLES;
        self.sample.extend(input.chunks_exact(step).flat_map(|part| &part[..SAMPLE_BYTES]));
        scratch.reserve(zstd_safe::compress_bound(self.sample.len()));
        let tried = self.set_level(1).is_ok() && self.inner.compress_to_buffer(&self.sample, scratch).is_ok();
        tried && scratch.len() > self.sample.len() / 10 * 8
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Reads frames; one for each thread that decompresses.
pub struct Decompressor {
    inner: zstd::bulk::Decompressor<'static>,
}

impl Decompressor {
    /// A decompressor for any level.
    pub fn new() -> Result<Self> {
        let mut inner = zstd::bulk::Decompressor::new().doing("cannot set up zstd")?;
        inner.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).doing("cannot set up zstd")?;
        Ok(Self { inner })
    }

    /// Decompresses exactly one frame, `stored`, that must give exactly `length` bytes. `out` is replaced and its
    /// capacity reused; it never grows beyond `length`, whatever the frame claims, and is empty after an error.
    ///
    /// Everything that is not such a frame is damage, and so is a `length` above [`MAX_FRAME_BYTES`].
    pub fn decompress(&mut self, stored: &[u8], length: usize, out: &mut Vec<u8>) -> Result<()> {
        let result = self.decompress_checked(stored, length, out);
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn decompress_checked(&mut self, stored: &[u8], length: usize, out: &mut Vec<u8>) -> Result<()> {
        if length > MAX_FRAME_BYTES {
            return Err(Error::damage(format!("a frame of {length} bytes is larger than {MAX_FRAME_BYTES} bytes")));
        }
        if !stored.starts_with(&FRAME_MAGIC) {
            return Err(Error::damage("a zstd frame was expected and something else is stored"));
        }
        // zstd would go on with a second frame after the first; the seek table allows only one.
        match zstd_safe::find_frame_compressed_size(stored) {
            Ok(size) if size == stored.len() => {}
            Ok(size) => {
                return Err(Error::damage(format!("a zstd frame ends after {size} of {} stored bytes", stored.len())));
            }
            Err(code) => return Err(bad_frame(code)),
        }
        check_header(stored)?;
        match zstd_safe::get_frame_content_size(stored) {
            Ok(None) => return Err(Error::damage("a zstd frame does not say the size of its content")),
            Ok(Some(size)) if size == length as u64 => {}
            Ok(Some(size)) => {
                return Err(Error::damage(format!("a zstd frame holds {size} bytes, the seek table says {length}")));
            }
            Err(_) => return Err(Error::damage("a zstd frame has a broken header")),
        }
        // A slice, not the vector itself, is given to zstd: a vector's spare capacity would raise the limit.
        out.resize(length, 0);
        match self.inner.decompress_to_buffer(stored, out.as_mut_slice()) {
            Ok(size) if size == length => Ok(()),
            Ok(size) => Err(Error::damage(format!("a zstd frame gave {size} bytes, the seek table says {length}"))),
            Err(error) => Err(Error::damage("a zstd frame cannot be decompressed").because(error)),
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// What a frame's header must say beside the size: that a checksum follows, no dictionary, a window within the limit.
/// With the size these are the bits of RFC 8878 §3.1.1.1; zstd itself looks at the window only where it reads a stream.
fn check_header(stored: &[u8]) -> Result<()> {
    let &[descriptor, window, ..] = stored.get(FRAME_MAGIC.len()..).unwrap_or_default() else {
        return Err(Error::damage("a zstd frame has a broken header"));
    };
    if descriptor & 0b100 == 0 {
        return Err(Error::damage("a zstd frame has no checksum"));
    }
    if descriptor & 0b11 != 0 {
        return Err(Error::damage("a zstd frame needs a dictionary"));
    }
    // A frame in one segment has no such byte: its window is its content.
    let (exponent, eighths) = (u32::from(window >> 3), u64::from(window & 7));
    let base = 1_u64 << (10 + exponent);
    if descriptor & 0b10_0000 == 0 && base + base / 8 * eighths > 1 << WINDOW_LOG_MAX {
        return Err(Error::damage("a zstd frame has a window beyond the limit"));
    }
    Ok(())
}

fn bad_frame(code: usize) -> Error {
    Error::damage(format!("a zstd frame is broken: {}", zstd_safe::get_error_name(code)))
}

/// What the header of a zstd frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the header itself in bytes.
    pub length: u64,
    /// Length of the content in bytes.
    pub content: u64,
    /// Whether a checksum of 4 bytes stands after the last block.
    pub has_checksum: bool,
}

/// Reads the header of a frame of a known content size, which every frame of ours has.
pub fn frame_header(bytes: &[u8]) -> Result<FrameHeader> {
    let bad = || Error::damage("a zstd frame was expected and something else is stored");
    let flags = bytes.strip_prefix(&FRAME_MAGIC).and_then(|rest| rest.first()).ok_or_else(bad)?;
    let content = zstd_safe::get_frame_content_size(bytes).ok().flatten().ok_or_else(bad)?;
    let is_single = flags >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
    let size = [is_single, 2, 4, 8][usize::from(flags >> 6)];
    let length = FRAME_MAGIC.len() as u64 + 1 + u64::from(1 - is_single) + dictionary + u64::from(size);
    Ok(FrameHeader { length, content, has_checksum: flags & 4 != 0 })
}

/// Where a frame is, stored and in the decompressed stream; all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// Offset of the frame in the stored stream.
    pub stored_offset: u64,
    /// Length of the frame as it is stored.
    pub stored_length: u64,
    /// Offset of its content in the decompressed stream.
    pub offset: u64,
    /// Length of its content.
    pub length: u64,
}

/// The frames of a stream, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeekTable {
    /// Where each frame ends: stored, decompressed.
    ends: Vec<(u64, u64)>,
}

impl SeekTable {
    /// Adds the next frame by its stored and its decompressed length in bytes. Lengths that no frame can have are
    /// damage.
    pub fn push(&mut self, stored: u64, length: u64) -> Result<()> {
        if stored == 0 || stored > MAX_STORED_BYTES || length > MAX_FRAME_BYTES as u64 {
            return Err(Error::damage(format!(
                "the seek table cannot hold a frame of {stored} stored bytes and {length} bytes"
            )));
        }
        if self.ends.len() >= MAX_FRAMES {
            return Err(Error::damage(format!("the seek table cannot hold more than {MAX_FRAMES} frames")));
        }
        self.ends.push((self.stored_size() + stored, self.size() + length));
        Ok(())
    }

    /// Appends the table as a skippable frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        // MAX_FRAMES keeps both numbers, and MAX_STORED_BYTES every length, within 32 bits.
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let entries = self.ends.len() * TABLE_ENTRY_BYTES;
        out.reserve(TABLE_HEADER_BYTES + entries + FOOTER_BYTES);
        out.extend(TABLE_MAGIC);
        out.extend(small((entries + FOOTER_BYTES) as u64));
        for at in 0..self.ends.len() {
            let span = self.frame(at);
            out.extend(small(span.stored_length));
            out.extend(small(span.length));
        }
        out.extend(small(self.ends.len() as u64));
        out.push(0);
        out.extend(SEEKABLE_MAGIC);
    }

    /// Reads the table at the end of `tail`, which must reach back to its start at least; `payload_size` is the number
    /// of stored bytes before the table. Untrusted: the frames must add up to exactly `payload_size`.
    pub fn parse(tail: &[u8], payload_size: u64) -> Result<Self> {
        let footer = tail.last_chunk().ok_or_else(|| Error::damage("the seek table is cut"))?;
        let size = Self::table_size_from_footer(footer)?;
        let table = usize::try_from(size)
            .ok()
            .and_then(|size| tail.len().checked_sub(size))
            .and_then(|start| tail.get(start..))
            .ok_or_else(|| Error::damage(format!("the seek table claims {size} bytes, {} are there", tail.len())))?;
        let claim = size - TABLE_HEADER_BYTES as u64;
        let (head, rest) = table.split_at(TABLE_HEADER_BYTES);
        if head[..4] != TABLE_MAGIC || u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as u64 != claim {
            return Err(Error::damage("the seek table does not start where its footer says"));
        }
        let (entries, _) = rest.split_at(rest.len() - FOOTER_BYTES);
        let mut read = Self { ends: Vec::with_capacity(entries.len() / TABLE_ENTRY_BYTES) };
        for e in entries.chunks_exact(TABLE_ENTRY_BYTES) {
            let stored = u32::from_le_bytes([e[0], e[1], e[2], e[3]]);
            let length = u32::from_le_bytes([e[4], e[5], e[6], e[7]]);
            read.push(stored.into(), length.into())?;
        }
        if read.stored_size() != payload_size {
            return Err(Error::damage(format!(
                "the frames of the seek table have {} bytes, {payload_size} are stored",
                read.stored_size()
            )));
        }
        Ok(read)
    }

    /// Bytes of the whole table, to be read from the end of the stream, by its last nine bytes. At most about 1 GiB;
    /// compare it with the size of the stream before reading.
    pub fn table_size_from_footer(footer: &[u8; FOOTER_BYTES]) -> Result<u64> {
        let [n0, n1, n2, n3, descriptor, magic @ ..] = *footer;
        if magic != SEEKABLE_MAGIC {
            return Err(Error::damage("the stream does not end with a seek table"));
        }
        if descriptor != 0 {
            return Err(Error::damage(format!("the seek table has the descriptor {descriptor}, not 0")));
        }
        let frames = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        if frames > MAX_FRAMES {
            return Err(Error::damage(format!("the seek table claims {frames} frames, more than {MAX_FRAMES}")));
        }
        Ok((TABLE_HEADER_BYTES + frames * TABLE_ENTRY_BYTES + FOOTER_BYTES) as u64)
    }

    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.ends.len()
    }

    /// The span of frame `at`.
    ///
    /// # Panics
    /// When `at` is not below [`Self::frames`].
    #[must_use]
    pub fn frame(&self, at: usize) -> FrameSpan {
        let (stored_offset, offset) = at.checked_sub(1).map_or((0, 0), |before| self.ends[before]);
        let (stored_end, end) = self.ends[at];
        FrameSpan { stored_offset, stored_length: stored_end - stored_offset, offset, length: end - offset }
    }

    /// The frame that holds the byte at `offset` of the decompressed stream; none after its end.
    #[must_use]
    pub fn find(&self, offset: u64) -> Option<usize> {
        let at = self.ends.partition_point(|&(_, end)| end <= offset);
        (at < self.ends.len()).then_some(at)
    }

    /// Stored bytes of all frames, without the table.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        self.ends.last().map_or(0, |end| end.0)
    }

    /// Decompressed bytes of all frames.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.ends.last().map_or(0, |end| end.1)
    }
}

#[cfg(test)]
mod tests;
