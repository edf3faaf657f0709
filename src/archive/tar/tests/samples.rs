//! Every awkward entry, for comparisons with other programs.

use super::*;

/// An entry with its stored content.
pub(super) struct Sample {
    pub(super) entry: Entry,
    pub(super) stored: Vec<u8>,
}

impl Sample {
    /// The content with its holes.
    pub(super) fn content(&self) -> Vec<u8> {
        match &self.entry.kind {
            EntryKind::File { in_pieces: false, regions: Some(regions), size, .. } => {
                expand(&self.stored, regions, *size)
            }
            _ => self.stored.clone(),
        }
    }
}

pub(super) fn expand(mut stored: &[u8], regions: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(size).unwrap()];
    for &(offset, length) in regions {
        let (data, rest) = stored.split_at(length.try_into().unwrap());
        let offset = usize::try_from(offset).unwrap();
        out[offset..offset + data.len()].copy_from_slice(data);
        stored = rest;
    }
    out
}

pub(super) fn sample(path: impl AsRef<[u8]>, kind: EntryKind, change: impl FnOnce(&mut Entry)) -> Sample {
    let mut entry = entry(path, kind);
    change(&mut entry);
    let length = match &entry.kind {
        EntryKind::File { in_pieces: false, extents, .. } => extents[0].length,
        _ => 0,
    };
    Sample { stored: (1..=251).cycle().take(length.try_into().unwrap()).collect(), entry }
}

pub(super) const ESCAPED: &str = "attributes/escaped";
pub(super) const ACL: &str = "attributes/acl";
pub(super) const STUB: &str = "stub";
pub(super) const BEFORE_1970: &str = "dir/before-1970";

/// Everything awkward, in tree order as in an archive: GNU tar sets a folder's time when it sees the next one.
pub(super) fn samples() -> Vec<Sample> {
    let deep = vec!["d".repeat(149); 20].join("/") + "/file";
    let long_dir = "l".repeat(99);
    let target = |path: &str| EntryKind::Hardlink { target: EntryPath::new(path.as_bytes()).unwrap() };
    // user::rwx, user:1000:r--, group::r-x, mask::r-x, other::r--
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x05\0\xff\xff\xff\xff\
        \x10\0\x05\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut samples = vec![
        sample("dir", EntryKind::Dir, |e| (e.mode, e.mtime) = (0o2751, at(1_600_000_000, 123_456_789))),
        sample("dir/plain", file(6), |e| (e.mode, e.uid, e.gid) = (0o4755, 1000, 1001)),
        sample("dir/plain-too", target("dir/plain"), |e| (e.mode, e.uid, e.gid) = (0o4755, 1000, 1001)),
        sample("dir/empty", file(0), |e| e.mode = 0),
        sample(BEFORE_1970, file(512), |e| e.mtime = at(-6, 750_000_000)),
        sample("dir/blocks", file(100_001), |e| e.mtime = at(-7, 0)),
        sample(b"new\nline\xff\xc3", file(3), |e| (e.uid, e.gid) = (3_000_000_000, 2_097_152)),
        sample("-dash \\n \"q\" =%3D ", file(3), |e| e.mtime = at(1, 1)),
        sample("grün/日本", file(3), |e| e.mtime = at(1_700_000_000, 999_999_999)),
        sample("n".repeat(255), file(3), |_| {}),
        sample(format!("{long_dir}/cut-at-the-slash"), file(3), |_| {}),
        sample(&deep, file(3), |e| e.uid = 7),
        sample("dir/hard-to-deep", target(&deep), |e| e.uid = 7),
        sample("sticky", EntryKind::Dir, |e| e.mode = 0o1777),
        sample("shut", EntryKind::Dir, |e| e.mode = 0o100),
        sample("shut/inside", file(1), |_| {}),
        sample("link", EntryKind::Symlink { target: b"../no\nwhere\xff".to_vec() }, |e| {
            (e.mode, e.uid, e.mtime) = (0o777, 5, at(1_500_000_000, 500_000_000));
        }),
        sample("long-link", EntryKind::Symlink { target: b"t/".repeat(1000) }, |e| e.mode = 0o777),
        sample("fifo", EntryKind::Fifo, |e| e.mode = 0o622),
        sample("null", EntryKind::CharDevice { major: 1, minor: 3 }, |e| e.mode = 0o666),
        sample("loop", EntryKind::BlockDevice { major: 7, minor: 1_000_000 }, |e| (e.mode, e.gid) = (0o660, 6)),
        sample("attributes", EntryKind::Dir, |e| e.xattrs = vec![xattr(b"user.of-a-folder", b"yes")]),
        sample("attributes/binary", file(9), |e| {
            e.mode = 0o755;
            e.xattrs = vec![
                xattr(b"security.capability", capability),
                xattr(b"user.all", &(0..=255).chain(*b"\n30 path=../evil\n").collect::<Vec<_>>()),
                xattr(b"user.long", &[b'\n'; 3000]),
            ];
        }),
        sample(ESCAPED, file(9), |e| {
            e.xattrs = vec![xattr(b"user.%41", b"%3D"), xattr(b"user.a=b%c", b"=1"), xattr(b"user.line\n", b"")];
        }),
        sample(ACL, file(9), |e| (e.mode, e.xattrs) = (0o754, vec![xattr(b"system.posix_acl_access", acl)])),
        sample("sparse/hole", sparse_file(1 << 20, Some(vec![])), |_| {}),
        sample("sparse/none", sparse_file(0, Some(vec![])), |_| {}),
        sample("sparse/full", sparse_file(10_000, Some(vec![(0, 4096), (4096, 5904)])), |_| {}),
        sample("sparse/start", sparse_file(1 << 20, Some(vec![((1 << 20) - 4608, 4608)])), |_| {}),
        sample("sparse/end", sparse_file(1 << 20, Some(vec![(0, 4608)])), |e| e.mode = 0o600),
        sample("sparse/both", sparse_file(300_000, Some(vec![(0, 4096), (81_920, 4608), (199_680, 1)])), |_| {}),
        sample("s".repeat(120), sparse_file(100_000, Some(vec![(49_664, 10)])), |_| {}),
        sample(b"sparse/\xff", sparse_file(200_000, Some((0..100).map(|n| (n * 1024, 512)).collect())), |_| {}),
        sample(STUB, stub(1 << 30, None), |e| e.mtime = at(1, 5)),
    ];
    samples.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    samples
}

pub(super) fn samples_but(names: &[&str]) -> Vec<Sample> {
    samples().into_iter().filter(|s| names.iter().all(|name| s.entry.path.as_bytes() != name.as_bytes())).collect()
}

pub(super) fn archive(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::new();
    for sample in samples {
        let content = write_member_header(&sample.entry, &mut out);
        assert_eq!(content, sample.stored.len() as u64);
        out.extend_from_slice(&sample.stored);
        out.resize(out.len() + padding(content), 0);
    }
    out.extend_from_slice(&END);
    out
}

/// All members of a tar with their stored content.
pub(super) fn members(tar: &[u8]) -> Vec<(Member, &[u8])> {
    let (mut rest, mut list) = (tar, Vec::new());
    while let Some(member) = parse_member(rest).unwrap() {
        let (_, behind) = rest.split_at(member.header_bytes.try_into().unwrap());
        let (content, behind) = behind.split_at(member.content_bytes.try_into().unwrap());
        rest = &behind[padding(member.content_bytes)..];
        list.push((member, content));
    }
    list
}
