//! What a repository holds: its backups in the order of their sequence numbers, and how people name them.

use std::collections::BTreeSet;

use super::backup::{Backup, Trust};
use super::repository::Repository;
use super::state::Head;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{BackupId, MAX_SEQUENCE, Manifest};

/// One backup folder as listed. The manifest is read, not yet checked against a signature.
#[derive(Debug)]
pub struct CatalogEntry {
    /// Name of the folder.
    pub id: BackupId,
    /// Its manifest, or why it cannot be read.
    pub manifest: Result<Manifest>,
}

/// All backups, oldest first; those without a readable manifest stand where their name puts them. Anybody who can write
/// to the repository can add some and choose their numbers: what matters is asked of [`Catalog::newest`].
#[derive(Debug)]
pub struct Catalog {
    /// The backups.
    pub backups: Vec<CatalogEntry>,
}

/// The newest backup that a trusted signature binds.
#[derive(Debug)]
pub struct Newest {
    /// The backup, or that a newer program made it; none where nothing is trusted.
    pub found: Option<(BackupId, Result<Backup>)>,
    /// Those that stand after it and do not count, newest first.
    pub passed_over: Vec<PassedOver>,
}

/// A folder that is named like a backup and that no trusted signature binds.
#[derive(Debug)]
pub struct PassedOver {
    /// The folder.
    pub id: BackupId,
    /// Why it does not count.
    pub why: Error,
}

/// So many of them are told one by one.
pub const SHOWN_PASSED_OVER: usize = 5;

/// What a writer finds.
#[derive(Debug)]
pub struct Standing {
    /// The newest backup that is trusted.
    pub newest: Option<Manifest>,
    /// Where nothing is trusted: the newest that somebody else signed. It counts only for who adopts it.
    pub foreign: Option<Manifest>,
    /// The number that the next backup gets.
    pub next_sequence: u64,
    /// Those that claim to be newer.
    pub passed_over: Vec<PassedOver>,
}

/// What `latest` means.
#[derive(Debug)]
pub struct Latest {
    /// The backup.
    pub id: BackupId,
    /// Those that claim to be newer.
    pub passed_over: Vec<PassedOver>,
}

impl Catalog {
    /// Lists a repository. A folder that cannot be listed is an error, never an empty list.
    pub fn load(repo: &Repository) -> Result<Self> {
        let mut backups: Vec<_> = repo
            .backup_ids()?
            .into_iter()
            .map(|id| {
                let manifest = repo.manifest_bytes(&id).and_then(|bytes| Manifest::parse(&bytes)).and_then(|m| {
                    if m.id == id {
                        Ok(m)
                    } else {
                        Err(Error::damage(format!("the folder {id} holds the manifest of {}", m.id)))
                    }
                });
                CatalogEntry { id, manifest }
            })
            .collect();
        backups.sort_by(|a, b| {
            a.id.moment()
                .cmp(&b.id.moment())
                .then_with(|| a.id.as_str().len().cmp(&b.id.as_str().len()))
                .then_with(|| a.id.cmp(&b.id))
        });
        // Sequence numbers decide where both are known; ids only place the unreadable ones.
        let mut known: Vec<_> = backups.extract_if(.., |b| b.manifest.is_ok()).collect();
        known.sort_by_key(|b| b.manifest.as_ref().map_or(0, |m| m.sequence));
        for broken in backups {
            let at = known.partition_point(|k| k.id.moment() <= broken.id.moment());
            known.insert(at, broken);
        }
        Ok(Self { backups: known })
    }

    /// The newest backup that is trusted. Signatures are checked from the newest on, until one holds.
    #[must_use]
    pub fn newest(&self, repo: &Repository, trust: &Trust) -> Newest {
        let mut passed_over = Vec::new();
        for listed in self.backups.iter().rev() {
            match Backup::open(repo, &listed.id, trust) {
                // Its signature was looked at first, so somebody who is trusted uses a newer program.
                Err(why) if why.kind() != Kind::NewerFormat => {
                    passed_over.push(PassedOver { id: listed.id.clone(), why });
                }
                found => return Newest { found: Some((listed.id.clone(), found)), passed_over },
            }
        }
        Newest { found: None, passed_over }
    }

    /// What a new backup follows, and its number. `known_sequence` is the number of the last backup that this host made.
    pub fn standing(&self, repo: &Repository, trust: &Trust, known_sequence: u64) -> Result<Standing> {
        let is_newer = |b: &&CatalogEntry| b.manifest.as_ref().is_err_and(|e| e.kind() == Kind::NewerFormat);
        for listed in self.backups.iter().filter(is_newer) {
            // Its number is not known, so nothing can follow it.
            if let Err(e) = Backup::open(repo, &listed.id, trust)
                && e.kind() == Kind::NewerFormat
            {
                return Err(e);
            }
        }
        let Newest { found, passed_over } = self.newest(repo, trust);
        let newest = found.and_then(|(_, backup)| backup.ok()).map(|b| b.manifest);
        let foreign = if newest.is_none() { foreign(repo, &passed_over) } else { None };
        let counted = newest.as_ref().or(foreign.as_ref()).map_or(0, |m| m.sequence);
        // A number that readers refuse is none: what carries it counts nowhere.
        let known = if known_sequence <= MAX_SEQUENCE { known_sequence } else { 0 };
        let next_sequence = self.free_sequence(counted.max(known))?;
        Ok(Standing { newest, foreign, next_sequence, passed_over })
    }

    /// The first number above `last` that nothing here carries, trusted or not.
    fn free_sequence(&self, last: u64) -> Result<u64> {
        let taken: BTreeSet<_> =
            self.backups.iter().filter_map(|b| b.manifest.as_ref().ok()).map(|m| m.sequence).collect();
        let mut next = last.saturating_add(1);
        while taken.contains(&next) && next <= MAX_SEQUENCE {
            next += 1;
        }
        if next <= MAX_SEQUENCE {
            return Ok(next);
        }
        let message =
            format!("the last backup has the number {last}; the largest that the format allows is {MAX_SEQUENCE}");
        Err(Error::failed(message).hint(Hint::NewRepository))
    }

    /// What `latest` means: the newest backup that is trusted. What this host made itself is never passed over, nor what
    /// only could not be read now: to go back before those is for a person to decide. Where nothing is trusted it is
    /// the last of the list, and whoever opens that says what is wrong.
    pub fn latest(&self, repo: &Repository, trust: &Trust, head: Option<&Head>) -> Result<Latest> {
        let Newest { found, passed_over } = self.newest(repo, trust);
        let must_count = |p: &&PassedOver| p.why.kind() == Kind::Failed || head.is_some_and(|h| h.id == p.id);
        if let Some(meant) = passed_over.iter().find(must_count) {
            return Ok(Latest { id: meant.id.clone(), passed_over: Vec::new() });
        }
        match (found, self.backups.last()) {
            (Some((id, _)), _) => Ok(Latest { id, passed_over }),
            (None, Some(last)) => Ok(Latest { id: last.id.clone(), passed_over: Vec::new() }),
            (None, None) => {
                Err(Error::new(Kind::NotFound, "the repository holds no backup yet").hint(Hint::MakeBackup))
            }
        }
    }

    /// Finds the backup that `text` names: an id, or the beginning of just one id. Older spellings, `20251118_020000`
    /// and `backup-20251118`, are understood.
    pub fn resolve(&self, text: &str) -> Result<BackupId> {
        let plain = text.strip_prefix("backup-").unwrap_or(text).replace('_', "-");
        if let Some(exact) = self.backups.iter().find(|b| b.id.as_str() == plain) {
            return Ok(exact.id.clone());
        }
        let matching: Vec<_> = self.backups.iter().filter(|b| b.id.as_str().starts_with(&plain)).collect();
        match matching.as_slice() {
            [one] if !plain.is_empty() => Ok(one.id.clone()),
            [] => Err(Error::new(Kind::NotFound, format!("no backup is named {text:?}")).hint(Hint::ListBackups)),
            many => {
                let ids: Vec<_> = many.iter().take(5).map(|b| b.id.as_str()).collect();
                Err(Error::usage(format!("{text:?} could be any of {} backups: {}", many.len(), ids.join(", "))))
            }
        }
    }
}

/// The newest backup with a valid signature of somebody who is not trusted.
fn foreign(repo: &Repository, passed_over: &[PassedOver]) -> Option<Manifest> {
    let waived = Trust { signers: Vec::new(), allow_unsigned: true };
    let mut signed = passed_over.iter().filter(|p| p.why.kind() == Kind::WrongSigner);
    signed.find_map(|p| Backup::open(repo, &p.id, &waived).ok()).map(|b| b.manifest)
}
