//! Finds the folder of an entry, beneath the target and without following any symbolic link.
//!
//! Invariant: every descriptor that leaves this module was reached from the target's root through plain folders only.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::folders::OpenFolder;
use super::root::Destination;
use crate::error::{Error, Result};
use crate::model::EntryPath;

impl Destination {
    /// The folder that holds `path`, or an error that says what is wrong with it.
    pub(super) fn folder(&self, path: &EntryPath) -> Result<Arc<OpenFolder>> {
        self.try_folder(path).map_err(|errno| {
            let shown = self.shown(path);
            let error = match errno {
                Errno::NOENT => Error::failed(format!("the folder that should hold {shown} is not there")),
                Errno::LOOP | Errno::NOTDIR => Error::failed(format!(
                    "cannot restore {shown}: a symbolic link or another thing stands where one of its folders should be"
                ))
                .hint("nothing is written through links in a target; remove the link, or choose another target"),
                _ => Error::failed(format!("cannot open the folder that should hold {shown}")),
            };
            error.because(std::io::Error::from(errno))
        })
    }

    /// The folder that holds `path`.
    pub(super) fn try_folder(&self, path: &EntryPath) -> Result<Arc<OpenFolder>, Errno> {
        let parent = path.parent().unwrap_or_default();
        let cache = &self.shared.folders;
        if let Some(folder) = cache.get(parent) {
            return Ok(folder);
        }
        let folder = Arc::new(OpenFolder::new(self.walk(parent)?));
        cache.put(parent, &folder);
        Ok(folder)
    }

    /// Opens the folder at `path` for path operations; the empty path is the target itself.
    pub(super) fn walk(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.shared.descent.open(&self.shared.root, path)
    }
}
