//! The order of an inventory: tree order, each entry but a root after the folder that holds it (FORMAT.md §7).

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::model::{escape_path, tree_order};

/// Follows an inventory from its start. One entry after the other, at no cost but a copy of its path.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The last path.
    last: Vec<u8>,
    /// So much of it names the deepest folder that is open: what comes next may lie in it, or in one above it.
    folder: usize,
}

impl Order {
    /// Takes the next entry. An entry below something that is no folder, or below nothing, could lead a restore astray.
    pub(crate) fn next(&mut self, path: &[u8], is_dir: bool) -> Result<()> {
        let shown = |path: &[u8]| escape_path(&path[..path.len().min(1024)]).into_owned();
        if !self.last.is_empty() && tree_order(&self.last, path) != Ordering::Less {
            return Err(Error::damage(format!("{} is listed after {}, out of order", shown(path), shown(&self.last))));
        }
        let parent = path.iter().rposition(|&b| b == b'/').map_or(&b""[..], |at| &path[..at]);
        if !self.is_open(parent) {
            return Err(Error::damage(format!("{} is listed, but no folder that holds it", shown(path))));
        }
        self.folder = if is_dir { path.len() } else { parent.len() };
        self.last.clear();
        self.last.extend_from_slice(path);
        Ok(())
    }

    /// All folders above an open one are open too: they came before it.
    fn is_open(&self, folder: &[u8]) -> bool {
        let open = &self.last[..self.folder];
        let ends_there = matches!(open.get(folder.len()), None | Some(b'/'));
        folder.is_empty() || (open.starts_with(folder) && ends_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(&str, bool)]) -> Vec<bool> {
        let mut order = Order::default();
        steps.iter().map(|(path, is_dir)| order.next(path.as_bytes(), *is_dir).is_ok()).collect()
    }

    #[test]
    fn an_inventory_is_in_tree_order_and_each_entry_lies_in_a_folder_before_it() {
        let good = [
            ("a", true),
            ("a/b", true),
            ("a/b/c", false),
            ("a/b-", false),
            ("a/c", true),
            ("a-", false),
            ("b", false),
            ("c", true),
            ("c/d", true),
            ("c/d/e", true),
            ("c/f", false),
        ];
        assert_eq!(check(&good), [true; 11]);
        for bad in [
            &[("a/b", false)][..],
            &[("a", false), ("a/b", false)],
            &[("a", true), ("a", true)],
            &[("b", true), ("a", true)],
            &[("a-", true), ("a/b", false)],
            &[("a", true), ("a/b", false), ("a/b/c", false)],
            &[("a", true), ("a-", true), ("a/b", false)],
            &[("a", true), ("b", true), ("a/b", false)],
            &[("a", true), ("ab/c", false)],
            &[("ab", true), ("ab/c", true), ("b", false), ("b/c", false)],
            &[("a", true), ("a/b", true), ("a/c/d", false)],
            &[("a", true), ("a/bc", true), ("a/bc/d", true), ("a/bcd/e", true)],
        ] {
            let (last, before) = bad.split_last().expect("not empty");
            assert!(check(before).iter().all(|good| *good), "{bad:?}");
            assert!(!check(bad).last().copied().unwrap_or(true), "{bad:?}: {last:?}");
        }
    }
}
