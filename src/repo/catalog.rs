//! What a repository holds: its backups in the order of their sequence numbers, and how people name them.

use std::path::Path;

use super::backup::MANIFEST_FILE;
use super::{INCOMPLETE_PREFIX, Repository, read_small};
use crate::error::{Context, Error, Kind, Result};
use crate::model::{BackupId, Manifest};

/// One backup folder as listed. The manifest is read, not yet checked against a signature.
#[derive(Debug)]
pub struct Listed {
    /// Name of the folder.
    pub id: BackupId,
    /// Its manifest, or why it cannot be read.
    pub manifest: Result<Manifest>,
}

/// All backups, oldest first; those without a readable manifest stand where their name puts them.
#[derive(Debug)]
pub struct Catalog {
    /// The backups.
    pub backups: Vec<Listed>,
}

impl Catalog {
    /// Lists a repository. A folder that cannot be listed is an error, never an empty list.
    pub fn load(repo: &Repository) -> Result<Self> {
        let mut backups: Vec<_> = folder_names(repo.root())?
            .into_iter()
            .map(|id| {
                let manifest =
                    read_small(&repo.root().join(id.as_str()).join(MANIFEST_FILE)).and_then(|b| Manifest::parse(&b));
                let manifest = manifest.and_then(|m| {
                    if m.id == id {
                        Ok(m)
                    } else {
                        Err(Error::damage(format!("the folder {id} holds the manifest of {}", m.id)))
                    }
                });
                Listed { id, manifest }
            })
            .collect();
        backups.sort_by(|a, b| {
            a.id.unix_seconds()
                .cmp(&b.id.unix_seconds())
                .then_with(|| a.id.as_str().len().cmp(&b.id.as_str().len()))
                .then_with(|| a.id.cmp(&b.id))
        });
        // Sequence numbers decide where both are known; ids only place the unreadable ones.
        let mut known: Vec<_> = backups.extract_if(.., |b| b.manifest.is_ok()).collect();
        known.sort_by_key(|b| b.manifest.as_ref().map_or(0, |m| m.sequence));
        for broken in backups {
            let at = known.partition_point(|k| k.id.unix_seconds() <= broken.id.unix_seconds());
            known.insert(at, broken);
        }
        Ok(Self { backups: known })
    }

    /// The newest backup with a readable manifest.
    #[must_use]
    pub fn newest(&self) -> Option<&Manifest> {
        self.backups.iter().rev().find_map(|b| b.manifest.as_ref().ok())
    }

    /// Finds the backup that `text` names: `latest`, an id, or the beginning of just one id. Older spellings,
    /// `20251118_020000` and `backup-20251118`, are understood.
    pub fn resolve(&self, text: &str) -> Result<BackupId> {
        if text == "latest" {
            return self.backups.last().map(|b| b.id.clone()).ok_or_else(|| {
                Error::new(Kind::NotFound, "the repository holds no backup yet").hint("`ccbackup create` makes one")
            });
        }
        let plain = text.strip_prefix("backup-").unwrap_or(text).replace('_', "-");
        if let Some(exact) = self.backups.iter().find(|b| b.id.as_str() == plain) {
            return Ok(exact.id.clone());
        }
        let matching: Vec<_> = self.backups.iter().filter(|b| b.id.as_str().starts_with(&plain)).collect();
        match matching.as_slice() {
            [one] if !plain.is_empty() => Ok(one.id.clone()),
            [] => {
                Err(Error::new(Kind::NotFound, format!("no backup is named {text:?}"))
                    .hint("`ccbackup list` shows all"))
            }
            many => {
                let ids: Vec<_> = many.iter().take(5).map(|b| b.id.as_str()).collect();
                Err(Error::usage(format!("{text:?} could be any of {} backups: {}", many.len(), ids.join(", "))))
            }
        }
    }
}

/// Names of the folders that are named like backups.
pub(crate) fn folder_names(root: &Path) -> Result<Vec<BackupId>> {
    let mut ids = Vec::new();
    for item in std::fs::read_dir(root).at("cannot list", root)? {
        let item = item.at("cannot list", root)?;
        let name = item.file_name();
        if let Some(id) = name.to_str().and_then(|n| n.parse::<BackupId>().ok()) {
            if item.file_type().at("cannot look at", item.path())?.is_dir() {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

/// Names of the staging folders that killed runs left.
pub fn incomplete_ids(root: &Path) -> Result<Vec<BackupId>> {
    let mut ids = Vec::new();
    for item in std::fs::read_dir(root).at("cannot list", root)? {
        let name = item.at("cannot list", root)?.file_name();
        let id = name.to_str().and_then(|n| n.strip_prefix(INCOMPLETE_PREFIX)).and_then(|n| n.parse().ok());
        ids.extend(id);
    }
    ids.sort();
    Ok(ids)
}
