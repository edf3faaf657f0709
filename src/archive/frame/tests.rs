use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

/// Bytes that compress to about a half.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 60).unwrap()
    };
    (0..length).map(|_| next()).collect()
}

fn frame_of(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(3).unwrap().compress(input, &mut out).unwrap();
    out
}

/// Numbers between 0 and 1, of which only the exponents repeat.
fn vectors(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from_bits(0x3f80_0000 | u32::try_from(state >> 41).unwrap()) - 1.0
    };
    (0..length / 4).flat_map(|_| next().to_le_bytes()).collect()
}

#[test]
fn only_what_hardly_compresses_is_spared_the_effort_and_it_comes_back_the_same() {
    let by_level = |level: i32, input: &[u8]| {
        let mut out = Vec::new();
        let mut compressor = Compressor::new(level).unwrap();
        compressor.compress(input, &mut out).unwrap();
        // A second use shows whether the first has changed the level for good.
        compressor.compress(input, &mut out).unwrap();
        out
    };
    let (hard, easy) = (vectors(1 << 20), sample(1 << 20));
    assert_eq!(by_level(3, &hard), by_level(1, &hard));
    assert_ne!(by_level(3, &easy), by_level(1, &easy));
    assert_ne!(by_level(19, &easy), by_level(3, &easy));
    assert_eq!(open(&frame_of(&hard), hard.len()).unwrap(), hard);
    // One frame of each kind, in turn, with one compressor.
    let (stored, table) = stream(&[&hard, &easy, &hard, &easy[..1000]]);
    assert_eq!(stored.len() as u64, {
        let parts = [&hard[..], &easy, &hard, &easy[..1000]];
        let size: usize = parts.iter().map(|part| by_level(3, part).len()).sum();
        size as u64 + (stored.len() as u64 - table.stored_size())
    });
}

fn open(stored: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Decompressor::new()?.decompress(stored, length, &mut out).map(|()| out)
}

/// A stream of frames with its table.
fn stream(parts: &[&[u8]]) -> (Vec<u8>, SeekTable) {
    let (mut table, mut stream, mut out) = (SeekTable::default(), Vec::new(), Vec::new());
    let mut compressor = Compressor::new(3).unwrap();
    for part in parts {
        compressor.compress(part, &mut out).unwrap();
        table.push(out.len() as u64, part.len() as u64).unwrap();
        stream.extend_from_slice(&out);
    }
    table.write(&mut stream);
    (stream, table)
}

fn read_table(stream: &[u8]) -> Result<SeekTable> {
    let size = SeekTable::table_size_from_footer(stream.last_chunk().unwrap())?;
    SeekTable::parse(stream, (stream.len() as u64).saturating_sub(size))
}

fn store(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn zstd_tool(arguments: &[&str], file: &Path) -> Output {
    Command::new("zstd").args(arguments).arg(file).output().expect("the tool `zstd` must be installed")
}

fn is_damage<T: fmt::Debug>(result: Result<T>, words: &str) {
    let error = result.expect_err(words);
    assert_eq!(error.kind(), Kind::Damage, "{error}");
    assert!(error.one_line().contains(words), "{:?} does not say {words:?}", error.one_line());
}

#[test]
fn frames_come_back_and_buffers_are_reused() {
    let (mut compressor, mut decompressor) = (Compressor::new(1).unwrap(), Decompressor::new().unwrap());
    let (mut stored, mut out) = (Vec::new(), vec![9; 100]);
    for input in [sample(100_000), vec![], vec![0; 70_000], b"x".to_vec()] {
        compressor.compress(&input, &mut stored).unwrap();
        decompressor.decompress(&stored, input.len(), &mut out).unwrap();
        assert_eq!(out, input);
    }
    assert!(out.capacity() >= 100_000);
}

#[test]
fn zstd_reads_a_stream_of_frames_with_its_table() {
    let data = sample(300_000);
    let (bytes, _) = stream(&[&data[..100_000], &data[100_000..250_000], &data[250_000..]]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.zst");
    store(&file, &bytes);
    let test = zstd_tool(&["-tq"], &file);
    assert!(test.status.success(), "{test:?}");
    let plain = zstd_tool(&["-dcq"], &file);
    assert!(plain.status.success() && plain.stdout == data);
    let list = String::from_utf8(zstd_tool(&["-lv"], &file).stdout).unwrap();
    for line in ["# Zstandard Frames: 3", "# Skippable Frames: 1", "Check: XXH64"] {
        assert!(list.contains(line), "{line}: {list}");
    }
}

#[test]
fn every_level_stays_within_the_window_that_zstd_reads_by_default() {
    let input = vec![b'a'; MAX_FRAME_BYTES];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.zst");
    for level in [-7, 1, 19, 22] {
        let mut out = Vec::new();
        Compressor::new(level).unwrap().compress(&input, &mut out).unwrap();
        store(&file, &out);
        assert!(zstd_tool(&["-tq"], &file).status.success(), "level {level}");
    }
    assert_eq!(Compressor::new(99).unwrap_err().kind(), Kind::Usage);
    let mut out = Vec::new();
    assert!(Compressor::new(1).unwrap().compress(&[&input[..], b"x"].concat(), &mut out).is_err());
}

#[test]
fn zeekstd_reads_our_table_and_we_read_its() {
    let data = sample(500_000);
    let (bytes, _) = stream(&[&data[..200_000], &data[200_000..200_001], &data[200_001..]]);
    let mut decoder = zeekstd::Decoder::new(std::io::Cursor::new(&bytes)).unwrap();
    let mut all = Vec::new();
    decoder.read_to_end(&mut all).unwrap();
    assert!(all == data);
    decoder.set_offset(199_990).unwrap();
    decoder.set_offset_limit(200_020).unwrap();
    let mut part = Vec::new();
    decoder.read_to_end(&mut part).unwrap();
    assert!(part == data[199_990..200_020]);

    let mut theirs = Vec::new();
    let policy = zeekstd::FrameSizePolicy::Uncompressed(70_000);
    let mut encoder = zeekstd::EncodeOptions::new().frame_size_policy(policy).into_encoder(&mut theirs).unwrap();
    encoder.write_all(&data).unwrap();
    encoder.finish().unwrap();
    let table = read_table(&theirs).unwrap();
    assert!(table.frames() >= 8 && table.size() == data.len() as u64, "{table:?}");
    // Its frames do not say their size, so they are no frames of ours.
    let mut joined = Vec::new();
    for at in 0..table.frames() {
        let span = table.frame(at);
        let from = usize::try_from(span.stored_offset).unwrap();
        let stored = &theirs[from..from + usize::try_from(span.stored_length).unwrap()];
        let content = zstd::bulk::decompress(stored, span.length.try_into().unwrap()).unwrap();
        assert_eq!(content.len() as u64, span.length);
        joined.extend(content);
    }
    assert!(joined == data);
}

#[test]
fn the_frame_of_an_offset_is_found() {
    let mut table = SeekTable::default();
    assert_eq!((table.find(0), table.size(), table.frames()), (None, 0, 0));
    for (stored, length) in [(20, 10), (9, 0), (30, 5)] {
        table.push(stored, length).unwrap();
    }
    let found: Vec<_> = [0, 9, 10, 14, 15, u64::MAX].iter().map(|&at| table.find(at)).collect();
    assert_eq!(found, [Some(0), Some(0), Some(2), Some(2), None, None]);
    assert_eq!(table.frame(2), FrameSpan { stored_offset: 29, stored_length: 30, offset: 10, length: 5 });
    assert_eq!((table.stored_size(), table.size()), (59, 15));
}

#[test]
fn a_frame_that_holds_more_or_less_than_the_table_says_is_refused() {
    let bomb = frame_of(&vec![0; 32 << 20]);
    let mut out = Vec::with_capacity(64 << 20);
    let error = Decompressor::new().unwrap().decompress(&bomb, 1000, &mut out).unwrap_err();
    assert!(error.kind() == Kind::Damage && out.is_empty());
    is_damage(open(&bomb, (32 << 20) + 1), "the seek table says");
    is_damage(open(&bomb, MAX_FRAME_BYTES + 1), "larger than");
}

#[test]
fn a_frame_without_a_content_size_is_refused_before_it_can_burst() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&vec![0; 8 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert_eq!(zstd_safe::get_frame_content_size(&bomb).ok(), Some(None), "the frame was to hide its size");
    let mut out = Vec::with_capacity(16 << 20);
    let error = Decompressor::new().unwrap().decompress(&bomb, 4096, &mut out).unwrap_err();
    assert!(error.kind() == Kind::Damage && out.is_empty(), "{error:?}");
    is_damage(open(&bomb, 8 << 20), "does not say the size");
}

#[test]
fn each_frame_has_a_checksum_no_dictionary_and_a_window_within_the_limit() {
    let input = sample(10_000);
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    is_damage(open(&compressor.compress(&input).unwrap(), input.len()), "no checksum");
    let good = frame_of(&input);
    let with_descriptor = |bits: u8| [&good[..4], &[good[4] | bits, good[5]], &good[6..]].concat();
    // One more byte is a part of the header then, so that nothing else fits either; it must not be accepted.
    assert!(open(&with_descriptor(1), input.len()).is_err());
    // The same content in one raw block, by hand, with a window of its own.
    let content = b"twenty bytes of text";
    let checksum = frame_of(content).split_off(frame_of(content).len() - 4);
    let by_hand = |descriptor: u8, window: &[u8], size: &[u8]| {
        let block = (1 | content.len() << 3).to_le_bytes();
        [&FRAME_MAGIC[..], &[descriptor], window, size, &block[..3], content, &checksum].concat()
    };
    let size = [20, 0, 0, 0];
    assert_eq!(open(&by_hand(0b1010_0100, &[], &size), 20).unwrap(), content);
    assert_eq!(open(&by_hand(0b1000_0100, &[17 << 3], &size), 20).unwrap(), content);
    is_damage(open(&by_hand(0b1000_0100, &[17 << 3 | 1], &size), 20), "window");
    assert!(open(&by_hand(0b1000_0100, &[0xff], &size), 20).is_err());
    is_damage(open(&by_hand(0b0000_0100, &[0], &[]), 20), "does not say the size");
}

#[test]
fn changed_cut_and_doubled_frames_are_refused_and_the_next_frame_is_read() {
    let input = sample(10_000);
    let good = frame_of(&input);
    let mut changed = good.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    is_damage(open(&changed, input.len()), "cannot be decompressed");
    is_damage(open(&good[..last], input.len()), "broken");
    is_damage(open(&[&good[..], &good[..]].concat(), input.len()), "ends after");
    is_damage(open(b"", 0), "something else");
    let mut skippable = Vec::new();
    SeekTable::default().write(&mut skippable);
    is_damage(open(&skippable, 0), "something else");
    let mut decompressor = Decompressor::new().unwrap();
    let mut out = Vec::new();
    assert!(decompressor.decompress(&changed, input.len(), &mut out).is_err());
    decompressor.decompress(&good, input.len(), &mut out).unwrap();
    assert!(out == input);
}

#[test]
fn lying_tables_are_refused() {
    let (good, table) = stream(&[&sample(1000), &sample(2000)]);
    assert_eq!(read_table(&good).unwrap(), table);
    let end = good.len();
    let table_start = end - (8 + 2 * 8 + 9);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    is_damage(read_table(&with(end - 1, 0)), "does not end with a seek table");
    is_damage(read_table(&with(end - 5, 0x80)), "descriptor 128");
    is_damage(read_table(&with(end - 6, 0xff)), "frames, more than");
    is_damage(read_table(&with(end - 7, 0x07)), "are there");
    is_damage(read_table(&with(end - 9, 1)), "does not start where");
    is_damage(read_table(&with(table_start, 0)), "does not start where");
    is_damage(read_table(&with(table_start + 4, 1)), "does not start where");
    is_damage(read_table(&with(table_start + 8, good[table_start + 8].wrapping_add(1))), "are stored");
    is_damage(read_table(&with(table_start + 15, 0x80)), "cannot hold a frame");
    is_damage(read_table(&with(table_start + 11, 0x80)), "cannot hold a frame");
    is_damage(SeekTable::parse(&good[table_start + 1..], table.stored_size()), "are there");
    is_damage(SeekTable::parse(&good[end - 5..], 0), "cut");
    is_damage(SeekTable::parse(&good, table.stored_size() + 1), "are stored");
}

proptest! {
    #[test]
    fn tables_come_back(frames in proptest::collection::vec((1..=MAX_STORED_BYTES, 0..=MAX_FRAME_BYTES as u64), 0..50)) {
        let mut table = SeekTable::default();
        for (stored, length) in frames {
            table.push(stored, length).unwrap();
        }
        let mut bytes = Vec::new();
        table.write(&mut bytes);
        prop_assert_eq!(SeekTable::parse(&bytes, table.stored_size()).unwrap(), table);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), with_magic: bool) {
        if with_magic {
            bytes.extend([3, 0, 0, 0, 0]);
            bytes.extend(SEEKABLE_MAGIC);
        }
        drop(SeekTable::parse(&bytes, 20));
        bytes.splice(0..0, FRAME_MAGIC);
        drop(open(&bytes, 100));
    }
}
