//! Tar headers from anywhere: no panic, bounded wishes, and what is accepted can be written and read back unchanged.
#![no_main]

use std::borrow::Cow;

use ccbackup::archive::tar::{
    BLOCK, MAX_REGIONS, Member, MemberKind, Scan, align_regions, can_hold_xattr, parse_member, scan_member,
    write_member_header,
};
use ccbackup::model::{BackupId, Digest, Entry, EntryKind, EntryPath, Extent, Position};
use libfuzzer_sys::fuzz_target;

/// Headers may ask for at most this many bytes; see [`Scan::More`].
const MOST_WANTED: u64 = 65 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    // Chance does not find checksums, so half of the inputs get right ones.
    let bytes = if mode & 1 == 1 { Cow::Owned(with_checksums(bytes)) } else { Cow::Borrowed(bytes) };
    let scanned = scan_member(&bytes);
    let parsed = parse_member(&bytes);
    match scanned {
        Ok(Scan::Member(member)) => {
            check(&member, &bytes);
            assert_eq!(parsed.ok().flatten(), Some(*member));
        }
        Ok(Scan::End) => assert_eq!(parsed.ok(), Some(None)),
        Ok(Scan::More(wanted)) => {
            assert!(wanted > bytes.len() as u64 && wanted <= MOST_WANTED, "{wanted} of {}", bytes.len());
            assert!(parsed.is_err());
        }
        Err(_) => assert!(parsed.is_err()),
    }
});

fn check(member: &Member, bytes: &[u8]) {
    assert!(member.header_bytes <= bytes.len() as u64);
    assert_eq!(member.header_bytes % BLOCK as u64, 0);
    assert!(member.mode <= 0o7777);
    assert!(member.content_bytes <= 1 << 60 && member.real_size <= 1 << 60);
    match &member.regions {
        None => assert_eq!(member.content_bytes, member.real_size),
        Some(regions) => {
            let mut end = 0;
            for &(offset, length) in regions {
                assert!(length > 0 && offset >= end);
                end = offset + length;
            }
            assert!(end <= member.real_size);
            assert_eq!(regions.iter().map(|r| r.1).sum::<u64>(), member.content_bytes);
        }
    }
    // A reader that has only a part waits for the rest or refuses, and never sees another member.
    for cut in [member.header_bytes / 2, member.header_bytes - 1, member.header_bytes] {
        let cut = usize::try_from(cut).expect("the input fits into memory");
        if let Ok(Scan::Member(part)) = scan_member(&bytes[..cut]) {
            assert_eq!(*part, *member);
        }
    }
    if let Some(entry) = entry(member) {
        let mut written = Vec::new();
        let content = write_member_header(&entry, &mut written);
        let read = parse_member(&written).expect("own headers are read").expect("they hold a member");
        assert_eq!(read.header_bytes, written.len() as u64);
        assert_eq!(read.content_bytes, content);
        assert_eq!(read.difference(&entry), None);
    }
}

/// The entry of a member; none where the index is narrower than tar.
fn entry(member: &Member) -> Option<Entry> {
    let home = Position { backup: "20260117-143000".parse::<BackupId>().ok()?, volume: 0, offset: 0 };
    let kind = match &member.kind {
        MemberKind::File => {
            let mut regions = member.regions.clone();
            if let Some(regions) = &mut regions {
                align_regions(regions, member.real_size);
            }
            if regions.as_ref().is_some_and(|r| r.len() > MAX_REGIONS) {
                return None;
            }
            let stored = regions.as_ref().map_or(member.real_size, |r| r.iter().map(|r| r.1).sum());
            EntryKind::File {
                size: member.real_size,
                sha256: Digest::of(b""),
                extents: vec![Extent { backup: home.backup.clone(), volume: 0, offset: 0, length: stored }],
                in_pieces: member.in_pieces,
                regions,
                chunks: vec![],
                unsettled: false,
            }
        }
        MemberKind::Dir => EntryKind::Dir,
        MemberKind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
        MemberKind::Hardlink(target) => EntryKind::Hardlink { target: EntryPath::new(target.clone()).ok()? },
        MemberKind::Fifo => EntryKind::Fifo,
        &MemberKind::CharDevice(major, minor) => EntryKind::CharDevice { major, minor },
        &MemberKind::BlockDevice(major, minor) => EntryKind::BlockDevice { major, minor },
    };
    if !member.xattrs.iter().all(|x| can_hold_xattr(&x.name)) {
        return None;
    }
    Some(Entry {
        path: (member.path != b".").then(|| EntryPath::new(member.path.clone()).expect("paths are checked"))?,
        kind,
        mode: member.mode,
        uid: member.uid.try_into().ok()?,
        gid: member.gid.try_into().ok()?,
        user: String::from_utf8(member.user.clone()).ok()?,
        group: String::from_utf8(member.group.clone()).ok()?,
        mtime: member.mtime,
        ctime: member.mtime,
        inode: 0,
        xattrs: member.xattrs.clone(),
        home,
    })
}

/// Puts the right checksum into the first block and every other that looks like a header.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, block) in bytes.chunks_exact_mut(BLOCK).enumerate() {
        if at == 0 || &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
    bytes
}
