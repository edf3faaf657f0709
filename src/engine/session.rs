//! The front door of the library: a repository as one host sees it. The verbs are methods, each beside what it does.

use std::path::Path;
use std::sync::Arc;

use super::chain::Chain;
use super::host::Host;
use crate::error::{Error, Hint, Kind, Result, path_text};
use crate::keys::Keys;
use crate::model::{BackupId, Manifest, Verdict};
use crate::repo::backup::{Backup, Trust};
use crate::repo::catalog::{Catalog, Latest};
use crate::repo::places::{Places, joined};
use crate::repo::signing::Signer;
use crate::repo::state::LocalState;
use crate::repo::{LockGuard, Repository};

/// An opened repository with all that working on it takes.
#[derive(Debug)]
pub struct Session {
    /// The repository.
    pub repo: Repository,
    /// Whom to believe.
    pub trust: Trust,
    /// What opens sealed backups; none is fine until one has to be opened.
    pub keys: Keys,
    /// What this host remembers of the repository.
    pub state: LocalState,
    /// This host.
    pub host: Host,
    /// What somebody should know about the repository before believing it.
    pub warnings: Vec<String>,
    /// It may be taken over from another host.
    pub(super) adopts: bool,
    pub(super) lock: Option<LockGuard>,
}

impl Session {
    /// Opens the repository at `location` to read it. When `trust` names nobody, this host is believed, those whom it has
    /// pinned for the repository, and those whom an identity file names; never anybody whom only the repository names.
    ///
    /// A `repository.json` that is damaged is a warning: nothing that is signed needs it. So is another repository than
    /// this host has written to there.
    pub fn open(location: &Path, host: Host, trust: Trust, keys: Keys) -> Result<Self> {
        let known = Places::new(&host.state_dir, host.disk.clone()).known(location);
        let was_here =
            || format!("this host has written to the repository {} at {}", joined(&known), path_text(location));
        let repo = match Repository::open_to_read(location) {
            Err(e) if e.kind() == Kind::NotFound && !known.is_empty() => {
                return Err(e.hint(format!("{}: is its disk mounted?", was_here())));
            }
            opened => opened?,
        };
        let mut id = repo.record().repository_id.clone();
        let mut warnings = Vec::new();
        if let Some(fault) = repo.fault() {
            warnings.push(format!("{fault}; what is signed can be read without it"));
            if let (1, Some(known)) = (known.len(), known.first()) {
                id.clone_from(known);
            }
        } else if !known.is_empty() && !known.contains(&id) {
            warnings.push(format!("this is the repository {id}; {}", was_here()));
        }
        Ok(Self { warnings, ..Self::new(repo, &id, host, trust, keys)? })
    }

    /// Opens the repository at `location` to write to it, which is made if nothing is there, and keeps other writers away
    /// as long as the session lives. A place where this host has written to another repository is refused with
    /// [`Kind::OtherRepository`], and in [`Session::create`] a repository that another host has written to with
    /// [`Kind::OtherHost`], unless it `adopts` what is there.
    pub fn open_or_create(location: &Path, host: Host, adopts: bool) -> Result<Self> {
        let signer = host.signer()?.public();
        let places = check_place(location, &host, adopts)?;
        let (repo, lock) = Repository::open_or_create(location, &host.disk, host.clock.now(), &signer)?;
        let id = repo.record().repository_id.clone();
        LocalState::new(&host.state_dir, &id, host.disk.clone()).pin(&signer)?;
        places.remember(location, &id)?;
        Ok(Self { adopts, lock: Some(lock), ..Self::new(repo, &id, host, Trust::default(), Keys::none())? })
    }

    /// What [`Session::open_or_create`] would open, for a dry run: none where it would make a repository. Changes nothing.
    pub fn look(location: &Path, host: Host, adopts: bool) -> Result<Option<Self>> {
        check_place(location, &host, adopts)?;
        match Repository::open(location) {
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            opened => {
                let repo = opened?;
                let id = repo.record().repository_id.clone();
                Ok(Some(Self { adopts, ..Self::new(repo, &id, host, Trust::default(), Keys::none())? }))
            }
        }
    }

    fn new(repo: Repository, id: &str, host: Host, mut trust: Trust, keys: Keys) -> Result<Self> {
        let state = LocalState::new(&host.state_dir, id, host.disk.clone());
        if trust.signers.is_empty() {
            host.signer.iter().map(Signer::public).for_each(|own| trust.add(own));
            state.pinned()?.into_iter().for_each(|pinned| trust.add(pinned));
            for text in keys.signers() {
                trust.add(text.parse()?);
            }
        }
        Ok(Self { repo, trust, keys, state, host, warnings: Vec::new(), adopts: false, lock: None })
    }

    /// The newest backup that is trusted. Says which ones it passed over, and whether the last that this host made is
    /// gone.
    pub fn latest(&self) -> Result<(Latest, Option<BackupId>)> {
        let catalog = Catalog::load(&self.repo)?;
        // Notes that are lost are no reason not to look.
        let head = self.state.head().unwrap_or_default();
        let latest = catalog.latest(&self.repo, &self.trust, head.as_ref())?;
        let gone = head.filter(|head| catalog.backups.iter().all(|b| b.id != head.id));
        Ok((latest, gone.map(|head| head.id)))
    }

    /// The newest backup that is trusted and holds all that was expected of it. The link of that name is for people, and
    /// not asked.
    pub fn latest_good(&self) -> Result<BackupId> {
        let catalog = Catalog::load(&self.repo)?;
        let is_good = |id: &BackupId| {
            let manifest = Backup::open(&self.repo, id, &self.trust).map(|backup| backup.manifest);
            manifest.is_ok_and(|m| {
                let said = m.recovery_point.map(|point| point.verdict);
                let judged = Manifest::judge(&m.components, &m.failed).verdict;
                said != Some(Verdict::Partial) && judged != Verdict::Partial
            })
        };
        let good = catalog.backups.iter().rev().find(|b| is_good(&b.id)).map(|b| b.id.clone());
        good.ok_or_else(|| {
            let none = "the repository holds no trusted backup with all that was expected of it";
            Error::new(Kind::NotFound, none).hint(Hint::ListBackups)
        })
    }

    /// The backup that `text` names: an id, or the beginning of just one.
    pub fn find(&self, text: &str) -> Result<BackupId> {
        Catalog::load(&self.repo)?.resolve(text)
    }

    /// A backup with all it depends on, opened.
    pub fn chain(&self, id: &BackupId) -> Result<Arc<Chain>> {
        Chain::open(&self.repo, id, &self.trust, self.keys.clone())
    }
}

/// Refuses a place at which another repository was, or one that is gone.
fn check_place(location: &Path, host: &Host, adopts: bool) -> Result<Places> {
    let places = Places::new(&host.state_dir, host.disk.clone());
    if !adopts {
        places.check(location)?;
    }
    Ok(places)
}
