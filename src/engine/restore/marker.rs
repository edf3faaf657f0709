//! The marker that a restore leaves in its target while it runs, so that a rerun may go on where it was cut short.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::Disk;
use crate::engine::chain::Chain;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{BackupId, Digest, pretty_json};
use crate::repo::read_small;

/// Name of the marker in the target folder.
pub(super) const MARKER_FILE: &str = ".ccbackup-restore.json";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    /// The backup that is being restored …
    id: BackupId,
    /// … and the digest of its SHA256SUMS.
    sums_sha256: Digest,
}

fn path(target: &Path) -> PathBuf {
    target.join(MARKER_FILE)
}

fn of(chain: &Chain) -> Marker {
    Marker { id: chain.backup.manifest.id.clone(), sums_sha256: chain.backup.sums_sha256 }
}

/// Whether a restore of any backup was cut short here.
pub(super) fn is_there(target: &Path) -> bool {
    path(target).symlink_metadata().is_ok()
}

/// Whether a restore of the same backup was cut short here. One of another backup is refused.
pub(super) fn belongs_to(target: &Path, chain: &Chain, overwrite: bool) -> Result<bool> {
    if !is_there(target) {
        return Ok(false);
    }
    let path = path(target);
    let found: Option<Marker> = read_small(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match found {
        Some(found) if found == of(chain) => Ok(true),
        _ if overwrite => Ok(false),
        Some(found) => Err(Error::new(
            Kind::WouldOverwrite,
            format!("a restore of backup {} was cut short in {}", found.id, target.display()),
        )
        .hint(Hint::SameBackup)),
        None => {
            Err(Error::new(Kind::WouldOverwrite, format!("{} cannot be read", path.display())).hint(Hint::OtherTarget))
        }
    }
}

/// Places the marker before anything else is written.
pub(super) fn place(target: &Path, chain: &Chain, disk: &Disk) -> Result<()> {
    disk.make_dirs(target)?;
    disk.replace(&path(target), &pretty_json(&of(chain))?)
}

/// Removes the marker at the very end.
pub(super) fn remove(target: &Path, disk: &Disk) -> Result<()> {
    disk.remove_file_if_there(&path(target))?;
    disk.sync_dir(target)
}
