//! The order of an inventory (FORMAT.md §7): strictly increasing in tree order, each entry but a root behind the folder that
//! holds it. Readers refuse what breaks it, and the writer asks the same code first.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::model::{escape_path, tree_order};

/// Follows an inventory entry by entry. An entry below something that is no folder, or below nothing, could lead a restore
/// astray.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Path of the last entry; empty before the first.
    last: Vec<u8>,
    /// Lengths of its starts that are folders, shortest first; the last one itself among them.
    folders: Vec<usize>,
}

impl Order {
    /// Takes the next entry. After an error everything is as before.
    pub(crate) fn next(&mut self, path: &[u8], is_dir: bool) -> Result<()> {
        if !self.last.is_empty() && tree_order(&self.last, path) != Ordering::Less {
            return Err(Error::damage(format!("the entry {} does not come behind the one before it", escape_path(path))));
        }
        let above = match path.iter().rposition(|&b| b == b'/') {
            None => 0,
            Some(parent) => {
                let is_parent = |&length: &usize| length == parent && self.last[..length] == path[..parent];
                self.folders.iter().rposition(is_parent).map(|at| at + 1).ok_or_else(|| {
                    Error::damage(format!("the entry {} is not behind a folder that holds it", escape_path(path)))
                })?
            }
        };
        self.folders.truncate(above);
        if is_dir {
            self.folders.push(path.len());
        }
        self.last.clear();
        self.last.extend_from_slice(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_and_behind_their_folder() {
        let good: &[(&[u8], bool)] = &[
            (b"a", true),
            (b"a/b", true),
            (b"a/b/c", false),
            (b"a/d", false),
            (b"a-b", true),
            (b"a-b/x", false),
            (b"b", false),
            (b"c", true),
        ];
        let mut order = Order::default();
        for &(path, is_dir) in good {
            for bad in [&b"a/b/c/d"[..], b"a-b/x/y", b"zz/y", b"b/x", b"a/d/e"] {
                if bad != path {
                    assert!(order.next(bad, false).is_err(), "{:?}", bad.escape_ascii());
                }
            }
            order.next(path, is_dir).unwrap();
            assert!(order.next(path, is_dir).is_err(), "twice");
            assert!(order.next(b"A", false).is_err(), "backwards");
        }
        order.next(b"c/x", false).unwrap();
        assert!(order.next(b"b/late", false).is_err());
    }
}
