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
    // The order of the records below is a part of the format: a referenced member must be the one that would be written.
    let plain_name = member_name(&entry.path);
    let sparse = sparse_form(&entry.kind);
    let (type_flag, target, (major, minor)) = ustar_form(&entry.kind);
    let mut map = Vec::new();
    let content = match (&entry.kind, sparse) {
        (_, Some((size, regions))) => {
            sparse::put_map(&mut map, regions, size);
            regions.iter().fold(0, |sum, r| r.1.saturating_add(sum))
        }
        (EntryKind::File { size, in_pieces: false, .. }, None) => *size,
        _ => 0,
    };

    let mut block = Block::new(type_flag);
    block.path(&visible_name(&plain_name, entry.kind == EntryKind::Dir, sparse.is_some()));
    block.linkpath(target);
    block.size(content.saturating_add(map.len() as u64));
    block.owner(entry);
    block.mtime(entry);
    if let Some((size, _)) = sparse {
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
    if matches!(entry.kind, EntryKind::File { in_pieces: true, .. }) {
        block.record(pax::PIECES, b"1");
    }
    block.ustar(|h| {
        put_number(&mut h.mode, (entry.mode & 0o7777).into());
        put_number(&mut h.dev_major, major.into());
        put_number(&mut h.dev_minor, minor.into());
    });
    block.finish(out);
    out.extend_from_slice(&map);
    content
}

/// Size and data regions of a file whose member has a map. GNU tar cannot extract a sparse file of size 0, and there are no
/// holes in it; a stub has neither map nor content.
fn sparse_form(kind: &EntryKind) -> Option<(u64, &[(u64, u64)])> {
    match kind {
        EntryKind::File { size: size @ 1.., in_pieces: false, regions: Some(regions), .. } => Some((*size, regions)),
        _ => None,
    }
}

/// What ustar has for each type: typeflag, text of the link field, device numbers.
fn ustar_form(kind: &EntryKind) -> (u8, &[u8], (u32, u32)) {
    match kind {
        EntryKind::File { .. } => (b'0', b"", (0, 0)),
        EntryKind::Hardlink { target } => (b'1', target.as_bytes(), (0, 0)),
        EntryKind::Symlink { target } => (b'2', target, (0, 0)),
        EntryKind::CharDevice { major, minor } => (b'3', b"", (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (b'4', b"", (*major, *minor)),
        EntryKind::Dir => (b'5', b"", (0, 0)),
        EntryKind::Fifo => (b'6', b"", (0, 0)),
    }
}

/// The name that readers see which know neither pax nor sparse files.
fn visible_name<'a>(plain: &'a [u8], is_dir: bool, is_sparse: bool) -> Cow<'a, [u8]> {
    if is_dir {
        return [plain, b"/"].concat().into();
    }
    if !is_sparse {
        return plain.into();
    }
    match plain.iter().rposition(|&b| b == b'/') {
        Some(at) => [&plain[..=at], SPARSE_DIR, &plain[at..]].concat().into(),
        // As GNU tar does for a file without a folder.
        None => [b"./", SPARSE_DIR, b"/", plain].concat().into(),
    }
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
