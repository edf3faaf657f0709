//! A folder for what sources need while they work; gone when the run has ended.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::durable::Disk;
use crate::engine::Session;
use crate::error::{Context as _, Result};

/// Below it every component has a folder of its own, all for this user alone.
#[derive(Debug)]
pub(super) struct ScratchFolder {
    path: PathBuf,
    disk: Disk,
    /// Removes it where it is not in the state folder.
    _temporary: Option<tempfile::TempDir>,
}

impl ScratchFolder {
    /// In the state folder, beside the runs. What a killed run left there is removed; the caller keeps others away.
    pub(super) fn in_state(session: &Session) -> Result<Self> {
        let (path, disk) = (session.state.scratch_dir(), session.host.disk.clone());
        if path.symlink_metadata().is_ok() {
            disk.remove_dir_all(&path)?;
        }
        disk.make_dirs(&path)?;
        Ok(Self { path, disk, _temporary: None })
    }

    /// Among the temporary files of the system: for who must not touch the state.
    pub(super) fn temporary(session: &Session) -> Result<Self> {
        let place = session.host.environment.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let temporary = tempfile::Builder::new()
            .prefix("ccbackup-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&place)
            .at("cannot make a folder in", &place)?;
        let path = temporary.path().to_owned();
        Ok(Self { path, disk: session.host.disk.clone(), _temporary: Some(temporary) })
    }

    /// The folder of a component, made.
    pub(super) fn of(&self, component: &str) -> Result<PathBuf> {
        let path = self.path.join(component);
        self.disk.make_dirs(&path)?;
        Ok(path)
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}
