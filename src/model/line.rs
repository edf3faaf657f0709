//! The JSON line that stands for an entry in the index (FORMAT.md §7).

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::entry::{Entry, EntryKind, Xattr};
use super::fields::Fields;
use super::path::{EntryPath, escape, unescape};
use super::text::{double_backslashes, push_number};
use super::time::Timestamp;
use crate::error::{Error, Result};

impl Entry {
    /// Appends the index line with its final newline. The same entry always gives the same bytes.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let mut line = LineWriter(out);
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
    ///
    /// Three steps, each with one question: `Fields::read` whether it has the form of the format, `from_fields` whether
    /// its texts are values and belong to its type, [`Self::check`] whether the values go together. [`Self::write_line`]
    /// is the other direction; what that writes, this must read.
    pub fn parse_line(line: &[u8]) -> Result<Self> {
        let fields = Fields::read(line)?;
        let entry = Self::from_fields(fields).map_err(|fault| match fault {
            Fault::What(what) => {
                let shown = String::from_utf8_lossy(&line[..line.len().min(160)]).into_owned();
                Error::damage(format!("an index line {what}: {shown:?}"))
            }
            Fault::Error(error) => error,
        })?;
        entry.check()?;
        Ok(entry)
    }

    fn from_fields(raw: Fields<'_>) -> std::result::Result<Self, Fault> {
        if !raw.has_only_keys_of_its_type() {
            return Err(Fault::What("has keys that belong to another type"));
        }
        let name = |text: Option<Cow<'_, str>>| match text {
            None => Ok(String::new()),
            Some(text) if text.is_empty() => Err(Fault::What("has an empty name of a user or group")),
            Some(text) => String::from_utf8(unescape(&text)?)
                .map_err(|_| Fault::What("has the name of a user or group that is not UTF-8")),
        };
        let target = || raw.target.as_deref().ok_or(Fault::What("is a link without a target"));
        let device = || raw.device.ok_or(Fault::What("is a device without numbers"));
        let kind = match raw.kind {
            "file" => {
                let (extents, in_pieces) = match (raw.content, raw.pieces) {
                    (Some(content), None) => (content, false),
                    (None, Some(pieces)) => (pieces, true),
                    _ => return Err(Fault::What("must have content, or pieces")),
                };
                EntryKind::File {
                    size: raw.size.ok_or(Fault::What("is a file without a size"))?,
                    sha256: raw.sha256.ok_or(Fault::What("is a file without a digest"))?,
                    extents,
                    in_pieces,
                    regions: raw.regions,
                    chunks: raw.chunks.unwrap_or_default(),
                    unsettled: raw.unsettled.unwrap_or(false),
                }
            }
            "dir" => EntryKind::Dir,
            "symlink" => EntryKind::Symlink { target: unescape(target()?)? },
            "hardlink" => EntryKind::Hardlink { target: EntryPath::from_escaped(target()?)? },
            "fifo" => EntryKind::Fifo,
            "char" => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            "block" => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            _ => return Err(Fault::What("has an unknown type")),
        };
        let xattr = |(name, value): (Cow<'_, str>, &str)| {
            let value = BASE64_STANDARD.decode(value);
            Ok(Xattr {
                name: unescape(&name)?,
                value: value.map_err(|_| Fault::What("has an attribute that is not base64"))?,
            })
        };
        Ok(Self {
            path: EntryPath::from_escaped(&raw.path)?,
            kind,
            mode: octal(raw.mode).ok_or(Fault::What("has a mode that is not four octal digits"))?,
            uid: raw.uid,
            gid: raw.gid,
            user: name(raw.user)?,
            group: name(raw.group)?,
            mtime: Timestamp::parse_exact(raw.mtime)?,
            ctime: Timestamp::parse_exact(raw.ctime)?,
            inode: raw.inode,
            xattrs: raw.xattrs.unwrap_or_default().into_iter().map(xattr).collect::<std::result::Result<_, Fault>>()?,
            home: raw.home,
        })
    }
}

/// What is wrong with a line: words that need the line beside them, or an error that says all.
enum Fault {
    What(&'static str),
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Exactly four octal digits.
fn octal(text: &str) -> Option<u32> {
    let digits = text.len() == 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    digits.then(|| text.bytes().fold(0, |n, b| n << 3 | u32::from(b - b'0')))
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
struct LineWriter<'a>(&'a mut Vec<u8>);

impl LineWriter<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// C-escaped text (printable, no quotes): in a JSON string only its backslashes need doubling.
    fn text(&mut self, key: &str, escaped: &str) {
        self.raw(key);
        self.raw(&double_backslashes(escaped));
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
    fn list<T>(&mut self, key: &str, items: &[T], item: impl Fn(&mut LineWriter<'_>, &T)) {
        self.raw(key);
        for (i, it) in items.iter().enumerate() {
            self.raw(if i > 0 { "," } else { "" });
            item(self, it);
            self.raw("]");
        }
        self.raw("]");
    }
}

#[cfg(test)]
mod tests;
