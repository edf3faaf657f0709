//! Building a backup in `.incomplete-<id>/` and making it visible in one step (FORMAT.md §3).

use std::path::{Path, PathBuf};

use super::backup::parse_sums;
use super::layout::{INCOMPLETE_PREFIX, MANIFEST_FILE, SIGNATURE_FILE, SUMS_FILE};
use super::repository::Repository;
use super::signing::Signer;
use super::untrusted::{MAX_SMALL_FILE_BYTES, digest_file};
use crate::durable::{Disk, DurableFile};
use crate::error::{Context, Error, Result};
use crate::model::{BackupId, ComponentRecord, Digest, Manifest, pretty_json};

/// A backup that is being built.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    id: BackupId,
    disk: Disk,
}

impl Staging {
    /// Makes a new staging folder.
    pub fn create(repo: &Repository, id: BackupId, disk: &Disk) -> Result<Self> {
        let staging = Self::adopt(repo, id, disk);
        disk.make_dir(&staging.dir)?;
        Ok(staging)
    }

    /// Takes over the staging folder of a run that was killed.
    #[must_use]
    pub fn adopt(repo: &Repository, id: BackupId, disk: &Disk) -> Self {
        Self { dir: repo.location().join(format!("{INCOMPLETE_PREFIX}{id}")), id, disk: disk.clone() }
    }

    /// Removes it with all it holds.
    pub fn remove(self) -> Result<()> {
        self.disk.remove_dir_all(&self.dir)
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &BackupId {
        &self.id
    }

    /// Begins a file of the backup; what an earlier run left under this name is removed.
    pub fn create_file(&self, name: &str) -> Result<DurableFile> {
        let path = self.dir.join(name);
        self.disk.remove_file_if_there(&path)?;
        self.disk.create(&path)
    }

    /// The folder, for temporary files without a name.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// Removes what there is of a component that was not captured.
    pub fn discard(&self, component: &str) -> Result<()> {
        // Names of components have no dots.
        let prefix = format!("{component}.");
        for item in std::fs::read_dir(&self.dir).at("cannot list", &self.dir)? {
            let item = item.at("cannot list", &self.dir)?;
            if item.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                self.disk.remove_file_if_there(&item.path())?;
            }
        }
        Ok(())
    }

    /// Whether the files of a component that an earlier run finished are all there, unharmed.
    #[must_use]
    pub fn holds(&self, record: &ComponentRecord) -> bool {
        let files = record.archives.iter().map(|a| (&a.name, a.sha256));
        let whole = |(name, sha256): (&String, Digest)| digest_file(&self.dir.join(name)).is_ok_and(|d| d == sha256);
        files.chain([(&record.index.name, record.index.sha256)]).all(whole)
    }

    /// Writes manifest, digests and signature; nothing that a reader would refuse.
    ///
    /// `texts` are the files for people, name and content. Returns the digest of SHA256SUMS.
    pub fn seal(&self, manifest: &Manifest, texts: &[(&str, String)], signer: &Signer) -> Result<Digest> {
        let mut sums = std::collections::BTreeMap::new();
        for component in &manifest.components {
            sums.extend(component.archives.iter().map(|a| (a.name.clone(), a.sha256)));
            sums.insert(component.index.name.clone(), component.index.sha256);
        }
        for (name, text) in texts {
            self.put(name, text.as_bytes())?;
            sums.insert((*name).to_owned(), Digest::of(text.as_bytes()));
        }
        let manifest_bytes = pretty_json(manifest)?;
        let own = |e: Error| Error::failed("this backup could not be read again; nothing was published").because(e);
        if Manifest::parse(&manifest_bytes).map_err(own)? != *manifest {
            return Err(own(Error::damage("manifest.json would say something else than was captured")));
        }
        self.put(MANIFEST_FILE, &manifest_bytes)?;
        sums.insert(MANIFEST_FILE.to_owned(), Digest::of(&manifest_bytes));
        let text: String = sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        parse_sums(text.as_bytes()).map_err(own)?;
        if manifest_bytes.len().max(text.len()) as u64 > MAX_SMALL_FILE_BYTES {
            let limit = "manifest.json or SHA256SUMS would be larger than the 16 MiB that readers take";
            return Err(own(Error::damage(limit)).hint("fewer components or volumes in one backup"));
        }
        self.put(SUMS_FILE, text.as_bytes())?;
        self.put(SIGNATURE_FILE, signer.sign(text.as_bytes())?.as_bytes())?;
        Ok(Digest::of(text.as_bytes()))
    }

    /// Removes what is not part of the backup and publishes it under its name. This is the commit.
    pub fn publish(self, repo: &Repository, manifest: &Manifest, texts: &[(&str, String)]) -> Result<()> {
        let mut wanted: std::collections::BTreeSet<String> =
            [MANIFEST_FILE, SUMS_FILE, SIGNATURE_FILE].iter().map(|&n| n.to_owned()).collect();
        wanted.extend(texts.iter().map(|(name, _)| (*name).to_owned()));
        for component in &manifest.components {
            wanted.extend(component.archives.iter().map(|a| a.name.clone()));
            wanted.insert(component.index.name.clone());
        }
        for item in std::fs::read_dir(&self.dir).at("cannot list", &self.dir)? {
            let item = item.at("cannot list", &self.dir)?;
            if item.file_name().to_str().is_some_and(|n| wanted.contains(n)) {
                continue;
            }
            if item.file_type().at("cannot stat", item.path())?.is_dir() {
                self.disk.remove_dir_all(&item.path())?;
            } else {
                self.disk.remove_file_if_there(&item.path())?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        self.disk.publish(&self.dir, &repo.location().join(self.id.as_str()))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.disk.replace(&self.dir.join(name), bytes)
    }
}

/// Points `link`, which is [`LATEST_LINK`](super::layout::LATEST_LINK) or [`LATEST_GOOD_LINK`](super::layout::LATEST_GOOD_LINK), at a backup that is
/// published. It is a convenience for people: a failure is told, and harms nothing.
pub fn point_latest(repo: &Repository, link: &str, id: &BackupId, disk: &Disk) -> Result<()> {
    let path = repo.location().join(link);
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(Error::failed(format!("{} is a folder and no link", path.display())));
    }
    disk.replace_symlink(&path, id.as_str())
}
