//! Every defect has its name in the error.

use super::*;
use crate::error::Kind;

pub(super) fn set_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    field::put_number(&mut block[148..156], sum);
}

/// A ustar member without extensions, changed by `change` and with the right checksum.
fn raw(kind: u8, name: &[u8], size: u64, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = header_of(&entry("x", EntryKind::Fifo));
    block[..100].fill(0);
    field::put_text(&mut block[..100], name);
    field::put_number(&mut block[124..136], size);
    block[156] = kind;
    change(&mut block);
    set_checksum(&mut block);
    block
}

/// An extension header with its data.
fn extension(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = raw(kind, b"extension", data.len() as u64, |_| {});
    out.extend_from_slice(data);
    out.resize(out.len() + padding(data.len() as u64), 0);
    out
}

/// A file of `size` bytes after a pax header with the given records.
fn with_records(records: &[(&str, &[u8])], size: u64) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        pax::put(&mut data, key.as_bytes(), value);
    }
    [extension(b'x', &data), raw(b'0', b"name", size, |_| {})].concat()
}

fn refused(bytes: &[u8], words: &str) {
    let error = parse_member(bytes).expect_err(words);
    assert_eq!(error.kind(), Kind::Damage);
    assert!(error.one_line().contains(words), "{:?} does not say {words:?}", error.one_line());
}

fn path_of(bytes: &[u8]) -> Vec<u8> {
    parse_member(bytes).unwrap().unwrap().path
}

#[test]
fn names_that_could_leave_the_target_are_refused() {
    for name in [&b"/etc/passwd"[..], b"../x", b"a/../../x", b"a/./b", b"a//b", b"", b".", b"./", b".//etc", b"./../x"]
    {
        refused(&raw(b'7', name, 0, |_| {}), "the path");
        refused(&raw(b'1', b"ok", 0, |b| field::put_text(&mut b[157..257], name)), "the path");
        refused(&[extension(b'L', name), raw(b'7', b"ok", 0, |_| {})].concat(), "the path");
        if name != b"./" {
            // In an ordinary file's name, the slash would tell that it is a folder, the harmless one at the top.
            refused(&with_records(&[("path", name)], 0), "the path");
        }
    }
    refused(&with_records(&[("path", b"a\0b")], 0), "NUL");
    refused(&extension(b'L', b"a\0b\0").into_iter().chain(raw(b'0', b"x", 0, |_| {})).collect::<Vec<_>>(), "NUL");
    refused(&raw(b'5', b"/", 0, |_| {}), "the path");
    refused(&raw(b'5', b"..", 0, |_| {}), "the path");
    refused(&raw(b'2', b"link", 0, |_| {}), "target");
    refused(&raw(b'0', b"x", 0, |b| field::put_text(&mut b[345..500], b"/abs")), "the path");
}

#[test]
fn harmless_forms_of_names_are_stripped() {
    assert_eq!(path_of(&raw(b'0', b"./a/b", 0, |_| {})), b"a/b");
    assert_eq!(path_of(&raw(b'5', b"./a/b//", 0, |_| {})), b"a/b");
    assert_eq!(path_of(&raw(b'5', b"./", 0, |_| {})), b".");
    assert_eq!(path_of(&raw(b'5', b".", 0, |_| {})), b".");
    assert_eq!(path_of(&raw(b'0', b"name", 0, |b| field::put_text(&mut b[345..500], b"pre/fix"))), b"pre/fix/name");
    let old = raw(0, b"v7/", 0, |b| b[257..].fill(0));
    assert_eq!(parse_member(&old).unwrap().unwrap().kind, MemberKind::Dir);
    let long = "long/".repeat(60) + "x";
    let link = "t".repeat(200);
    let bytes = [
        extension(b'K', format!("{link}\0").as_bytes()),
        extension(b'L', format!("{long}\0").as_bytes()),
        raw(b'2', b"long", 0, |b| b[257..265].copy_from_slice(b"ustar  \0")),
    ];
    let member = parse_member(&bytes.concat()).unwrap().unwrap();
    assert_eq!(member.path, long.as_bytes());
    assert_eq!(member.kind, MemberKind::Symlink(link.into_bytes()));
}

#[test]
fn broken_headers_are_refused() {
    let good = header_of(&entry("x", file(1)));
    for at in [0, 107, 130, 156, 300, 511] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        refused(&bytes, "wrong checksum");
    }
    refused(&raw(b'0', b"x", 0, |b| b[124..136].copy_from_slice(b"00000000z00\0")), "has the size");
    refused(&raw(b'0', b"x", 0, |b| b[124..136].copy_from_slice(b"-0000000001\0")), "has the size");
    refused(&raw(b'0', b"x", 0, |b| b[124..136].fill(0xff)), "has the size");
    refused(&raw(b'0', b"x", 1 << 61, |_| {}), "2^60");
    refused(&raw(b'0', b"x", 0, |b| b[100..108].copy_from_slice(b"rw-rw-rw")), "has the mode");
    refused(&raw(b'0', b"x", 0, |b| b[108..116].fill(0xff)), "has the uid");
    refused(&raw(b'0', b"x", 0, |b| b[136..148].copy_from_slice(b"0000 000000\0")), "has the time");
    refused(&raw(b'3', b"x", 0, |b| field::put_number(&mut b[329..337], 1 << 32)), "device number");
    refused(&raw(b'Z', b"x", 0, |_| {}), "unknown type 'Z'");
    refused(&raw(b'S', b"x", 0, |_| {}), "old form");
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let link = |b: &mut [u8]| field::put_text(&mut b[157..257], b"t");
        refused(&raw(kind, b"x", 1, link), "must not have content");
    }
}

#[test]
fn numbers_in_base_256_are_read_within_64_bits() {
    let member = raw(b'0', b"x", 1 << 40, |b| {
        field::put_number(&mut b[108..116], 1 << 40);
        b[136..148].fill(0xff);
        b[147] = 0xfe;
    });
    let member = parse_member(&member).unwrap().unwrap();
    assert_eq!((member.uid, member.content_bytes, member.mtime), (1 << 40, 1 << 40, at(-2, 0)));
    refused(&raw(b'0', b"x", 0, |b| b[124..136].copy_from_slice(b"\x80\0\0\x01\0\0\0\0\0\0\0\0")), "has the size");
}

#[test]
fn streams_must_end_with_two_empty_blocks() {
    refused(b"", "cut");
    refused(&[0; 512], "cut");
    refused(&[[0; 512], [1; 512]].concat(), "lone empty block");
    refused(&[&extension(b'x', b"11 uid=1000\n"[..].strip_suffix(b"").unwrap())[..], &END].concat(), "pax record");
    refused(&[&extension(b'x', b"12 uid=1000\n")[..], &END].concat(), "after an extension header");
    let good = header_of(&entry("é", file(1)));
    refused(&good[..good.len() - 1], "cut");
}

#[test]
fn pax_records_are_read_strictly() {
    for data in [
        &b"12 uid=1000"[..],
        b"13 uid=1000\n",
        b"11 uid=1000\n",
        b"0 uid=1000\n",
        b"12uid=1000\n",
        b" 12 uid=1\n",
        b"-1 uid=1000\n",
        b"9999999999 uid=1\n",
        b"99999999999999999999999999 a=b\n",
        b"12 uid=1000\n\0",
        b"5 =a\n",
        b"8 uid 1\n",
        b"1 ",
        b"\n",
        b"3 \n",
    ] {
        refused(&[extension(b'x', data), raw(b'0', b"x", 0, |_| {})].concat(), "a pax record cannot be read");
    }
    for (key, value) in [
        ("uid", &b"-1"[..]),
        ("size", b""),
        ("size", b"0x10"),
        ("gid", b"18446744073709551616"),
        ("mtime", b"now"),
        ("mtime", b"\xff"),
        ("mtime", b"99999999999999999999"),
        ("CCBACKUP.pieces", b"2"),
    ] {
        assert_eq!(parse_member(&with_records(&[(key, value)], 0)).unwrap_err().kind(), Kind::Damage, "{key}");
    }
    refused(&with_records(&[("path", b"a"), ("path", b"b")], 0), "\"path\" twice");
    refused(&with_records(&[("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.user.a", b"2")], 0), "user.a\" twice");
    refused(&with_records(&[("SCHILY.xattr.", b"1")], 0), "impossible");
    refused(&with_records(&[("SCHILY.xattr.a\0", b"1")], 0), "impossible");
    refused(&with_records(&[("uname", b"a\0")], 0), "owner's name");
    refused(&with_records(&[("size", b"2000000000000000000")], 0), "2^60");
    let odd = with_records(&[("uname", b""), ("atime", b"?"), ("SCHILY.xattr.user.%41%3d", b"x")], 3);
    let member = parse_member(&odd).unwrap().unwrap();
    assert_eq!((member.xattrs[0].name.as_slice(), member.content_bytes), (&b"user.%41%3d"[..], 3));
}

#[test]
fn a_newline_in_a_value_forges_no_record() {
    let value = b"x\n20 path=../../evil\n";
    let member = parse_member(&with_records(&[("SCHILY.xattr.user.a", value)], 0)).unwrap().unwrap();
    assert_eq!((&member.path[..], &member.xattrs[..]), (&b"name"[..], &[xattr(b"user.a", value)][..]));
}

#[test]
fn doubled_and_oversized_extension_headers_are_refused() {
    let file = raw(b'0', b"x", 0, |_| {});
    let x = extension(b'x', b"12 uid=1000\n");
    refused(&[&x[..], &x, &file].concat(), "twice");
    let long = extension(b'L', b"name\0");
    refused(&[&long[..], &long, &file].concat(), "twice");
    refused(&[&long[..], &with_records(&[("path", b"other")], 0)].concat(), "two forms");
    refused(&raw(b'x', b"x", MAX_PAX_BYTES as u64 + 1, |_| {}), "exceeds 8388608");
    refused(&raw(b'L', b"x", (64 << 10) + 1, |_| {}), "exceeds 65536");
    let comment = extension(b'g', b"18 comment=a b c\n\n");
    assert_eq!(path_of(&[&comment[..], &x, &file].concat()), b"x");
    refused(&[&comment[..], &comment, &file].concat(), "twice");
    refused(&[extension(b'g', b"12 uid=1000\n"), file].concat(), "global pax header sets \"uid\"");
}

/// A sparse file with the given map at the start of its `stored` bytes.
fn sparse_with(map: &[u8], stored: u64, size: &str) -> Vec<u8> {
    let keys = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    let mut out = with_records(&keys, stored);
    out.extend_from_slice(map);
    out.resize(out.len() + padding(map.len() as u64), 0);
    out
}

#[test]
fn lying_sparse_maps_are_refused() {
    assert_eq!(path_of(&sparse_with(b"1\n5\n10\n", 522, "20")), b"s");
    refused(&sparse_with(b"1\n5\n10\n", 522, "14"), "exceeds the size");
    refused(&sparse_with(b"2\n5\n10\n14\n1\n", 523, "20"), "out of order");
    refused(&sparse_with(b"1\n18446744073709551615\n1\n", 513, "20"), "out of order or exceeds");
    refused(&sparse_with(b"1\n18446744073709551616\n1\n", 513, "20"), "not a number");
    refused(&sparse_with(b"1\n-1\n1\n", 513, "20"), "not a number");
    refused(&sparse_with(b"1\n\n1\n", 513, "20"), "not a number");
    refused(&sparse_with(b"1\n5\n10\n", 521, "20"), "bytes are stored");
    refused(&sparse_with(b"1\n5\n10\n", 523, "20"), "bytes are stored");
    refused(&sparse_with(b"1000001\n", 1 << 40, "20"), "claims 1000001 entries");
    refused(&sparse_with(b"1000\n", 522, "20"), "claims 1000 entries");
    refused(&sparse_with(b"\0", 522, "20"), "cut or no text");
    refused(&sparse_with(b"2\n5\n", 4, "20"), "claims 2");
    refused(&sparse_with(b"1\n5\n", 4, "20"), "cut");
    refused(&sparse_with(b"1\n5\n10", 6, "20"), "cut");
    refused(&sparse_with(b"", 0, "20"), "cut");
    refused(&sparse_with(b"1\n0\n0\n", 512, "2000000000000000000"), "2^60");
    refused(&with_records(&[("GNU.sparse.major", b"1")], 0), "GNU.sparse 1.0");
    refused(&with_records(&[("GNU.sparse.name", b"x")], 0), "GNU.sparse 1.0");
    refused(&with_records(&[("GNU.sparse.map", b"0,1")], 0), "old form");
    let mut folder = sparse_with(b"1\n0\n0\n", 512, "0");
    folder[1024 + 156] = b'6';
    set_checksum(&mut folder[1024..1536]);
    refused(&folder, "must not have content");
}

#[test]
fn a_stub_with_content_is_refused() {
    refused(&with_records(&[("CCBACKUP.pieces", b"1")], 1), "must not have content");
}
