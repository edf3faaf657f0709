//! The fields of an index line, read but not yet checked against each other (FORMAT.md §7).

use std::borrow::Cow;

use super::digest::Digest;
use super::entry::{Chunk, Extent, Position};
use super::scan::Scan;
use crate::error::Result;

/// The keys of a line in their order.
const KEYS: [&str; 21] = [
    "path",
    "type",
    "mode",
    "uid",
    "gid",
    "user",
    "group",
    "mtime",
    "ctime",
    "inode",
    "home",
    "size",
    "sha256",
    "content",
    "pieces",
    "regions",
    "chunks",
    "unsettled",
    "target",
    "device",
    "xattrs",
];

/// What a line says. Texts are still escaped, in the only form that they have.
#[derive(Debug, PartialEq)]
pub(crate) struct Fields<'a> {
    pub(crate) path: Cow<'a, str>,
    pub(crate) kind: &'a str,
    pub(crate) mode: &'a str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) group: Option<Cow<'a, str>>,
    pub(crate) mtime: &'a str,
    pub(crate) ctime: &'a str,
    pub(crate) inode: u64,
    pub(crate) home: Position,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<Digest>,
    pub(crate) content: Option<Vec<Extent>>,
    pub(crate) pieces: Option<Vec<Extent>>,
    pub(crate) regions: Option<Vec<(u64, u64)>>,
    pub(crate) chunks: Option<Vec<Chunk>>,
    pub(crate) unsettled: Option<bool>,
    pub(crate) target: Option<Cow<'a, str>>,
    pub(crate) device: Option<(u32, u32)>,
    /// Name and value, the value in base64.
    pub(crate) xattrs: Option<Vec<(Cow<'a, str>, &'a str)>>,
}

impl<'a> Fields<'a> {
    /// Reads a line, with or without its newline.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self> {
        let mut scan = Scan::new(line);
        Self::scan(&mut scan).ok_or_else(|| scan.fault("an index line"))
    }

    /// The same; none for a line that is not in the form of the format.
    pub(crate) fn as_written(line: &'a [u8]) -> Option<Self> {
        Self::scan(&mut Scan::new(line))
    }

    fn scan(scan: &mut Scan<'a>) -> Option<Self> {
        // Read in the order in which they are written here, which is that of the line.
        let fields = Self {
            path: scan.after("{\"path\":\"", Scan::escaped)?,
            kind: scan.after(",\"type\":\"", Scan::raw)?,
            mode: scan.after(",\"mode\":\"", Scan::raw)?,
            uid: scan.after(",\"uid\":", Scan::number)?,
            gid: scan.after(",\"gid\":", Scan::number)?,
            user: scan.optional(",\"user\":\"", Scan::escaped)?,
            group: scan.optional(",\"group\":\"", Scan::escaped)?,
            mtime: scan.after(",\"mtime\":\"", Scan::raw)?,
            ctime: scan.after(",\"ctime\":\"", Scan::raw)?,
            inode: scan.after(",\"inode\":", Scan::number)?,
            home: scan.after(",\"home\":", home)?,
            size: scan.optional(",\"size\":", Scan::number)?,
            sha256: scan.optional(",\"sha256\":\"", Scan::parsed)?,
            content: scan.optional(",\"content\":", |s| s.list(extent))?,
            pieces: scan.optional(",\"pieces\":", |s| s.list(extent))?,
            regions: scan.optional(",\"regions\":", |s| s.list(|s| s.pair(Scan::number, Scan::number)))?,
            chunks: scan.optional(",\"chunks\":", |s| s.filled_list(chunk))?,
            unsettled: scan.optional(",\"unsettled\":true", |_| Some(true))?,
            target: scan.optional(",\"target\":\"", Scan::escaped)?,
            device: scan.optional(",\"device\":", |s| s.pair(Scan::number, Scan::number))?,
            xattrs: scan.optional(",\"xattrs\":", |s| s.filled_list(xattr))?,
        };
        scan.end(&KEYS, "")?;
        Some(fields)
    }

    /// Whether the line has no key that belongs to another type than its own.
    pub(super) fn has_only_keys_of_its_type(&self) -> bool {
        let of_files = self.size.is_some()
            || self.sha256.is_some()
            || self.content.is_some()
            || self.pieces.is_some()
            || self.regions.is_some()
            || self.chunks.is_some()
            || self.unsettled.is_some();
        let (file, link, device) = match self.kind {
            "file" => (true, false, false),
            "symlink" | "hardlink" => (false, true, false),
            "char" | "block" => (false, false, true),
            _ => (false, false, false),
        };
        (file || !of_files)
            && (link || self.target.is_none())
            && (device || self.device.is_none())
            && (self.kind != "hardlink" || self.xattrs.is_none())
    }
}

/// A position without the bracket that ends it: extents go on.
fn position(scan: &mut Scan<'_>) -> Option<Position> {
    Some(Position {
        backup: scan.after("[", Scan::quoted)?,
        volume: scan.after(",", Scan::number)?,
        offset: scan.after(",", Scan::number)?,
    })
}

fn home(scan: &mut Scan<'_>) -> Option<Position> {
    let home = position(scan)?;
    scan.expect("]")?;
    Some(home)
}

fn extent(scan: &mut Scan<'_>) -> Option<Extent> {
    let Position { backup, volume, offset } = position(scan)?;
    let length = scan.after(",", Scan::number)?;
    scan.expect("]")?;
    Some(Extent { backup, volume, offset, length })
}

fn chunk(scan: &mut Scan<'_>) -> Option<Chunk> {
    scan.pair(Scan::number, Scan::quoted).map(|(length, sha256)| Chunk { length, sha256 })
}

fn xattr<'a>(scan: &mut Scan<'a>) -> Option<(Cow<'a, str>, &'a str)> {
    scan.pair(|s| s.after("\"", Scan::escaped), |s| s.after("\"", Scan::raw))
}
