//! docs/FORMAT.md says what the code does: every example block is compared with what the code writes and reads.
//!
//! A block is named in its first line, ```` ```json example:manifest ````. A changed example is either a slip or a
//! change of the format, and then docs/FORMAT.md §13 has something to say about it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ccbackup::archive::frame::{self, Compressor, SeekTable};
use ccbackup::archive::seal::{SealedReader, Sealer};
use ccbackup::archive::{FramedReader, tar};
use ccbackup::engine::create::CreateOptions;
use ccbackup::error::Result;
use ccbackup::index::{IndexFiles, Inventory};
use ccbackup::keys::{AesKey, Keys};
use ccbackup::model::Problem;
use ccbackup::model::{
    BackupId, Chunk, Digest, Entry, EntryKind, EntryPath, Extent, MAX_PATH_BYTES, Manifest, Position, RepositoryRecord,
    Sealing, Timestamp, Xattr, escape_path,
};
use ccbackup::repo::signing::{SignerKey, allowed_signers, verify};
use ccbackup::repo::{MAX_SMALL_FILE_BYTES, backup::parse_sums};

use crate::support::{Sandbox, shell, write};

pub(crate) fn doc(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Fenced blocks: the first line without its fence, and the text.
pub(crate) fn blocks(doc: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in doc.split_inclusive('\n') {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(info), None) => open = Some((info.trim().to_owned(), String::new())),
            (None, Some((_, text))) => text.push_str(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fenced block is not closed");
    found
}

pub(crate) fn example_of(file: &str, name: &str) -> String {
    let wanted = format!(" example:{name}");
    let mut found = blocks(&doc(file)).into_iter().filter(|(info, _)| info.ends_with(&wanted)).map(|(_, text)| text);
    let text = found.next().unwrap_or_else(|| panic!("docs/{file} has no block{wanted}"));
    assert!(found.next().is_none(), "docs/{file} has two blocks{wanted}");
    text
}

fn example(name: &str) -> String {
    example_of("FORMAT.md", name)
}

fn check(name: &str, code: &str) {
    let text = example(name);
    assert_eq!(text, code, "example:{name} of docs/FORMAT.md; the code says\n{code}");
}

/// Sixteen bytes a line, lines of zeros left out, the length at the end.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, number) in bytes.chunks(16).zip(0..).filter(|(row, _)| row.iter().any(|&b| b != 0)) {
        let hex: Vec<_> = row.iter().map(|b| format!("{b:02x}")).collect();
        let text: String = row.iter().map(|&b| if (32..127).contains(&b) { b.into() } else { '.' }).collect();
        out.push_str(&format!("{:04x}  {:<47}  |{text}|\n", number * 16, hex.join(" ")));
    }
    format!("{out}{:04x}\n", bytes.len())
}

fn undump(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let mut words = line.split('|').next().unwrap().split_ascii_whitespace();
        bytes.resize(usize::from_str_radix(words.next().unwrap(), 16).unwrap(), 0);
        bytes.extend(words.map(|w| u8::from_str_radix(w, 16).unwrap()));
    }
    bytes
}

const FULL: &str = "20260117-143000";
const INCREMENTAL: &str = "20260118-143000";

fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

fn path(bytes: impl AsRef<[u8]>) -> EntryPath {
    EntryPath::new(bytes.as_ref()).unwrap()
}

fn extent(backup: &str, offset: u64, length: u64) -> Extent {
    Extent { backup: id(backup), volume: 0, offset, length }
}

fn file(size: u64, text: &[u8], extents: Vec<Extent>) -> EntryKind {
    EntryKind::File {
        size,
        sha256: Digest::of(text),
        extents,
        in_pieces: false,
        regions: None,
        chunks: vec![],
        unsettled: false,
    }
}

fn entry(path_bytes: impl AsRef<[u8]>, kind: EntryKind, backup: &str, offset: u64) -> Entry {
    Entry {
        path: path(path_bytes),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: "ops".into(),
        group: "ops".into(),
        mtime: Timestamp { seconds: 1_768_600_000, nanoseconds: 500_000_000 },
        ctime: Timestamp { seconds: 1_768_600_000, nanoseconds: 750_000_000 },
        inode: 4711,
        xattrs: vec![],
        home: Position { backup: id(backup), volume: 0, offset },
    }
}

fn sparse_file() -> EntryKind {
    let regions = Some(vec![(0, 4096), (1 << 20, 512)]);
    let EntryKind::File { size, sha256, extents, in_pieces, chunks, unsettled, .. } =
        file(3 << 20, b"sparse", vec![extent(FULL, 3072, 4608)])
    else {
        unreachable!()
    };
    EntryKind::File { size, sha256, extents, in_pieces, regions, chunks, unsettled }
}

fn file_in_pieces() -> EntryKind {
    EntryKind::File {
        size: 9 << 20,
        sha256: Digest::of(b"database"),
        extents: vec![extent(FULL, 12_288, 8 << 20), extent(INCREMENTAL, 1536, 1 << 20)],
        in_pieces: true,
        regions: None,
        chunks: vec![
            Chunk { length: 8 << 20, sha256: Digest::of(b"chunk 1") },
            Chunk { length: 1 << 20, sha256: Digest::of(b"chunk 2") },
        ],
        unsettled: true,
    }
}

fn with(mut entry: Entry, change: impl FnOnce(&mut Entry)) -> Entry {
    change(&mut entry);
    entry
}

fn attribute(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: value.into() }
}

#[test]
fn index_lines_are_those_of_the_specification() {
    let entries = [
        entry("app", EntryKind::Dir, FULL, 0),
        entry("app/db", file_in_pieces(), INCREMENTAL, 1_050_624),
        entry("app/current", EntryKind::Symlink { target: b"releases/7".to_vec() }, FULL, 512),
        entry("app/hello", file(6, b"hello\n", vec![extent(FULL, 2048, 6)]), FULL, 1536),
        entry("app/hollow", sparse_file(), FULL, 1024),
        entry("app/pipe", EntryKind::Fifo, FULL, 9216),
        with(entry("app/tty", EntryKind::CharDevice { major: 4, minor: 64 }, FULL, 9728), |e| {
            (e.user, e.mode, e.uid) = (String::new(), 0o4755, 3_000_000);
            e.mtime = Timestamp { seconds: -1, nanoseconds: 750_000_000 };
            e.xattrs = vec![attribute("user.note", b"\x00\xff")];
        }),
        entry(b"app/z \"\n\xff", EntryKind::Hardlink { target: path("app/hello") }, FULL, 10_240),
    ];
    let mut lines = Vec::new();
    entries.iter().for_each(|e| e.write_line(&mut lines));
    check("index-lines", &String::from_utf8(lines).unwrap());
    let read: Vec<_> = example("index-lines").lines().map(|l| Entry::parse_line(l.as_bytes()).unwrap()).collect();
    assert_eq!(read, entries);
}

/// The streams of example blocks, one frame for each part between empty lines.
#[derive(Debug)]
struct Indexes(BTreeMap<&'static str, String>);

impl IndexFiles for Indexes {
    fn open_index(&self, backup: &BackupId) -> Result<FramedReader> {
        let (mut table, mut stored, mut frame) = (SeekTable::default(), Vec::new(), Vec::new());
        for part in self.0[backup.as_str()].split_inclusive("\n\n").map(|p| p.strip_suffix("\n\n").unwrap_or(p)) {
            let part = format!("{}\n", part.trim_end());
            Compressor::new(3)?.compress(part.as_bytes(), &mut frame)?;
            table.push(frame.len() as u64, part.len() as u64)?;
            stored.append(&mut frame);
        }
        table.write(&mut stored);
        FramedReader::open(Arc::new(stored), &Sealing::None, &Keys::none(), "the example")
    }
}

#[test]
fn index_files_of_the_specification_are_read() {
    let open = |own: &str| {
        let texts = [(FULL, example("index-full")), (INCREMENTAL, example("index-incremental"))];
        Inventory::open("the example", id(own), Box::new(Indexes(texts.into()))).unwrap()
    };
    let paths = |inventory: &Inventory| -> Vec<String> {
        let paths = inventory.readable().unwrap().map(|e| e.unwrap().path.to_string()).collect();
        assert!(!inventory.is_lossy());
        paths
    };
    let (full, incremental) = (open(FULL), open(INCREMENTAL));
    assert_eq!(paths(&full), ["app", "app/a", "app/b"]);
    assert_eq!(paths(&incremental), ["app", "app/a", "app/c"]);
    assert_eq!(incremental.segments()[0], full.segments()[0]);
    assert_eq!(incremental.segments()[1].backup, id(INCREMENTAL));
    let problem = Problem { kind: "unreadable".into(), path: "app/b".into(), detail: "permission denied".into() };
    assert_eq!(incremental.problems(), [problem]);
    assert!(full.problems().is_empty());
}

#[test]
fn an_index_that_is_written_ends_as_the_specification_says() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), b"x");
    let id = sandbox.create().id;
    let text = shell(&format!("zstd -dc backups/{id}/files.index.zst"), sandbox.dir.path()).stdout;
    let text = String::from_utf8(text).unwrap();
    let (entries, rest) = text.split_at(text.find("{\"segment\"").unwrap());
    let (digest, length) = (Digest::of(entries.as_bytes()), entries.len());
    let expected = format!(
        "{{\"segment\":[\"{id}\",0,{length},\"{digest}\",2,\"tree\"]}}\n\
         {{\"end\":{{\"table_offset\":{length},\"segments\":1,\"entries\":2}}}}\n"
    );
    assert_eq!(rest, expected);
    let chunking = sandbox.chain(&id).unwrap().backup.manifest.chunking.clone();
    assert_eq!(example("chunking"), format!("{chunking}\n"));
}

#[test]
fn escapes_are_those_of_the_specification() {
    let names: [&[u8]; 9] = [
        b"-x",
        b" a b ",
        b"a\\b",
        b"a\nb",
        b"a\tb\x7f",
        b"say \"hi\"",
        "gr\u{fc}n".as_bytes(),
        b"\xff\xfe",
        "a\u{202e}b".as_bytes(),
    ];
    let line = |name: &[u8]| {
        let hex: Vec<_> = name.iter().map(|b| format!("{b:02x}")).collect();
        format!("{:<24}  {}\n", hex.join(" "), escape_path(name))
    };
    check("escapes", &names.iter().map(|n| line(n)).collect::<String>());
    for (name, line) in names.iter().zip(example("escapes").lines()) {
        assert_eq!(EntryPath::from_escaped(&line[26..]).unwrap().as_bytes(), *name);
    }
}

#[test]
fn the_order_of_paths_is_that_of_the_specification() {
    let text = example("order");
    let mut paths: Vec<_> = text.lines().map(path).collect();
    paths.reverse();
    paths.sort();
    assert_eq!(paths.iter().map(|p| format!("{p}\n")).collect::<String>(), text);
}

fn header(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    tar::write_member_header(entry, &mut bytes);
    bytes
}

/// The pax records before a member, as text.
fn records(header: &[u8]) -> String {
    let size = std::str::from_utf8(&header[124..135]).unwrap();
    let size = usize::from_str_radix(size, 8).unwrap();
    String::from_utf8(header[512..512 + size].to_vec()).unwrap()
}

#[test]
fn tar_members_are_those_of_the_specification() {
    let plain = with(entry("gr\u{fc}n", file(6, b"hello\n", vec![]), FULL, 0), |e| {
        e.xattrs = vec![attribute("user.a=b", b"1")];
    });
    check("member", &dump(&header(&plain)));
    let member = tar::parse_member(&undump(&example("member"))).unwrap().unwrap();
    assert_eq!(member.difference(&plain), None);

    let sparse = header(&entry("-app/hollow", sparse_file(), FULL, 0));
    let end = sparse.len() - tar::BLOCK;
    let map = std::str::from_utf8(&sparse[end..]).unwrap().trim_end_matches('\0');
    check("sparse", &format!("{}\n{map}", records(&sparse)));
    assert_eq!(sparse[end - tar::BLOCK..][..30], *b"./-app/GNUSparseFile.0/hollow\0");

    check("stub", &records(&header(&entry("db", file_in_pieces(), INCREMENTAL, 0))));
    let mut piece = Vec::new();
    tar::write_piece_header(1, 1 << 20, &mut piece);
    check("piece", &dump(&piece));
}

#[test]
fn the_seek_table_is_that_of_the_specification() {
    let mut table = SeekTable::default();
    table.push(1_500_000, 4 << 20).unwrap();
    table.push(27, 1024).unwrap();
    let mut bytes = Vec::new();
    table.write(&mut bytes);
    check("seek-table", &dump(&bytes));
    assert_eq!(SeekTable::parse(&undump(&example("seek-table")), 1_500_027).unwrap(), table);
}

#[test]
fn the_aes_file_of_the_specification_opens() {
    let stored = undump(&example("aes"));
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    write(&key_file, &(0..32).collect::<Vec<u8>>());
    write(&dir.path().join("sealed"), &stored);
    let (keys, key) = (Keys::load(std::slice::from_ref(&key_file)).unwrap(), AesKey::load(&key_file).unwrap());
    let sealing = Sealing::Aes256Gcm { key_id: key.id() };
    let reader = SealedReader::open(Arc::new(stored.clone()), &sealing, &keys, "the example").unwrap();
    let mut plain = Vec::new();
    reader.read_at(0, &mut plain, 6).unwrap();
    assert_eq!((reader.size(), &plain[..]), (6, &b"hello\n"[..]));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aes-decrypt.py");
    let output = shell(&format!("python3 '{}' key < sealed", script.display()), dir.path());
    assert_eq!(output.stdout, b"hello\n");

    let mut writer = Sealer::aes(&key).start(Vec::new()).unwrap();
    std::io::Write::write_all(&mut writer, b"hello\n").unwrap();
    let written = writer.finish().unwrap();
    assert_eq!((&written[..41], written.len()), (&stored[..41], stored.len()), "all but salt and payload are fixed");
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn manifest_and_repository_record_are_those_of_the_specification() {
    let repository = example("repository");
    assert_eq!(pretty(&RepositoryRecord::parse(repository.as_bytes()).unwrap()), repository);
    let text = example("manifest");
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(pretty(&manifest), text);
    assert_eq!(manifest.repository_sha256, Digest::of(repository.as_bytes()), "digest of the example repository.json");
}

#[test]
fn the_signed_digests_of_the_specification_hold() {
    let sums = example("sums");
    let listed = parse_sums(sums.as_bytes()).unwrap();
    assert_eq!(listed.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect::<String>(), sums);
    let manifest = example("manifest");
    assert_eq!(listed["manifest.json"], Digest::of(manifest.as_bytes()), "digest of the example manifest");
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    for component in &manifest.components {
        assert_eq!(listed[&component.index.name], component.index.sha256);
        assert!(component.archives.iter().all(|a| listed[&a.name] == a.sha256));
    }
    let line = example("allowed-signers");
    let signer: SignerKey = line[line.find("ssh-ed25519").unwrap()..].parse().unwrap();
    check("allowed-signers", &allowed_signers(std::slice::from_ref(&signer)));
    assert_eq!(manifest.host_id, signer.fingerprint());
    assert_eq!(verify(sums.as_bytes(), &example("signature"), std::slice::from_ref(&signer)).unwrap(), signer);
}

#[test]
fn limits_are_those_of_the_specification() {
    let text = doc("FORMAT.md");
    for (row, value) in [
        ("path", MAX_PATH_BYTES as u64),
        ("frame, target", frame::TARGET_FRAME_BYTES as u64),
        ("frame, content", frame::MAX_FRAME_BYTES as u64),
        ("frames in a file", frame::MAX_FRAMES as u64),
        ("pax records of a member", tar::MAX_PAX_BYTES as u64),
        ("regions of a file, read", tar::MAX_REGIONS as u64),
        ("regions of a file, written", ccbackup::source::files::MAX_REGIONS as u64),
        ("small file of a repository", MAX_SMALL_FILE_BYTES),
        ("volume, target", CreateOptions::default().volume_bytes),
    ] {
        assert!(text.contains(&format!("| {row} | {value} |")), "FORMAT.md §12 should say | {row} | {value} |");
    }
}

/// All files below a folder of the project that end so.
pub(crate) fn files_below(folder: &str, ending: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = walkdir::WalkDir::new(root).into_iter().map(|item| item.unwrap().into_path());
    files.filter(|p| p.to_str().unwrap().ends_with(ending)).map(|p| fs::read_to_string(p).unwrap()).collect()
}

#[test]
fn every_example_of_the_specification_is_checked() {
    let source = include_str!("format_doc.rs");
    for (info, _) in blocks(&doc("FORMAT.md")) {
        if let Some((_, name)) = info.split_once(" example:") {
            assert!(source.contains(&format!("\"{name}\"")), "nobody looks at example:{name} of docs/FORMAT.md");
        }
    }
}

#[test]
fn every_section_that_the_code_cites_is_there() {
    let text = doc("FORMAT.md");
    let mut cited = 0;
    for source in files_below("src", ".rs") {
        // `FORMAT.md §5, §8` cites both.
        for citation in source.split("FORMAT.md §").skip(1) {
            let citation = citation.split(')').next().unwrap();
            for part in citation.split(", §") {
                let number: String = part.chars().take_while(char::is_ascii_digit).collect();
                assert!(text.contains(&format!("\n## {number}. ")), "FORMAT.md has no section {number}");
                cited += 1;
            }
        }
    }
    assert!(cited > 20, "{cited}");
}
