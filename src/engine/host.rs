//! This host: where it keeps what it remembers, how it signs, what time it is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::durable::Disk;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Result};
use crate::model::Moment;
use crate::repo::signing::Signer;

/// Tells the time; tests fix it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Always this moment.
    Fixed(Moment),
}

impl Clock {
    /// What it shows.
    #[must_use]
    pub fn now(self) -> Moment {
        match self {
            Self::System => Moment::from_unix_seconds(jiff::Timestamp::now().as_second()),
            Self::Fixed(moment) => moment,
        }
    }
}

/// What the names of folders for runs begin with.
const SCRATCH: &str = ".scratch-";
/// Runs are not longer than this.
const OLD_SCRATCH: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// A host that makes, checks and restores backups.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name, for people.
    pub name: String,
    /// The folder of what it remembers; it is made when something has to be remembered.
    pub state_dir: PathBuf,
    /// Signs its backups, and tells it from other hosts; none is fine for who only reads.
    pub signer: Option<Signer>,
    /// The clock.
    pub clock: Clock,
    /// The door to durable files.
    pub disk: Disk,
    /// Variables of the environment, for sources.
    pub environment: Environment,
}

impl Host {
    /// This machine, by its node name and its clock.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, signer: Option<Signer>) -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (disk, environment) = (Disk::default(), Environment::default());
        Self { name, state_dir: state_dir.into(), signer, clock: Clock::System, disk, environment }
    }

    /// A folder for a run that nobody else can read; it goes with the value.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir> {
        self.disk.make_dirs(&self.state_dir)?;
        self.remove_old_scratch();
        let private = std::fs::Permissions::from_mode(0o700);
        tempfile::Builder::new()
            .permissions(private)
            .prefix(SCRATCH)
            .tempdir_in(&self.state_dir)
            .at("cannot make a folder in", &self.state_dir)
    }

    /// What runs left that were killed days ago; whoever still works in one cannot be that old.
    fn remove_old_scratch(&self) {
        let Ok(items) = std::fs::read_dir(&self.state_dir) else { return };
        for item in items.flatten().filter(|item| item.file_name().as_encoded_bytes().starts_with(SCRATCH.as_bytes())) {
            let age = item.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > OLD_SCRATCH) {
                self.disk.remove_dir_all(&item.path()).ok();
            }
        }
    }

    /// Its signer; without one it makes no backup.
    pub fn signer(&self) -> Result<&Signer> {
        self.signer.as_ref().ok_or_else(|| Error::usage("this host has no signer, and every backup is signed"))
    }

    /// Fingerprint of its signer, by which hosts are told apart; none while it has none.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.signer.as_ref().map(|signer| signer.public().fingerprint())
    }
}
