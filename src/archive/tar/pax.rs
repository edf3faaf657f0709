//! Pax records: `LENGTH KEY=VALUE\n`, where the length counts itself (FORMAT.md §5).
//!
//! Values are raw bytes of any kind; only the length says where one ends. A record that does not follow the form is
//! damage and is never skipped: a skipped record would be lost or, worse, a forged one believed.

use crate::error::{Error, Result};
use crate::model::{MAX_XATTR_BYTES, Timestamp, Xattr};

use super::block::shown;

/// Keys of extended attributes start with this.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
/// Marks a stub whose content is in pieces.
pub(super) const PIECES: &[u8] = b"CCBACKUP.pieces";

/// Whether an extended attribute of that name can be a pax record: names of 1 to 255 bytes without NUL, as Linux has
/// them. `=` and `%` are escaped as GNU tar does.
#[must_use]
pub fn can_hold_xattr(name: &[u8]) -> bool {
    (1..=255).contains(&name.len()) && !name.contains(&0)
}

/// Appends one record.
pub(super) fn put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    loop {
        let next = rest + length.to_string().len();
        if next == length {
            break;
        }
        length = next;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The key of an extended attribute, with `%` and `=` escaped.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for &b in name {
        match b {
            b'%' => key.extend(b"%25"),
            b'=' => key.extend(b"%3D"),
            _ => key.push(b),
        }
    }
    key
}

/// The name of an extended attribute, from the key after its prefix. A `%` that starts neither escape stands for
/// itself: bsdtar writes names as they are.
fn xattr_name(mut key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    while let Some((&first, rest)) = key.split_first() {
        let (byte, rest) = match key {
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            [b'%', b'3', b'D', rest @ ..] => (b'=', rest),
            _ => (first, rest),
        };
        name.push(byte);
        key = rest;
    }
    name
}

/// Splits the first record off: key, value, rest.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = data.iter().take(9).position(|b| !b.is_ascii_digit())?;
    let length: usize = std::str::from_utf8(&data[..digits]).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let body = record.get(digits..)?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&b| b == b'=').filter(|&at| at > 0)?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

/// Calls `each` with every key and value.
fn for_each_record<'a>(mut data: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<()>) -> Result<()> {
    while !data.is_empty() {
        let (key, value, rest) = split_record(data).ok_or_else(|| {
            Error::damage(format!("a pax record cannot be read: {}", shown(&data[..data.len().min(40)])))
        })?;
        each(key, value)?;
        data = rest;
    }
    Ok(())
}

/// The records of one member that mean something here. Others, like `atime`, are passed over.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    pub(super) path: Option<&'a [u8]>,
    pub(super) linkpath: Option<&'a [u8]>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) uname: Option<&'a [u8]>,
    pub(super) gname: Option<&'a [u8]>,
    pub(super) mtime: Option<Timestamp>,
    sparse_major: Option<u64>,
    sparse_minor: Option<u64>,
    pub(super) sparse_name: Option<&'a [u8]>,
    sparse_size: Option<u64>,
    pub(super) xattrs: Vec<Xattr>,
    pieces: Option<&'a [u8]>,
}

impl<'a> Records<'a> {
    /// Reads the data of an `x` member. A known key that comes twice is damage, because readers do not agree on which
    /// one counts.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self> {
        let mut records = Self::default();
        for_each_record(data, |key, value| records.take(key, value))?;
        records.xattrs.sort();
        if let Some(pair) = records.xattrs.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::damage(format!("a pax header has the attribute {} twice", shown(&pair[0].name))));
        }
        Ok(records)
    }

    fn take(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<()> {
        let new = match key {
            b"path" => set(&mut self.path, value),
            b"linkpath" => set(&mut self.linkpath, value),
            b"uname" => set(&mut self.uname, value),
            b"gname" => set(&mut self.gname, value),
            b"GNU.sparse.name" => set(&mut self.sparse_name, value),
            PIECES => set(&mut self.pieces, value),
            b"size" => set(&mut self.size, decimal(key, value)?),
            b"uid" => set(&mut self.uid, decimal(key, value)?),
            b"gid" => set(&mut self.gid, decimal(key, value)?),
            b"GNU.sparse.major" => set(&mut self.sparse_major, decimal(key, value)?),
            b"GNU.sparse.minor" => set(&mut self.sparse_minor, decimal(key, value)?),
            b"GNU.sparse.realsize" => set(&mut self.sparse_size, decimal(key, value)?),
            b"mtime" => {
                let text = std::str::from_utf8(value).map_err(|_| bad_value(key, value))?;
                set(&mut self.mtime, Timestamp::parse(text)?)
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(Error::damage("a sparse file has a map of an old form, only GNU.sparse 1.0 can be read"));
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    let name = xattr_name(name);
                    if !can_hold_xattr(&name) || value.len() > MAX_XATTR_BYTES {
                        return Err(Error::damage(format!("the attribute {} is impossible", shown(&name))));
                    }
                    self.xattrs.push(Xattr { name, value: value.to_vec() });
                }
                true
            }
        };
        if new { Ok(()) } else { Err(Error::damage(format!("a pax header has the record {} twice", shown(key)))) }
    }

    /// The real size of a sparse file; none for other files.
    pub(super) fn sparse(&self) -> Result<Option<u64>> {
        match (self.sparse_major, self.sparse_minor, self.sparse_size) {
            (None, None, None) if self.sparse_name.is_none() => Ok(None),
            (Some(1), Some(0), Some(size)) => Ok(Some(size)),
            _ => Err(Error::damage("a sparse file is not in the form GNU.sparse 1.0, or has no realsize")),
        }
    }

    /// Whether the member is a stub.
    pub(super) fn in_pieces(&self) -> Result<bool> {
        match self.pieces {
            None => Ok(false),
            Some(b"1") => Ok(true),
            Some(other) => Err(bad_value(PIECES, other)),
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> bool {
    slot.replace(value).is_none()
}

fn bad_value(key: &[u8], value: &[u8]) -> Error {
    Error::damage(format!("the pax record {} has the value {}", shown(key), shown(value)))
}

fn decimal(key: &[u8], value: &[u8]) -> Result<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits).and_then(|t| t.parse().ok()).ok_or_else(|| bad_value(key, value))
}

/// A global header may only comment: whatever else it said would change members behind the index's back.
pub(super) fn check_global(data: &[u8]) -> Result<()> {
    for_each_record(data, |key, _| match key {
        b"comment" => Ok(()),
        _ => Err(Error::damage(format!("a global pax header sets {}", shown(key)))),
    })
}
