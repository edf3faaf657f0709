//! What is mounted where: a folder on which something is mounted cannot be renamed, and what is mounted below a folder must
//! never be removed with it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};

/// A mount at `path` or below it.
pub(super) fn at_or_below(path: &Path) -> Result<Option<PathBuf>> {
    let text = std::fs::read("/proc/self/mountinfo").doing("cannot read what is mounted (/proc/self/mountinfo)")?;
    Ok(points(&text).find(|point| point.starts_with(path)))
}

/// The fifth field of each line, with its octal escapes undone.
fn points(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = text.split(|&b| b == b'\n');
    lines.filter_map(|line| Some(unescaped(line.split(|&b| b == b' ').nth(4)?)))
}

fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code.filter(|_| first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"24 30 0:22 / /proc rw - proc proc rw\n31 1 8:1 / /a\\040b rw - ext4 /dev/x rw\nnonsense\n";
        let found: Vec<_> = points(text).collect();
        assert_eq!(found, [PathBuf::from("/proc"), PathBuf::from("/a b")]);
        assert!(at_or_below(Path::new("/")).unwrap().is_some());
        assert_eq!(at_or_below(Path::new("/proc/self/fd")).unwrap(), None);
    }
}
