//! Writes the header blocks of members (FORMAT.md §5).
//!
//! Invariant: bytes depend on the entry alone, with pax records in a fixed order and only where ustar does not suffice.

use std::borrow::Cow;

use tar::Header;

use crate::model::{Entry, EntryKind, EntryPath};

use super::block::{BLOCK, PIECES_DIR, padding};
use super::field::{octal_max, put_number, put_text};
use super::{pax, sparse};

/// Name of every member that holds pax records.
const PAX_NAME: &[u8] = b"././@PaxHeader";
/// Folder that GNU tar puts into the visible name of a sparse file, so that readers which do not know sparse files put
/// the packed form aside.
const SPARSE_DIR: &[u8] = b"GNUSparseFile.0";

/// A path that begins with a dash gets `./` before it: in a list of names GNU tar would take it for an option, escaped
/// or not.
fn member_name(path: &EntryPath) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    if bytes.first() == Some(&b'-') { Cow::Owned([b"./", bytes].concat()) } else { Cow::Borrowed(bytes) }
}

/// Appends all header blocks of the entry's member: pax records when some are needed, the ustar header, and the map of
/// a sparse file.
///
/// Returns the size of the content that must follow, before [`padding`]: the stored bytes of a file that is not in
/// pieces, 0 for everything else. Attribute names must satisfy [`can_hold_xattr`](super::can_hold_xattr), regions must
/// be as [`align_regions`](super::align_regions) makes them and at most [`MAX_REGIONS`](super::MAX_REGIONS), and all
/// attributes together should stay below [`MAX_PAX_BYTES`](super::MAX_PAX_BYTES), or the member is refused when it is read.
pub fn write_member_header(entry: &Entry, out: &mut Vec<u8>) -> u64 {
    let plain_name = member_name(&entry.path);
    let mut name = plain_name.to_vec();
    let mut target = &[][..];
    let mut device = (0, 0);
    let mut content = 0;
    let mut stub = false;
    let mut map = Vec::new();
    let mut sparse_size = None;
    let kind = match &entry.kind {
        EntryKind::File { in_pieces: true, .. } => {
            stub = true;
            b'0'
        }
        // GNU tar cannot extract a sparse file of size 0, and there are no holes in it.
        EntryKind::File { size, regions: None, .. } | EntryKind::File { size: size @ 0, .. } => {
            content = *size;
            b'0'
        }
        EntryKind::File { size, regions: Some(regions), .. } => {
            sparse::put_map(&mut map, regions, *size);
            content = regions.iter().fold(0, |sum, r| r.1.saturating_add(sum));
            sparse_size = Some(*size);
            match name.iter().rposition(|&b| b == b'/') {
                Some(at) => drop(name.splice(at + 1..at + 1, [SPARSE_DIR, b"/"].concat())),
                // As GNU tar does for a file without a folder.
                None => drop(name.splice(..0, [b"./", SPARSE_DIR, b"/"].concat())),
            }
            b'0'
        }
        EntryKind::Hardlink { target: first } => {
            target = first.as_bytes();
            b'1'
        }
        EntryKind::Symlink { target: text } => {
            target = text;
            b'2'
        }
        EntryKind::CharDevice { major, minor } => {
            device = (*major, *minor);
            b'3'
        }
        EntryKind::BlockDevice { major, minor } => {
            device = (*major, *minor);
            b'4'
        }
        EntryKind::Dir => {
            name.push(b'/');
            b'5'
        }
        EntryKind::Fifo => b'6',
    };

    let mut block = Block::new(kind);
    block.path(&name);
    block.linkpath(target);
    block.size(content.saturating_add(map.len() as u64));
    block.owner(entry);
    block.mtime(entry);
    if let Some(size) = sparse_size {
        block.record(b"GNU.sparse.major", b"1");
        block.record(b"GNU.sparse.minor", b"0");
        block.record(b"GNU.sparse.name", &plain_name);
        block.record(b"GNU.sparse.realsize", size.to_string().as_bytes());
    }
    let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
    xattrs.sort();
    for xattr in xattrs {
        block.record(&pax::xattr_key(&xattr.name), &xattr.value);
    }
    if stub {
        block.record(pax::PIECES, b"1");
    }
    block.ustar(|h| {
        put_number(&mut h.mode, (entry.mode & 0o7777).into());
        put_number(&mut h.dev_major, device.0.into());
        put_number(&mut h.dev_minor, device.1.into());
    });
    block.finish(out);
    out.extend_from_slice(&map);
    content
}

/// Appends the header of a member that holds `length` bytes of pieces: a file `.ccbackup-pieces/<number>` that only
/// root may read.
pub fn write_piece_header(number: u64, length: u64, out: &mut Vec<u8>) {
    let mut block = Block::new(b'0');
    block.path(format!("{PIECES_DIR}/{number}").as_bytes());
    block.size(length);
    block.ustar(|h| put_number(&mut h.mode, 0o600));
    block.finish(out);
}

/// A ustar header and the pax records for what it cannot hold.
struct Block {
    header: Header,
    records: Vec<u8>,
}

impl Block {
    fn new(kind: u8) -> Self {
        let mut block = Self { header: Header::new_ustar(), records: Vec::new() };
        block.ustar(|h| {
            h.typeflag = [kind];
            for field in [&mut h.mode, &mut h.uid, &mut h.gid, &mut h.dev_major, &mut h.dev_minor] {
                put_number(field, 0);
            }
            put_number(&mut h.size, 0);
            put_number(&mut h.mtime, 0);
        });
        block
    }

    fn ustar(&mut self, change: impl FnOnce(&mut tar::UstarHeader)) {
        // `new_ustar` made it one.
        if let Some(header) = self.header.as_ustar_mut() {
            change(header);
        }
    }

    fn record(&mut self, key: &[u8], value: &[u8]) {
        pax::put(&mut self.records, key, value);
    }

    fn path(&mut self, name: &[u8]) {
        let mut short = &name[..name.len().min(100)];
        if short.len() < name.len() {
            // A slash at the cut would make a folder of it for readers that do not know pax.
            short = short.strip_suffix(b"/").unwrap_or(short);
        }
        if short.len() < name.len() || !name.is_ascii() {
            self.record(b"path", name);
        }
        self.ustar(|h| put_text(&mut h.name, short));
    }

    fn linkpath(&mut self, target: &[u8]) {
        if target.len() > 100 || !target.is_ascii() {
            self.record(b"linkpath", target);
        }
        self.ustar(|h| put_text(&mut h.linkname, target));
    }

    fn size(&mut self, size: u64) {
        if size > octal_max(12) {
            self.record(b"size", size.to_string().as_bytes());
        }
        self.ustar(|h| put_number(&mut h.size, size.min(octal_max(12))));
    }

    fn owner(&mut self, entry: &Entry) {
        for (key, number) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if u64::from(number) > octal_max(8) {
                self.record(key, number.to_string().as_bytes());
            }
        }
        // 31 bytes, because POSIX wants a NUL at the end of the field.
        for (key, name) in [(&b"uname"[..], &entry.user), (b"gname", &entry.group)] {
            if name.len() > 31 || !name.is_ascii() {
                self.record(key, name.as_bytes());
            }
        }
        self.ustar(|h| {
            put_number(&mut h.uid, u64::from(entry.uid).min(octal_max(8)));
            put_number(&mut h.gid, u64::from(entry.gid).min(octal_max(8)));
            put_text(&mut h.uname[..31], entry.user.as_bytes());
            put_text(&mut h.gname[..31], entry.group.as_bytes());
        });
    }

    fn mtime(&mut self, entry: &Entry) {
        let field = u64::try_from(entry.mtime.seconds).unwrap_or(0).min(octal_max(12));
        if entry.mtime.nanoseconds > 0 || u64::try_from(entry.mtime.seconds) != Ok(field) {
            self.record(b"mtime", entry.mtime.to_string().as_bytes());
        }
        self.ustar(|h| put_number(&mut h.mtime, field));
    }

    /// Appends the blocks: first the records as a member of their own, if there are any.
    fn finish(mut self, out: &mut Vec<u8>) {
        if !self.records.is_empty() {
            let length = self.records.len() as u64;
            let mut pax = Self::new(b'x');
            pax.ustar(|h| {
                put_text(&mut h.name, PAX_NAME);
                put_number(&mut h.mode, 0o644);
                put_number(&mut h.size, length);
            });
            pax.header.set_cksum();
            let padding = padding(length);
            out.reserve(self.records.len() + padding + 2 * BLOCK);
            out.extend_from_slice(pax.header.as_bytes());
            out.extend_from_slice(&self.records);
            out.resize(out.len() + padding, 0);
        }
        self.header.set_cksum();
        out.extend_from_slice(self.header.as_bytes());
    }
}
