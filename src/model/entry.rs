//! One entry of a component, and the JSON line that stands for it in the index (FORMAT.md §7).

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::{BackupId, Digest, EntryPath};
use crate::error::{Error, Result};
use crate::model::path::{escape, unescape};

/// A moment as whole seconds since 1970 (any sign) and nanoseconds (0 to 999 999 999) after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1 000 000 000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Reads the decimal form, `1700000000.5` or `-0.25`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::damage(format!("{:?} is not a time in seconds", text.chars().take(64).collect::<String>()));
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let decimal = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !decimal(whole) || !decimal(fraction) {
            return Err(bad());
        }
        // With its sign, because the lowest number has no positive counterpart.
        let seconds: i64 = text[..text.len() - digits.len() + whole.len()].parse().map_err(|_| bad())?;
        let nanoseconds =
            fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        Ok(match (negative, nanoseconds) {
            (false, _) | (true, 0) => Self { seconds, nanoseconds },
            (true, _) => {
                Self { seconds: seconds.checked_sub(1).ok_or_else(bad)?, nanoseconds: 1_000_000_000 - nanoseconds }
            }
        })
    }
}

/// The decimal form that PAX, `touch -d @…` and the index use.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, whole, nanoseconds) = match (self.seconds, self.nanoseconds) {
            (s, n) if s < 0 && n > 0 => ("-", (s + 1).unsigned_abs(), 1_000_000_000 - n),
            (s, n) => (if s < 0 { "-" } else { "" }, s.unsigned_abs(), n),
        };
        if nanoseconds == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{nanoseconds:09}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

/// An extended attribute: name and value, both raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name with its namespace, `user.comment`.
    pub name: Vec<u8>,
    /// Value, any bytes.
    pub value: Vec<u8>,
}

/// The archive and place that hold an entry's tar member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    /// Backup that holds the archive.
    pub backup: BackupId,
    /// Volume number of the component's archive, from 0.
    pub volume: u32,
    /// Where the member's first header block starts in the tar stream, in bytes.
    pub offset: u64,
}

/// A run of bytes in the tar stream of an archive of the same component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Backup that holds the archive.
    pub backup: BackupId,
    /// Volume number of the component's archive, from 0.
    pub volume: u32,
    /// Offset in the tar stream, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// A content-defined chunk of a large file: its length in bytes and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the chunk.
    pub sha256: Digest,
}

/// What an entry is, with what only that type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Logical size in bytes, holes included.
        size: u64,
        /// SHA-256 of the stored bytes: the whole content, or for a sparse file its data regions one after the other.
        sha256: Digest,
        /// Where the stored bytes are, in order. One extent inside the home member, unless `in_pieces`.
        extents: Vec<Extent>,
        /// The home member holds no (current) content; `extents` may lie anywhere in the chain.
        in_pieces: bool,
        /// Data regions `(offset, length)` of a sparse file in order; none when the file has no holes.
        regions: Option<Vec<(u64, u64)>>,
        /// Content-defined chunks of a large file, in order; they cover the stored bytes. Empty for small files.
        chunks: Vec<Chunk>,
        /// The content was not read cleanly: the next backup reads it again whatever its timestamps say.
        unsettled: bool,
    },
    /// A folder.
    Dir,
    /// A symbolic link; the target is kept as raw bytes and never followed.
    Symlink {
        /// The link's text.
        target: Vec<u8>,
    },
    /// Another name of the regular file, symlink or device at `target`, which comes earlier in the inventory.
    Hardlink {
        /// Path of the first name.
        target: EntryPath,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl EntryKind {
    /// The word in the index line's `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Dir => "dir",
            Self::Symlink { .. } => "symlink",
            Self::Hardlink { .. } => "hardlink",
            Self::Fifo => "fifo",
            Self::CharDevice { .. } => "char",
            Self::BlockDevice { .. } => "block",
        }
    }
}

/// One entry of a component's inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path inside the component.
    pub path: EntryPath,
    /// Type and what belongs to it.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: the low 12 bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name, empty when unknown.
    pub user: String,
    /// Group's name, empty when unknown.
    pub group: String,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Time of the last change of the inode; only for change detection, not restored.
    pub ctime: Timestamp,
    /// Inode number; only for change detection.
    pub inode: u64,
    /// Extended attributes, POSIX ACLs among them, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Where its tar member is.
    pub home: Home,
}

impl Entry {
    /// Appends the index line with its final newline. The same entry always gives the same bytes.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, args: std::fmt::Arguments<'_>| {
            out.write_fmt(args).expect("writing to memory does not fail");
        };
        put(out, format_args!("{{\"path\":\"{}\",\"type\":\"{}\"", json(&self.path.escaped()), self.kind.name()));
        put(out, format_args!(",\"mode\":\"{:04o}\",\"uid\":{},\"gid\":{}", self.mode, self.uid, self.gid));
        if !self.user.is_empty() {
            put(out, format_args!(",\"user\":\"{}\"", json(&escape(self.user.as_bytes()))));
        }
        if !self.group.is_empty() {
            put(out, format_args!(",\"group\":\"{}\"", json(&escape(self.group.as_bytes()))));
        }
        put(out, format_args!(",\"mtime\":\"{}\",\"ctime\":\"{}\",\"inode\":{}", self.mtime, self.ctime, self.inode));
        let home = &self.home;
        put(out, format_args!(",\"home\":[\"{}\",{},{}]", home.backup, home.volume, home.offset));
        match &self.kind {
            EntryKind::File { size, sha256, extents, in_pieces, regions, chunks, unsettled } => {
                put(out, format_args!(",\"size\":{size},\"sha256\":\""));
                sha256.push_hex(out);
                put(out, format_args!("\",\"{}\":[", if *in_pieces { "pieces" } else { "content" }));
                for (i, e) in extents.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    put(out, format_args!("{comma}[\"{}\",{},{},{}]", e.backup, e.volume, e.offset, e.length));
                }
                out.push(b']');
                if let Some(regions) = regions {
                    out.extend(b",\"regions\":[");
                    for (i, (offset, length)) in regions.iter().enumerate() {
                        put(out, format_args!("{}[{offset},{length}]", if i > 0 { "," } else { "" }));
                    }
                    out.push(b']');
                }
                if !chunks.is_empty() {
                    out.extend(b",\"chunks\":[");
                    for (i, chunk) in chunks.iter().enumerate() {
                        put(out, format_args!("{}[{},\"", if i > 0 { "," } else { "" }, chunk.length));
                        chunk.sha256.push_hex(out);
                        out.extend(b"\"]");
                    }
                    out.push(b']');
                }
                if *unsettled {
                    out.extend(b",\"unsettled\":true");
                }
            }
            EntryKind::Symlink { target } => put(out, format_args!(",\"target\":\"{}\"", json(&escape(target)))),
            EntryKind::Hardlink { target } => put(out, format_args!(",\"target\":\"{}\"", json(&target.escaped()))),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                put(out, format_args!(",\"device\":[{major},{minor}]"));
            }
            EntryKind::Dir | EntryKind::Fifo => {}
        }
        if !self.xattrs.is_empty() {
            out.extend(b",\"xattrs\":[");
            for (i, x) in self.xattrs.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                put(
                    out,
                    format_args!("{comma}[\"{}\",\"{}\"]", json(&escape(&x.name)), BASE64_STANDARD.encode(&x.value)),
                );
            }
            out.push(b']');
        }
        out.extend(b"}\n");
    }

    /// Reads an index line, with or without its newline. Every value is checked: the line is untrusted.
    pub fn parse_line(line: &[u8]) -> Result<Self> {
        let bad = |what: &str| {
            let shown = String::from_utf8_lossy(&line[..line.len().min(160)]).into_owned();
            Error::damage(format!("an index line {what}: {shown:?}"))
        };
        let raw: RawEntry<'_> = serde_json::from_slice(line).map_err(|e| bad("cannot be read").because(e))?;
        let mode =
            u32::from_str_radix(&raw.mode, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(|| bad("has a bad mode"))?;
        let name = |text: Option<Cow<'_, str>>| -> Result<String> {
            text.map_or(Ok(String::new()), |t| {
                String::from_utf8(unescape(&t)?).map_err(|_| bad("has a user or group name that is not UTF-8"))
            })
        };
        let target = || raw.target.as_deref().ok_or_else(|| bad("is a link without a target"));
        let device = || raw.device.ok_or_else(|| bad("is a device without numbers"));
        let kind = match &*raw.kind {
            "file" => {
                let size = raw.size.ok_or_else(|| bad("is a file without a size"))?;
                let sha256 = raw.sha256.ok_or_else(|| bad("is a file without a digest"))?;
                let (extents, in_pieces) = match (raw.content, raw.pieces) {
                    (Some(content), None) if content.len() == 1 => (content, false),
                    (None, Some(pieces)) => (pieces, true),
                    _ => return Err(bad("must have one content extent, or pieces")),
                };
                let extents: Vec<_> = extents
                    .into_iter()
                    .map(|(backup, volume, offset, length)| Extent { backup, volume, offset, length })
                    .collect();
                let stored = extents.iter().try_fold(0_u64, |sum, e| {
                    e.offset.checked_add(e.length).filter(|&end| end <= MAX_OFFSET)?;
                    sum.checked_add(e.length)
                });
                let mut end = 0;
                let regions_fit = raw.regions.as_ref().is_none_or(|regions| {
                    regions.iter().all(|&(offset, length)| {
                        let starts_behind = offset >= end;
                        end = offset.saturating_add(length);
                        starts_behind && end <= size
                    })
                });
                let expected =
                    raw.regions.as_ref().map_or(Some(size), |r| r.iter().try_fold(0_u64, |s, x| s.checked_add(x.1)));
                if !regions_fit || size > MAX_OFFSET || stored.is_none() || stored != expected {
                    return Err(bad("has extents or regions that do not fit its size"));
                }
                let chunks: Vec<_> = raw
                    .chunks
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(length, sha256)| Chunk { length, sha256 })
                    .collect();
                let chunked = chunks.iter().try_fold(0_u64, |s, c| s.checked_add(c.length));
                if !chunks.is_empty() && chunked != stored {
                    return Err(bad("has chunks that do not add up to its content"));
                }
                let unsettled = raw.unsettled.unwrap_or(false);
                EntryKind::File { size, sha256, extents, in_pieces, regions: raw.regions, chunks, unsettled }
            }
            "dir" => EntryKind::Dir,
            "symlink" => {
                let target = unescape(target()?)?;
                if target.is_empty() || target.contains(&0) || target.len() > 4096 {
                    return Err(bad("has an impossible link target"));
                }
                EntryKind::Symlink { target }
            }
            "hardlink" => EntryKind::Hardlink { target: EntryPath::from_escaped(target()?)? },
            "fifo" => EntryKind::Fifo,
            "char" => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            "block" => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            _ => return Err(bad("has an unknown type")),
        };
        let xattrs = raw.xattrs.unwrap_or_default().into_iter().map(|(name, value)| {
            let value = BASE64_STANDARD.decode(&*value).map_err(|_| bad("has an attribute that is not base64"))?;
            let name = unescape(&name)?;
            if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > 1 << 20 {
                return Err(bad("has an impossible attribute"));
            }
            Ok(Xattr { name, value })
        });
        let path = EntryPath::from_escaped(&raw.path)?;
        // What comes later, or is the entry itself, cannot have been made before it.
        if matches!(&kind, EntryKind::Hardlink { target } if *target >= path) {
            return Err(bad("is a hard link to something that does not come before it"));
        }
        Ok(Self {
            path,
            kind,
            mode,
            uid: raw.uid,
            gid: raw.gid,
            user: name(raw.user)?,
            group: name(raw.group)?,
            mtime: Timestamp::parse(&raw.mtime)?,
            ctime: Timestamp::parse(&raw.ctime)?,
            inode: raw.inode,
            xattrs: xattrs.collect::<Result<_>>()?,
            home: Home { backup: raw.home.0, volume: raw.home.1, offset: raw.home.2 },
        })
    }

    /// Logical size of a file, 0 for everything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let EntryKind::File { size, .. } = self.kind { size } else { 0 }
    }
}

/// No offset or size of the format is larger: 2^60 bytes.
pub(crate) const MAX_OFFSET: u64 = 1 << 60;

/// Puts already C-escaped text (printable, no quotes) into a JSON string: only backslashes need doubling.
fn json(escaped: &str) -> Cow<'_, str> {
    if escaped.contains('\\') { Cow::Owned(escaped.replace('\\', "\\\\")) } else { Cow::Borrowed(escaped) }
}

type RawExtent = (BackupId, u32, u64, u64);

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    mode: Cow<'a, str>,
    uid: u32,
    gid: u32,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mtime: Cow<'a, str>,
    #[serde(borrow)]
    ctime: Cow<'a, str>,
    inode: u64,
    home: (BackupId, u32, u64),
    size: Option<u64>,
    sha256: Option<Digest>,
    content: Option<Vec<RawExtent>>,
    pieces: Option<Vec<RawExtent>>,
    regions: Option<Vec<(u64, u64)>>,
    chunks: Option<Vec<(u64, Digest)>>,
    unsettled: Option<bool>,
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    device: Option<(u32, u32)>,
    #[serde(borrow)]
    xattrs: Option<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_with_nanoseconds_come_back() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (-1, 750_000_000, "-0.25"),
            (-2, 0, "-2"),
            (-3, 1, "-2.999999999"),
            (1_700_000_000, 1, "1700000000.000000001"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MIN, 500_000_000, "-9223372036854775807.5"),
        ] {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::parse(text).expect("own form is read"), time);
        }
        for bad in ["", "-", "--1", "1e3", "1.x", "+1", "-+1", " 1", "99999999999999999999", "-9223372036854775808.5"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad:?}");
        }
    }
}
