//! A secret as a file that has no name on any disk.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

use crate::error::{Context as _, Result};
use crate::secret::Secret;

/// A file in memory, of mode 0600, that a child of the same user can open by its path as long as this value lives.
///
/// The descriptor is not inherited: other children that start at the same moment would inherit it too. The path leads
/// through `/proc` to the descriptor of this process instead; programs that ask for a plain file, like libpq, take it.
#[derive(Debug)]
pub(super) struct PrivateFile(File);

impl PrivateFile {
    pub(super) fn new(content: &Secret) -> Result<Self> {
        const DOING: &str = "cannot keep a secret in a file in memory";
        let mut file = File::from(memfd_create("ccbackup", MemfdFlags::CLOEXEC).doing(DOING)?);
        fchmod(&file, Mode::RUSR | Mode::WUSR).doing(DOING)?;
        file.write_all(content.expose()).doing(DOING)?;
        Ok(Self(file))
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}
