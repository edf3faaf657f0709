//! The JSON line that stands for an entry in the index (FORMAT.md §7).

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::fields::Fields;
use super::path::{escape, unescape};
use super::{Chunk, Entry, EntryKind, EntryPath, Extent, Home, Timestamp, Xattr};
use crate::error::{Error, Result};

impl Entry {
    /// Appends the index line with its final newline. The same entry always gives the same bytes.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.text("{\"path\":\"", &self.path.escaped());
        line.text("\",\"type\":\"", self.kind.name());
        line.text("\",\"mode\":\"", &format!("{:04o}", self.mode));
        line.number("\",\"uid\":", self.uid.into());
        line.number(",\"gid\":", self.gid.into());
        if !self.user.is_empty() {
            line.text(",\"user\":\"", &escape(self.user.as_bytes()));
            line.raw("\"");
        }
        if !self.group.is_empty() {
            line.text(",\"group\":\"", &escape(self.group.as_bytes()));
            line.raw("\"");
        }
        line.time(",\"mtime\":\"", self.mtime);
        line.time("\",\"ctime\":\"", self.ctime);
        line.number("\",\"inode\":", self.inode);
        line.text(",\"home\":[\"", self.home.backup.as_str());
        line.number("\",", self.home.volume.into());
        line.number(",", self.home.offset);
        line.raw("]");
        match &self.kind {
            EntryKind::File { size, sha256, extents, in_pieces, regions, chunks, unsettled } => {
                line.number(",\"size\":", *size);
                line.raw(",\"sha256\":\"");
                sha256.push_hex(line.0);
                line.list(if *in_pieces { "\",\"pieces\":[" } else { "\",\"content\":[" }, extents, |line, e| {
                    line.text("[\"", e.backup.as_str());
                    line.number("\",", e.volume.into());
                    line.number(",", e.offset);
                    line.number(",", e.length);
                });
                if let Some(regions) = regions {
                    line.list(",\"regions\":[", regions, |line, &(offset, length)| {
                        line.number("[", offset);
                        line.number(",", length);
                    });
                }
                if !chunks.is_empty() {
                    line.list(",\"chunks\":[", chunks, |line, chunk| {
                        line.number("[", chunk.length);
                        line.raw(",\"");
                        chunk.sha256.push_hex(line.0);
                        line.raw("\"");
                    });
                }
                if *unsettled {
                    line.raw(",\"unsettled\":true");
                }
            }
            EntryKind::Symlink { target } => {
                line.text(",\"target\":\"", &escape(target));
                line.raw("\"");
            }
            EntryKind::Hardlink { target } => {
                line.text(",\"target\":\"", &target.escaped());
                line.raw("\"");
            }
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                line.number(",\"device\":[", (*major).into());
                line.number(",", (*minor).into());
                line.raw("]");
            }
            EntryKind::Dir | EntryKind::Fifo => {}
        }
        if !self.xattrs.is_empty() {
            line.list(",\"xattrs\":[", &self.xattrs, |line, x| {
                line.text("[\"", &escape(&x.name));
                line.text("\",\"", &BASE64_STANDARD.encode(&x.value));
                line.raw("\"");
            });
        }
        line.raw("}\n");
    }

    /// Reads an index line, with or without its newline. Every value is checked: the line is untrusted.
    pub fn parse_line(line: &[u8]) -> Result<Self> {
        let bad = |what: &str| {
            let shown = String::from_utf8_lossy(&line[..line.len().min(160)]).into_owned();
            Error::damage(format!("an index line {what}: {shown:?}"))
        };
        let raw = Fields::read(line).map_err(|e| bad("cannot be read").because(e))?;
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
}

/// The raw path of a line, which every line begins with.
pub(crate) fn line_path(line: &[u8]) -> Result<Cow<'_, [u8]>> {
    let text = line.strip_prefix(b"{\"path\":\"").and_then(|text| text.split(|&b| b == b'"').next());
    match text {
        Some(text) if !text.contains(&b'\\') => Ok(Cow::Borrowed(text)),
        _ => Entry::parse_line(line).map(|e| Cow::Owned(e.path.as_bytes().to_vec())),
    }
}

/// A line that is being written. `std::fmt` would take longer for it than compression.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// C-escaped text (printable, no quotes): in a JSON string only its backslashes need doubling.
    fn text(&mut self, key: &str, escaped: &str) {
        self.raw(key);
        self.raw(&json(escaped));
    }

    fn number(&mut self, key: &str, number: u64) {
        self.raw(key);
        push_number(self.0, number);
    }

    fn time(&mut self, key: &str, time: Timestamp) {
        self.raw(key);
        time.push(self.0);
    }

    /// Items that begin with a bracket of their own; it is closed here.
    fn list<T>(&mut self, key: &str, items: &[T], item: impl Fn(&mut Line<'_>, &T)) {
        self.raw(key);
        for (i, it) in items.iter().enumerate() {
            self.raw(if i > 0 { "," } else { "" });
            item(self, it);
            self.raw("]");
        }
        self.raw("]");
    }
}

/// Appends decimal digits.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// No offset or size of the format is larger: 2^60 bytes.
pub const MAX_OFFSET: u64 = 1 << 60;

/// Doubles backslashes.
fn json(escaped: &str) -> Cow<'_, str> {
    if escaped.contains('\\') { Cow::Owned(escaped.replace('\\', "\\\\")) } else { Cow::Borrowed(escaped) }
}
