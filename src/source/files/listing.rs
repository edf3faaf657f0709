//! The names in a folder, packed and in order.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::part::{Part, may_belong};
use super::stat::FileKind;

/// Bytes that are asked of a folder at a time.
const LIST_BYTES: usize = 64 << 10;

/// The sorted names of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names, each with a NUL after it.
    bytes: Vec<u8>,
    /// Where each starts, and its type where the folder tells.
    names: Vec<(usize, FileType)>,
    /// A name may be that of a log of a database.
    pub(super) may_have_databases: bool,
    /// What belongs to databases that are in use, by index.
    pub(super) parts: Vec<(usize, Part)>,
}

impl Listing {
    pub(super) fn name(&self, index: usize) -> &CStr {
        self.names.get(index).map(|&(at, _)| name_at(&self.bytes, at)).unwrap_or_default()
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Memory that it holds, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.len().saturating_add(self.len().saturating_mul(size_of::<(usize, FileType)>()))
    }

    /// The type of a file as far as the folder tells.
    pub(super) fn kind(&self, index: usize) -> Option<FileKind> {
        self.names.get(index).and_then(|&(_, kind)| FileKind::of(kind))
    }

    /// The part of a file in a database.
    pub(super) fn part(&self, index: usize) -> Option<Box<Part>> {
        let at = self.parts.binary_search_by_key(&index, |(at, _)| *at).ok()?;
        self.parts.get(at).map(|(_, part)| Box::new(part.clone()))
    }

    pub(super) fn find(&self, name: &CStr) -> Option<usize> {
        self.names.binary_search_by(|&(at, _)| name_at(&self.bytes, at).cmp(name)).ok()
    }

    /// Reads all names. An error leaves what was read before it.
    pub(super) fn read(fd: impl AsFd, buffer: &mut Vec<u8>) -> (Self, rustix::io::Result<()>) {
        let mut listing = Self::default();
        buffer.clear();
        buffer.reserve(LIST_BYTES);
        let mut entries = RawDir::new(fd.as_fd(), buffer.spare_capacity_mut());
        let result = loop {
            match entries.next() {
                None => break Ok(()),
                Some(Err(Errno::INTR)) => {}
                Some(Err(e)) => break Err(e),
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    // A file system that lists a name with `/` is broken; such a name can neither be opened nor kept.
                    if !matches!(name.to_bytes(), b"" | b"." | b"..") && !name.to_bytes().contains(&b'/') {
                        listing.may_have_databases |= may_belong(name.to_bytes());
                        listing.names.push((listing.bytes.len(), entry.file_type()));
                        listing.bytes.extend_from_slice(name.to_bytes_with_nul());
                    }
                }
            }
        };
        listing.sort();
        (listing, result)
    }

    /// Sorts by bytes, and removes repetitions: a folder that changes while it is read may list a name twice.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.names.sort_unstable_by(|a, b| name_at(bytes, a.0).cmp(name_at(bytes, b.0)));
        self.names.dedup_by(|a, b| name_at(bytes, a.0) == name_at(bytes, b.0));
    }

    pub(super) fn keep_only(&mut self, index: Option<usize>) {
        self.names = index.and_then(|i| self.names.get(i).copied()).into_iter().collect();
    }
}

fn name_at(bytes: &[u8], at: usize) -> &CStr {
    bytes.get(at..).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok()).unwrap_or_default()
}
