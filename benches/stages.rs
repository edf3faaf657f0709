//! What each stage of a backup and of a restore costs, alone and on one thread. `cargo bench --bench stages`.
//!
//! docs/PERFORMANCE.md derives from these figures how the whole scales with threads.
#![expect(clippy::disallowed_methods, reason = "the files of a benchmark need not survive")]

use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ccbackup::archive::frame::{Compressor, Decompressor};
use ccbackup::archive::seal::{SealedReader, Sealer};
use ccbackup::archive::tar::{parse_member, write_member_header};
use ccbackup::keys::{AesKey, Keys, generate_identity};
use ccbackup::model::{Digest, Entry};
use ccbackup::source::files::{Exclude, Step, WalkOptions, walk};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

const MIB: usize = 1 << 20;

/// Text that zstd makes about four times smaller.
fn text(length: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["grafana ", "tempo\n", "loki {", "level=", "info ", "mimir;", "  ", "duration_seconds"];
    let mut state = 1_u64;
    let mut out = Vec::with_capacity(length + 32);
    while out.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(WORDS[(state >> 61) as usize].as_bytes());
        if state >> 40 & 3 == 0 {
            write!(out, "{:x}", state >> 48).expect("memory takes it");
        }
    }
    out.truncate(length);
    out
}

/// Bytes that cannot be compressed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

fn line(number: usize) -> String {
    format!(
        r#"{{"path":"srv/grafana/dashboards/team-{number}/overview.json","type":"file","mode":"0644","uid":472,"gid":472,"user":"grafana","group":"grafana","mtime":"1768600000.123456789","ctime":"1768600001.5","inode":{number},"home":["20260117-143000",0,1050624],"size":9437,"sha256":"3549b0028b75d981cdda2e573e9cb49dedc200185876df299f912b79f69dabd8","content":[["20260117-143000",0,1052160,9437]]}}"#
    )
}

fn entries() -> Vec<Entry> {
    (0..1000).map(|n| Entry::parse_line(line(n).as_bytes()).expect("a line of ours")).collect()
}

/// A tree of 2 000 small files in 20 folders.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for number in 0..2000 {
        let folder = dir.path().join(format!("d{}", number % 20));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("f{number}")), [b'x'; 100]).expect("a file");
    }
    dir
}

#[divan::bench(args = [1, 2])]
fn walk_a_tree(bencher: Bencher<'_, '_>, threads: usize) {
    let dir = tree();
    bencher.counter(ItemsCount::new(2021_usize)).bench(|| {
        let options = WalkOptions { exclude: Exclude::new(&[]).expect("no globs"), threads, ..WalkOptions::default() };
        let steps = walk(&[PathBuf::from(dir.path())], options).expect("the root is there");
        steps.filter(|step| matches!(step, Step::Entry(_))).count()
    });
}

#[divan::bench]
fn hash(bencher: Bencher<'_, '_>) {
    let content = text(4 * MIB);
    bencher.counter(BytesCount::of_slice(&content)).bench(|| Digest::of(black_box(&content)));
}

#[divan::bench]
fn cut_into_chunks(bencher: Bencher<'_, '_>) {
    let content = noise(16 * MIB);
    bencher
        .counter(BytesCount::of_slice(&content))
        .bench(|| fastcdc::v2020::FastCDC::new(black_box(&content), 256 << 10, 1 << 20, 4 << 20).count());
}

#[divan::bench(args = ["text", "noise"])]
fn compress_a_frame(bencher: Bencher<'_, '_>, kind: &str) {
    let content = if kind == "text" { text(4 * MIB) } else { noise(4 * MIB) };
    let mut compressor = Compressor::new(3).expect("a level of zstd");
    let mut out = Vec::new();
    bencher.counter(BytesCount::of_slice(&content)).bench_local(|| compressor.compress(&content, &mut out));
}

#[divan::bench(args = ["text", "noise"])]
fn decompress_a_frame(bencher: Bencher<'_, '_>, kind: &str) {
    let content = if kind == "text" { text(4 * MIB) } else { noise(4 * MIB) };
    let mut stored = Vec::new();
    Compressor::new(3).and_then(|mut c| c.compress(&content, &mut stored)).expect("it compresses");
    let mut decompressor = Decompressor::new().expect("zstd");
    let mut out = Vec::new();
    bencher
        .counter(BytesCount::of_slice(&content))
        .bench_local(|| decompressor.decompress(&stored, content.len(), &mut out));
}

/// A seal with keys of its own, and what opens it.
fn sealer(kind: &str) -> (Sealer, Keys) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    if kind == "aes" {
        return (Sealer::aes(&AesKey::generate(&path).expect("random numbers")), Keys::none());
    }
    let recipient = generate_identity(&path, None, ccbackup::model::Moment::default()).expect("random numbers");
    (Sealer::age(&[recipient]).expect("a recipient"), Keys::load(&[path]).expect("our own key file"))
}

#[divan::bench(args = ["age", "aes"])]
fn seal(bencher: Bencher<'_, '_>, kind: &str) {
    let content = noise(16 * MIB);
    let (sealer, _) = sealer(kind);
    bencher.counter(BytesCount::of_slice(&content)).bench(|| {
        let mut writer = sealer.start(std::io::sink()).expect("it begins");
        writer.write_all(&content).expect("memory takes it");
        writer.finish().expect("it ends")
    });
}

#[divan::bench]
fn open_what_is_sealed(bencher: Bencher<'_, '_>) {
    let content = noise(16 * MIB);
    let (sealer, keys) = sealer("age");
    let mut writer = sealer.start(Vec::new()).expect("it begins");
    writer.write_all(&content).expect("memory takes it");
    let stored = writer.finish().expect("it ends");
    let reader = SealedReader::open(Arc::new(stored), &sealer.sealing(), &keys, "bench").expect("our own key");
    let mut buffer = Vec::new();
    bencher.counter(BytesCount::of_slice(&content)).bench_local(|| reader.read_at(0, &mut buffer, content.len()));
}

#[divan::bench]
fn write_index_lines(bencher: Bencher<'_, '_>) {
    let entries = entries();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(entries.len())).bench_local(|| {
        out.clear();
        entries.iter().for_each(|entry| entry.write_line(&mut out));
    });
}

#[divan::bench(args = ["our own keys", "with an unknown one"])]
fn read_index_lines(bencher: Bencher<'_, '_>, keys: &str) {
    let more = if keys == "our own keys" { "}" } else { ",\"future\":1}" };
    let lines: Vec<_> =
        (0..1000).map(|n| line(n).strip_suffix('}').map(|l| format!("{l}{more}")).unwrap_or_default()).collect();
    bencher
        .counter(ItemsCount::new(lines.len()))
        .bench(|| lines.iter().filter(|line| Entry::parse_line(black_box(line.as_bytes())).is_ok()).count());
}

#[divan::bench]
fn write_tar_headers(bencher: Bencher<'_, '_>) {
    let entries = entries();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(entries.len())).bench_local(|| {
        out.clear();
        entries.iter().map(|entry| write_member_header(entry, &mut out)).sum::<u64>()
    });
}

#[divan::bench]
fn compare_tar_headers(bencher: Bencher<'_, '_>) {
    let members: Vec<_> = entries()
        .into_iter()
        .map(|entry| {
            let mut out = Vec::new();
            write_member_header(&entry, &mut out);
            out.resize(out.len() + 10 * 1024, 0);
            (entry, out)
        })
        .collect();
    bencher.counter(ItemsCount::new(members.len())).bench(|| {
        let same = |(entry, member): &&(Entry, Vec<u8>)| {
            parse_member(member).is_ok_and(|m| m.is_some_and(|m| m.difference(entry).is_none()))
        };
        assert_eq!(members.iter().filter(same).count(), members.len());
    });
}
