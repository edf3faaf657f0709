//! Paths inside a component: bytes, kept exactly, and harmless by construction (FORMAT.md §6).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::limits::MAX_PATH_BYTES;
use crate::error::{Error, Result};

/// A relative path inside a component.
///
/// Invariant: not empty, no empty component, no `.` or `..`, no NUL, at most [`MAX_PATH_BYTES`] bytes, each component
/// at most 255 bytes. The order is tree order: bytes are compared with `/` before every other byte, so a folder is
/// followed by all it holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryPath(Box<[u8]>);

impl EntryPath {
    /// Checks raw bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let fault = if bytes.len() > MAX_PATH_BYTES {
            Some("is too long")
        } else if bytes.contains(&0) {
            Some("has a NUL byte")
        } else {
            bytes.split(|&b| b == b'/').find_map(|part| match part {
                b"" => Some("is absolute or has an empty component"),
                b"." | b".." => Some("has a `.` or `..` component"),
                _ if part.len() > 255 => Some("has a component of more than 255 bytes"),
                _ => None,
            })
        };
        match fault {
            None => Ok(Self(bytes)),
            Some(fault) => {
                let shown = escape(&bytes[..bytes.len().min(256)]).into_owned();
                Err(Error::damage(format!("the path {shown:?} {fault}")))
            }
        }
    }

    /// The path of `name` inside this folder.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For calls of the operating system.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The folder that holds it; none at the top.
    #[must_use]
    pub fn parent(&self) -> Option<&[u8]> {
        self.0.iter().rposition(|&b| b == b'/').map(|at| &self.0[..at])
    }

    /// Whether `folder` is one of the folders that lead to it.
    #[must_use]
    pub fn is_below(&self, folder: &Self) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.iter().rposition(|&b| b == b'/').map_or(&self.0[..], |at| &self.0[at + 1..])
    }

    /// The C-escaped form that the index holds and that GNU tar's `-T` reads (FORMAT.md §6).
    #[must_use]
    pub fn escaped(&self) -> Cow<'_, str> {
        escape(&self.0)
    }

    /// Reads the C-escaped form and checks the result.
    pub fn from_escaped(text: &str) -> Result<Self> {
        Self::new(unescape(text)?)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escaped())
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        tree_order(&self.0, &other.0)
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares two paths in tree order.
#[must_use]
pub(crate) fn tree_order(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal; // nearly always, when an index is joined with the tree it was made from
    }
    let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match (a.get(shared), b.get(shared)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(b'/'), Some(_)) => Ordering::Less,
        (Some(_), Some(b'/')) => Ordering::Greater,
        (Some(x), Some(y)) => x.cmp(y),
    }
}

/// C-escapes bytes: `\\`, `\n`, and three octal digits for everything that is not printable UTF-8, for `"`, and for a
/// dash or space at an end (GNU tar would take a leading dash in a `-T` list for an option and trim spaces).
#[must_use]
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let plain = |b: u8| matches!(b, 0x21..=0x7e) && b != b'\\' && b != b'"';
    let inner_space = |i: usize| i > 0 && i + 1 < bytes.len();
    let clean = bytes.first() != Some(&b'-')
        && bytes.iter().enumerate().all(|(i, &b)| plain(b) || (b == b' ' && inner_space(i)));
    if clean && let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    let mut at = 0;
    for piece in bytes.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '-' if at == 0 => out.push_str("\\055"),
                ' ' if inner_space(at) => out.push(' '),
                ' ' | '"' => octal(&mut out, c as u32),
                c if stands_for_itself(c) => out.push(c),
                c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| octal(&mut out, b.into())),
            }
            at += c.len_utf8();
        }
        piece.invalid().iter().for_each(|&b| octal(&mut out, b.into()));
        at += piece.invalid().len();
    }
    Cow::Owned(out)
}

/// Writes a path of this host into a document, C-escaped; documents are UTF-8, paths are bytes.
pub(crate) fn serialize_path<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(path.as_os_str().as_bytes()))
}

/// Whether this is how [`escape`] writes some bytes: each has one escaped form only, or two lines could say the same.
pub(crate) fn is_canonical(text: &str) -> bool {
    if text.contains('\\') {
        return unescape(text).is_ok_and(|bytes| escape(&bytes) == text);
    }
    !text.starts_with(['-', ' ']) && !text.ends_with(' ') && text.chars().all(|c| c == ' ' || stands_for_itself(c))
}

/// Whether a character, other than a space, is its own escaped form inside a text.
fn stands_for_itself(c: char) -> bool {
    match c {
        '"' | '\\' => false,
        c if c.is_ascii() => c.is_ascii_graphic(),
        c => printable(c),
    }
}

fn octal(out: &mut String, value: u32) {
    out.push_str(&format!("\\{value:03o}"));
}

/// Control, format (bidirectional overrides among them) and private characters are escaped: names come from anywhere
/// and end on terminals.
fn printable(c: char) -> bool {
    !(c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}'))
}

/// Reads what [`escape`] writes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'\\') {
        return Ok(bytes.to_vec());
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let (byte, tail) = match rest {
            [b'\\', tail @ ..] => (b'\\', tail),
            [b'n', tail @ ..] => (b'\n', tail),
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), tail)
            }
            _ => {
                let shown: String = text.chars().take(200).collect();
                return Err(Error::damage(format!("the escaped text {shown:?} has an unknown escape")));
            }
        };
        out.push(byte);
        rest = tail;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_come_back_for_every_byte_and_awkward_place() {
        for bytes in
            [&b"-x"[..], b" a ", b"a\nb", b"\xff\xfe", "grün/日本".as_bytes(), b"q\"\\", "\u{202e}x".as_bytes(), b"a b"]
        {
            let text = escape(bytes);
            assert!(!text.contains('"') && !text.contains('\n') && !text.starts_with(['-', ' ']), "{text}");
            assert_eq!(unescape(&text).expect("own escapes are read"), bytes);
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)).expect("own escapes are read"), all);
        assert_eq!(escape("grün".as_bytes()), "grün");
    }

    #[test]
    fn bytes_have_one_escaped_form() {
        for good in [
            "",
            "a b",
            "\\055x",
            "x-",
            "a\\\\b",
            "a\\nb",
            "gr\u{fc}n",
            "\\377\\376",
            "\\040a\\040",
            "\\303",
            "\\342\\200\\256",
        ] {
            assert!(is_canonical(good), "{good:?}");
        }
        for bad in [
            "-x",
            " a",
            "a ",
            "a\nb",
            "a\"b",
            "a\u{202e}b",
            "a\u{a0}b",
            "a\u{7f}",
            "\\141",
            "\\012",
            "\\134",
            "a\\055",
            "a\\040b",
            "\\303\\274",
            "\\303\u{bc}\\",
            "\\x41",
            "\\400",
            "\\1",
            "\\",
        ] {
            assert!(!is_canonical(bad), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_escaped_is_canonical_and_nothing_else(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12), text in ".{0,6}") {
            proptest::prop_assert!(is_canonical(&escape(&bytes)));
            proptest::prop_assert!(is_canonical(&escape(text.as_bytes())));
            let one_form = unescape(&text).is_ok_and(|raw| escape(&raw) == text);
            proptest::prop_assert_eq!(is_canonical(&text), one_form);
        }
    }

    #[test]
    fn paths_that_could_leave_the_target_are_refused() {
        for bad in [&b""[..], b"/etc", b"a//b", b"a/../b", b"..", b"a/.", b"a\0b", b"a/"] {
            assert!(EntryPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(EntryPath::new(vec![b'a'; 256]).is_err());
        assert!(EntryPath::new(&b"a/...b/c"[..]).is_ok());
    }

    #[test]
    fn a_folder_is_followed_by_what_it_holds() {
        let mut paths: Vec<_> = ["a-b", "a/c", "a", "a.b", "a/c/d", "b"]
            .iter()
            .map(|p| EntryPath::new(p.as_bytes()).expect("valid"))
            .collect();
        paths.sort();
        let names: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "a/c", "a/c/d", "a-b", "a.b", "b"]);
    }
}
