//! What is written is read back; `bad` holds what must be refused, `tools` compares `samples` with the tar programs of others.

mod bad;
mod samples;
mod tools;

use proptest::prelude::*;

use super::block::shown;
use super::*;
use crate::model::{Digest, Entry, EntryKind, EntryPath, Extent, Position, Timestamp, Xattr};

fn at(seconds: i64, nanoseconds: u32) -> Timestamp {
    Timestamp { seconds, nanoseconds }
}

fn xattr(name: &[u8], value: &[u8]) -> Xattr {
    Xattr { name: name.to_vec(), value: value.to_vec() }
}

fn entry(path: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    Entry {
        path: EntryPath::new(path.as_ref()).unwrap(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        mtime: at(1_700_000_000, 0),
        ctime: at(0, 0),
        inode: 0,
        xattrs: vec![],
        home: Position { backup: "20260117-143000".parse().unwrap(), volume: 0, offset: 0 },
    }
}

fn sparse_file(size: u64, regions: Option<Vec<(u64, u64)>>) -> EntryKind {
    let length = regions.as_ref().map_or(size, |r| r.iter().map(|x| x.1).sum());
    EntryKind::File {
        size,
        sha256: Digest::of(b""),
        extents: vec![Extent { backup: "20260117-143000".parse().unwrap(), volume: 0, offset: 512, length }],
        in_pieces: false,
        regions,
        chunks: vec![],
        unsettled: false,
    }
}

fn file(size: u64) -> EntryKind {
    sparse_file(size, None)
}

fn stub(size: u64, regions: Option<Vec<(u64, u64)>>) -> EntryKind {
    let mut kind = sparse_file(size, regions);
    if let EntryKind::File { in_pieces, .. } = &mut kind {
        *in_pieces = true;
    }
    kind
}

fn header_of(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    write_member_header(entry, &mut out);
    out
}

/// Writes and reads back; the member must have no difference and consume exactly what was written.
fn round_trip(entry: &Entry) -> Member {
    let mut out = Vec::new();
    let content = write_member_header(entry, &mut out);
    assert_eq!(out.len() % BLOCK, 0);
    let member = parse_member(&out).unwrap().expect("a member, not the end");
    assert_eq!(member.difference(entry), None);
    assert_eq!((member.header_bytes, member.content_bytes), (out.len() as u64, content));
    for cut in (0..out.len()).step_by((out.len() / 50).max(100)) {
        let Scan::More(wanted) = scan_member(&out[..cut]).unwrap() else { panic!("{cut} of {} bytes", out.len()) };
        assert!(wanted > cut as u64 && wanted <= (out.len() as u64).max(out.len() as u64 + content));
    }
    member
}

/// The records of the pax header that starts `bytes`.
fn records(bytes: &[u8]) -> &[u8] {
    assert_eq!(bytes[156], b'x');
    let size = usize::try_from(field::number(&bytes[124..136]).unwrap()).unwrap();
    &bytes[BLOCK..BLOCK + size]
}

#[test]
fn a_plain_file_needs_one_block() {
    let mut plain = entry("etc/hosts", file(5));
    (plain.user, plain.group) = ("root".into(), "wheel".into());
    let bytes = header_of(&plain);
    assert_eq!(bytes.len(), BLOCK);
    assert_eq!(&bytes[..10], b"etc/hosts\0");
    assert_eq!(&bytes[100..148], b"0000644\x000000000\x000000000\x0000000000005\x0014524770400\0");
    assert_eq!(&bytes[156..158], b"0\0");
    assert_eq!(&bytes[257..270], b"ustar\x0000root\0");
    assert_eq!(&bytes[297..303], b"wheel\0");
    assert_eq!(&bytes[329..345], b"0000000\x000000000\0");
    round_trip(&plain);
}

#[test]
fn pax_records_come_in_their_fixed_order() {
    let mut all =
        entry([b"\xff".repeat(100), b"/".to_vec(), b"x".repeat(10)].concat(), sparse_file(9, Some(vec![(3, 4)])));
    (all.uid, all.gid) = (2_097_152, u32::MAX);
    (all.user, all.group) = ("ü".into(), "g".repeat(32));
    all.mtime = at(-6, 750_000_000);
    all.xattrs = vec![xattr(b"user.a=%", b"\0\n"), xattr(b"user.b", b"")];
    let bytes = header_of(&all);
    let sparse_path = [&b"\xff".repeat(100)[..], b"/GNUSparseFile.0/xxxxxxxxxx"].concat();
    let mut expected = Vec::new();
    for (key, value) in [
        ("path", &sparse_path[..]),
        ("uid", b"2097152"),
        ("gid", b"4294967295"),
        ("uname", "ü".as_bytes()),
        ("gname", &b"g".repeat(32)),
        ("mtime", b"-5.25"),
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", all.path.as_bytes()),
        ("GNU.sparse.realsize", b"9"),
        ("SCHILY.xattr.user.a%3D%25", b"\0\n"),
        ("SCHILY.xattr.user.b", b""),
    ] {
        pax::put(&mut expected, key.as_bytes(), value);
    }
    assert_eq!(records(&bytes).escape_ascii().to_string(), expected.escape_ascii().to_string());
    let map = [&b"2\n3\n4\n9\n0\n"[..], &[0; 502]].concat();
    assert_eq!(&bytes[bytes.len() - BLOCK..], map);
    round_trip(&all);

    let long = "t".repeat(101);
    let mut big = entry("x", EntryKind::Symlink { target: long.clone().into_bytes() });
    big.mtime = at(1 << 33, 0);
    let bytes = header_of(&big);
    assert_eq!(records(&bytes), format!("115 linkpath={long}\n20 mtime=8589934592\n").as_bytes());
    round_trip(&big);
    let bytes = header_of(&entry("x", file(1 << 33)));
    assert_eq!(records(&bytes), b"19 size=8589934592\n");
}

#[test]
fn values_at_the_edge_of_a_field_need_no_record() {
    let mut edge = entry("p".repeat(100), file((1 << 33) - 1));
    (edge.uid, edge.gid) = (0o777_7777, 0o777_7777);
    (edge.user, edge.group) = ("u".repeat(31), "g".repeat(31));
    edge.mtime = at((1 << 33) - 1, 0);
    assert_eq!(header_of(&edge).len(), BLOCK);
    round_trip(&edge);
    let link = entry("l", EntryKind::Symlink { target: vec![b't'; 100] });
    assert_eq!(header_of(&link).len(), BLOCK);
    round_trip(&link);
    // A folder's name has a slash more.
    assert_eq!(header_of(&entry("d".repeat(99), EntryKind::Dir)).len(), BLOCK);
    assert_eq!(header_of(&entry("d".repeat(100), EntryKind::Dir)).len(), 3 * BLOCK);
    round_trip(&entry("d".repeat(100), EntryKind::Dir));
}

#[test]
fn record_lengths_count_their_own_digits() {
    for length in (0..130).chain(970..1010).chain(9_970..10_010).chain(99_970..100_010) {
        let mut out = Vec::new();
        pax::put(&mut out, b"k", &b"v".repeat(length));
        let (digits, _) = out.split_at(out.iter().position(|&b| b == b' ').unwrap());
        assert_eq!(String::from_utf8_lossy(digits), out.len().to_string());
    }
    // 9/10, 99/100: the record grows by two bytes when its value grows by one.
    let lengths: Vec<_> = [3, 4, 5, 92, 93, 94]
        .map(|n| {
            let mut out = Vec::new();
            pax::put(&mut out, b"k", &b"v".repeat(n));
            out.len()
        })
        .into();
    assert_eq!(lengths, [8, 9, 11, 98, 99, 101]);
    for length in 60..128 {
        round_trip(&entry("é".repeat(length), EntryKind::Fifo));
    }
}

#[test]
fn devices_of_any_number_come_back() {
    for (major, minor) in [(8, 1), (2_097_151, 2_097_152), (u32::MAX, u32::MAX)] {
        round_trip(&entry("dev/a", EntryKind::CharDevice { major, minor }));
        round_trip(&entry("dev/b", EntryKind::BlockDevice { major, minor }));
    }
}

#[test]
fn a_stub_has_its_key_and_no_content() {
    let stub = entry("db", stub(1 << 40, Some(vec![(0, 5), (1 << 39, 7)])));
    let bytes = header_of(&stub);
    assert_eq!(records(&bytes), b"21 CCBACKUP.pieces=1\n");
    let member = round_trip(&stub);
    assert!(member.in_pieces && member.content_bytes == 0 && member.regions.is_none());
}

#[test]
fn sparse_maps_are_those_of_gnu_tar() {
    let map = |size, regions: &[(u64, u64)]| {
        let mut out = Vec::new();
        sparse::put_map(&mut out, regions, size);
        assert_eq!(out.len() % BLOCK, 0);
        String::from_utf8(out).unwrap().trim_end_matches('\0').to_owned()
    };
    assert_eq!(map(1_000_000, &[]), "1\n1000000\n0\n");
    assert_eq!(map(0, &[]), "1\n0\n0\n");
    assert_eq!(map(10, &[(0, 2), (8, 2)]), "2\n0\n2\n8\n2\n");
    assert_eq!(map(10, &[(0, 2), (3, 0), (5, 2), (10, 0)]), "3\n0\n2\n5\n2\n10\n0\n");
    for regions in [vec![], vec![(0, 0)], vec![(1, 3), (4, 4), (100, 0), (101, 1)]] {
        round_trip(&entry("s/parse", sparse_file(200, Some(regions))));
    }
    let many: Vec<_> = (0..10_000).map(|n| (n * 8192, 4096)).collect();
    round_trip(&entry("many", sparse_file(10_000 * 8192, Some(many))));
}

#[test]
fn regions_are_widened_to_blocks() {
    let aligned = |size, regions: &[(u64, u64)]| {
        let mut regions = regions.to_vec();
        align_regions(&mut regions, size);
        regions
    };
    assert_eq!(aligned(10_000, &[(0, 4096), (8192, 1808)]), [(0, 4096), (8192, 1808)]);
    assert_eq!(aligned(10_000, &[(1, 1), (100, 0), (511, 2), (2000, 1)]), [(0, 1024), (1536, 512)]);
    assert_eq!(aligned(700, &[(600, 1)]), [(512, 188)]);
    assert_eq!(aligned(700, &[(600, 0)]), []);
    assert_eq!(aligned(u64::MAX, &[(u64::MAX - 1, 1)]), [(u64::MAX - 511, 511)]);
}

#[test]
fn pieces_and_padding_fit_blocks() {
    let mut out = Vec::new();
    write_piece_header(17, 1 << 34, &mut out);
    let member = parse_member(&out).unwrap().unwrap();
    assert_eq!((&member.path[..], member.mode, member.content_bytes), (&b".ccbackup-pieces/17"[..], 0o600, 1 << 34));
    assert!(member.mtime == at(0, 0) && member.uid == 0 && !member.in_pieces);
    let paddings = [0, 1, 511, 512, 513, u64::MAX].map(padding);
    assert_eq!(paddings, [0, 511, 1, 0, 511, 1]);
    assert_eq!(parse_member(&END).unwrap(), None);
}

#[test]
fn every_difference_is_named() {
    let mut member = round_trip(&entry("a", sparse_file(100, Some(vec![(0, 50)]))));
    let expect = |change: fn(&mut Entry), words: &str| {
        let mut other = entry("a", sparse_file(100, Some(vec![(0, 50)])));
        change(&mut other);
        let text = member.difference(&other).expect(words);
        assert!(text.contains(words), "{text}");
    };
    expect(|e| e.path = EntryPath::new(&b"b"[..]).unwrap(), "path is \"a\" in the archive and \"b\" in the index");
    expect(|e| e.kind = EntryKind::Dir, "type is file in the archive and dir");
    expect(|e| e.mode = 0o4755, "mode is 0644 in the archive and 4755");
    expect(|e| e.gid = 7, "owner is 0:0 in the archive and 0:7");
    expect(|e| e.user = "x".into(), "owner's name");
    expect(|e| e.group = "x".into(), "group's name");
    expect(|e| e.mtime.nanoseconds = 1, "modification time is 1700000000 in");
    expect(|e| e.xattrs = vec![xattr(b"user.a", b"")], "number of attributes is 0");
    expect(|e| e.kind = file(100), "data regions");
    expect(|e| e.kind = sparse_file(101, Some(vec![(0, 50)])), "size is 100");
    expect(|e| e.kind = stub(100, None), "content is in the member");
    member.xattrs = vec![xattr(b"user.a", b"1")];
    let mut other = entry("a", sparse_file(100, Some(vec![(0, 50)])));
    other.xattrs = vec![xattr(b"user.a", b"2")];
    assert!(member.difference(&other).unwrap().contains("attribute \"user.a\""));
    let link = round_trip(&entry("l", EntryKind::Symlink { target: b"x".to_vec() }));
    assert!(link.difference(&entry("l", EntryKind::Symlink { target: b"y".to_vec() })).is_some());
    let device = round_trip(&entry("d", EntryKind::CharDevice { major: 1, minor: 2 }));
    assert!(device.difference(&entry("d", EntryKind::CharDevice { major: 1, minor: 3 })).is_some());
}

#[test]
fn a_sparse_file_without_a_folder_has_its_packed_form_below_a_dot() {
    let mut out = Vec::new();
    write_member_header(&entry("disk", sparse_file(8192, Some(vec![(0, 512)]))), &mut out);
    let header = &out[out.len() - 2 * BLOCK..];
    assert!(header.starts_with(b"./GNUSparseFile.0/disk\0"), "{}", shown(&header[..40]));
    assert_eq!(parse_member(&[&out[..], &[0; 512]].concat()).unwrap().unwrap().path, b"disk");
}

#[test]
fn content_is_where_its_member_has_it() {
    for kind in
        [file(6), file(0), sparse_file(100_000, Some(vec![(0, 512), (1024, 512)])), sparse_file(4096, Some(vec![]))]
    {
        let mut entry = entry("a", kind);
        entry.home.offset = 1024;
        let member = round_trip(&entry);
        let place = |change: fn(&mut Extent)| {
            let mut entry = entry.clone();
            let home = entry.home.clone();
            if let EntryKind::File { extents, .. } = &mut entry.kind {
                let extent = &mut extents[0];
                (extent.backup, extent.volume, extent.offset) =
                    (home.backup, home.volume, home.offset + member.header_bytes);
                change(extent);
            }
            member.misplaced_content(&entry)
        };
        assert_eq!(place(|_| {}), None);
        assert!(place(|e| e.offset += 1).is_some());
        assert!(place(|e| e.offset -= 512).is_some());
        assert!(place(|e| e.volume += 1).is_some());
        assert!(place(|e| e.length += 1).is_some());
        assert!(place(|e| e.backup = "20200101-000000".parse().unwrap()).is_some());
    }
    assert_eq!(round_trip(&entry("a", stub(9, None))).misplaced_content(&entry("a", stub(9, None))), None);
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => proptest::sample::select(&b"ab.\n=% \xff\xc3"[..]), 1 => 1_u8..=255];
    let name = proptest::collection::vec(byte, 1..120);
    proptest::collection::vec(name, 1..5)
        .prop_map(|names| names.join(&b'/'))
        .prop_filter("a valid path", |path| EntryPath::new(&path[..]).is_ok())
}

fn any_number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..5000_u32, 2_097_150..2_097_155_u32, Just(u32::MAX), any::<u32>()]
}

fn any_regions() -> impl Strategy<Value = (u64, Vec<(u64, u64)>)> {
    let part = prop_oneof![Just(0_u64), 1..5000_u64, Just(1_u64 << 33)];
    (proptest::collection::vec((part.clone(), part.clone()), 0..40), part).prop_map(|(parts, rest)| {
        let mut end = 0;
        let regions = parts.into_iter().map(|(hole, data)| {
            let offset = end + hole;
            end = offset + data;
            (offset, data)
        });
        let regions: Vec<_> = regions.collect();
        (end + rest, regions)
    })
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let target = proptest::collection::vec(1_u8..=255, 1..300);
    let size = prop_oneof![0..2000_u64, (1_u64 << 33) - 2..(1 << 33) + 2, 0..1_u64 << 50];
    prop_oneof![
        size.prop_map(file),
        any_regions().prop_map(|(size, regions)| sparse_file(size, Some(regions))),
        any_regions().prop_map(|(size, regions)| stub(size, Some(regions))),
        Just(EntryKind::Dir),
        Just(EntryKind::Fifo),
        target.prop_map(|target| EntryKind::Symlink { target }),
        any_path().prop_map(|path| EntryKind::Hardlink { target: EntryPath::new(path).unwrap() }),
        (any_number(), any_number()).prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        (any_number(), any_number()).prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
    ]
}

prop_compose! {
    fn any_entry()(
        path in any_path(),
        kind in any_kind(),
        (mode, uid, gid) in (0..=0o7777_u32, any_number(), any_number()),
        (user, group) in ("[a-zü=\n]{0,40}", "[a-z]{29,33}"),
        seconds in prop_oneof![-3..3_i64, (1_i64 << 33) - 2..(1 << 33) + 2, i64::MIN..i64::MAX],
        nanoseconds in prop_oneof![Just(0), 0..1_000_000_000_u32],
        xattrs in proptest::collection::btree_map(
            proptest::collection::vec(1_u8..=255, 1..60), proptest::collection::vec(any::<u8>(), 0..1200), 0..5),
    ) -> Entry {
        let mut entry = entry(path, kind);
        (entry.mode, entry.uid, entry.gid, entry.user, entry.group) = (mode, uid, gid, user, group);
        entry.mtime = at(seconds, nanoseconds);
        entry.xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect();
        entry
    }
}

proptest! {
    #[test]
    fn every_entry_comes_back(entry in any_entry()) {
        round_trip(&entry);
    }

    #[test]
    fn changed_bytes_are_refused_or_read_but_never_panic(
        entry in any_entry(), changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6), resum: bool,
    ) {
        let mut bytes = header_of(&entry);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if resum {
            bytes.chunks_mut(BLOCK).filter(|b| b[257..262] == *b"ustar").for_each(bad::set_checksum);
        }
        match scan_member(&bytes) {
            Ok(Scan::Member(member)) => drop(member.difference(&entry)),
            Ok(Scan::More(wanted)) => prop_assert!(wanted > bytes.len() as u64),
            Ok(Scan::End) | Err(_) => {}
        }
    }
}
