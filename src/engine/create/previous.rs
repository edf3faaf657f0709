//! The lines of the last index, looked up in path order beside what is captured now.

use std::cmp::Ordering;

use super::base::LastIndex;
use crate::error::Result;
use crate::index::LocalLines;
use crate::model::{Entry, EntryPath, line_path, tree_order};

/// Reads the last index once, from its beginning to its end.
pub(super) struct LastLines<'a> {
    base: Option<(&'a LastIndex, LocalLines)>,
    /// The line that was read last stands for a path that is still to come.
    peeked: bool,
    line: Vec<u8>,
}

impl<'a> LastLines<'a> {
    /// Of a component that builds on `last`; without one nothing is found.
    pub(super) fn new(last: Option<&'a LastIndex>) -> Result<Self> {
        let base = last.map(|last| last.copy.lines().map(|lines| (last, lines))).transpose()?;
        Ok(Self { base, peeked: false, line: Vec::new() })
    }

    /// Whether the last index has this path; its line is the one that was read last then. Passes over those that are
    /// gone.
    pub(super) fn find(&mut self, path: &EntryPath) -> Result<bool> {
        let Some((_, lines)) = &mut self.base else { return Ok(false) };
        loop {
            if !self.peeked && !lines.next_line(&mut self.line)? {
                return Ok(false);
            }
            let order = tree_order(&line_path(&self.line)?, path.as_bytes());
            self.peeked = order == Ordering::Greater;
            if order != Ordering::Less {
                return Ok(order == Ordering::Equal);
            }
        }
    }

    /// The line that was read last, with the index it is of.
    pub(super) fn line(&self) -> Option<(&'a LastIndex, &[u8])> {
        self.base.as_ref().map(|(last, _)| (*last, self.line.as_slice()))
    }

    /// The line that was read last, if a reader would take it; what it refers to may be taken over from there.
    pub(super) fn entry(&self) -> Option<(Vec<u8>, Entry)> {
        let entry = Entry::parse_line(&self.line).ok()?;
        let usable = self.base.as_ref().is_some_and(|(last, _)| last.volumes.hold_entry(&entry));
        usable.then(|| (self.line.clone(), entry))
    }
}
