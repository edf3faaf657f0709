//! The half of `verify` that needs no key: signatures, names, and the links between backups. `files` hashes what they
//! name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::finding::Finding;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{BackupId, Digest};
use crate::monitor::Monitor;
use crate::repo::backup::{Backup, SIGNATURE_FILE, SUMS_FILE, Trust};
use crate::repo::catalog::Catalog;
use crate::repo::signing::allowed_signers;
use crate::repo::state::{Head, LocalState};
use crate::repo::{
    ALLOWED_SIGNERS_FILE, INCOMPLETE_PREFIX, LATEST_LINK, LOCK_FILE, REPOSITORY_FILE, Repository, read_small,
};

/// Checks backups; their files remain to be hashed.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    trust: &'a Trust,
    findings: &'a mut Vec<Finding>,
    done: BTreeSet<BackupId>,
    /// Digest of each `SHA256SUMS` that a link led to, or why it cannot be read.
    sums: BTreeMap<BackupId, std::result::Result<Digest, String>>,
    opened: Vec<Backup>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        repo: &'a Repository,
        catalog: &'a Catalog,
        trust: &'a Trust,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        Self { repo, catalog, trust, findings, done: BTreeSet::new(), sums: BTreeMap::new(), opened: Vec::new() }
    }

    /// The files beside the backups, and whether the newest backup that this host knows is there.
    pub(super) fn repository(&mut self, state: &LocalState, monitor: &dyn Monitor) -> Result<()> {
        let root = self.repo.root();
        if !self.trust.signers.is_empty() {
            self.allowed_signers();
        }
        let head = state.head()?.filter(|head| !self.was_made_meanwhile(&head.id));
        self.latest(head.as_ref(), monitor);
        let own = [REPOSITORY_FILE, ALLOWED_SIGNERS_FILE, LATEST_LINK, LOCK_FILE];
        for item in std::fs::read_dir(root).at("cannot list", root)? {
            let item = item.at("cannot list", root)?;
            let name = item.file_name().to_string_lossy().into_owned();
            let is_backup = self.catalog.backups.iter().any(|b| b.id.as_str() == name);
            let is_ours =
                own.contains(&name.as_str()) || name.starts_with(INCOMPLETE_PREFIX) || name.starts_with(".staged-");
            if !is_backup && name.parse().is_ok_and(|id| self.was_made_meanwhile(&id)) {
                monitor.note(&format!("backup {name} was made while this ran; it was not looked at"));
            } else if !is_backup && !is_ours {
                self.finding_in_repository(
                    &crate::model::escape_path(name.as_bytes()),
                    "it does not belong to the repository".into(),
                    "move it elsewhere if nobody needs it here",
                );
            }
        }
        if let Some(head) = head {
            let there = self.catalog.backups.iter().any(|b| b.id == head.id);
            if !there {
                self.findings.push(Finding {
                    kind: "missing".into(),
                    backup: head.id.to_string(),
                    component: None,
                    path: head.id.to_string(),
                    detail: format!(
                        "this host made backup {} (number {}), it is not in the repository",
                        head.id, head.sequence
                    ),
                    next: "find out who removed it; bring it back from another copy, or run `ccbackup create`".into(),
                });
            } else {
                let sums = read_small(&root.join(head.id.as_str()).join(SUMS_FILE));
                if sums.is_ok_and(|s| Digest::of(&s) != head.sums_sha256) {
                    let detail = "its SHA256SUMS is not the one that this host wrote".into();
                    self.findings.push(Finding::of_file(&head.id, None, SUMS_FILE, "changed", detail));
                }
            }
        }
        Ok(())
    }

    /// Whether a backup is there now that was not when the repository was listed: `verify` takes no lock.
    fn was_made_meanwhile(&self, id: &BackupId) -> bool {
        let dir = self.repo.root().join(id.as_str());
        self.catalog.backups.iter().all(|b| b.id != *id) && dir.symlink_metadata().is_ok_and(|m| m.is_dir())
    }

    /// The link moves when the new backup is visible already, so a run that dies in between leaves it one backup behind.
    /// That is no damage; a host that remembers having moved it knows better.
    fn latest(&mut self, head: Option<&Head>, monitor: &dyn Monitor) {
        let next = "the next `ccbackup create` sets it right";
        let mut ids = self.catalog.backups.iter().rev().map(|b| &b.id);
        let (newest, before) = (ids.next(), ids.next());
        let pointed = match std::fs::read_link(self.repo.root().join(LATEST_LINK)) {
            Ok(target) => Some(target),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                return self.finding_in_repository(LATEST_LINK, format!("it is not a readable link: {e}"), next);
            }
        };
        let newer = pointed.as_deref().and_then(|p| p.to_str()?.parse().ok());
        if newer.is_some_and(|id| self.was_made_meanwhile(&id)) {
            return;
        }
        let points_to = |id: Option<&BackupId>| pointed.as_deref() == id.map(|id| Path::new(id.as_str()));
        if points_to(newest) {
            return;
        }
        let place = pointed.as_deref().map_or("nothing".into(), |p| p.display().to_string());
        let newest_name = newest.map_or("none", |id| id.as_str());
        let detail = format!("it points to {place}, the newest backup is {newest_name}");
        if points_to(before) && head.map(|h| &h.id) != newest {
            monitor.note(&format!("`latest`: {detail}; the run that made it ended before its last step; {next}"));
        } else {
            self.finding_in_repository(LATEST_LINK, detail, next);
        }
    }

    /// The convenience copy must say exactly what is trusted, or somebody could be led to trust more.
    fn allowed_signers(&mut self) {
        let path = self.repo.root().join(ALLOWED_SIGNERS_FILE);
        let next = "write it anew from a trusted copy of the signer's public key (`ccbackup key list`)";
        match read_small(&path) {
            Err(e) => self.finding_in_repository(ALLOWED_SIGNERS_FILE, e.one_line(), next),
            Ok(bytes) => {
                let trusted: Vec<_> =
                    self.trust.signers.iter().map(|key| allowed_signers(std::slice::from_ref(key))).collect();
                let text = String::from_utf8_lossy(&bytes);
                let known = |line: &str| trusted.iter().any(|t| t.as_str() == line);
                if text.is_empty() || !text.split_inclusive('\n').all(known) {
                    self.finding_in_repository(
                        ALLOWED_SIGNERS_FILE,
                        "it names somebody who is not trusted here, or is garbled".into(),
                        next,
                    );
                }
            }
        }
    }

    fn finding_in_repository(&mut self, path: &str, detail: String, next: &str) {
        self.findings.push(Finding::of_repository(path, detail, next));
    }

    /// A backup and all it depends on.
    pub(super) fn chain(&mut self, id: &BackupId) -> Result<()> {
        let dependencies = self.backup(id)?;
        dependencies.iter().try_for_each(|d| self.backup(d).map(drop))
    }

    /// One backup: its manifest and its links. Returns what it depends on.
    pub(super) fn backup(&mut self, id: &BackupId) -> Result<Vec<BackupId>> {
        if !self.done.insert(id.clone()) {
            return Ok(Vec::new());
        }
        if !self.repo.root().join(id.as_str()).is_dir() {
            // Reported by the backup that needs it.
            return Ok(Vec::new());
        }
        let backup = match Backup::open(self.repo, id, self.trust) {
            Ok(backup) => backup,
            Err(error) => {
                self.findings.push(Finding::of_backup(id, "manifest", &error));
                return Ok(Vec::new());
            }
        };
        let bad = |detail: String| Finding::of_backup(id, "manifest", &Error::damage(detail));
        let manifest = &backup.manifest;
        if manifest.repository_sha256 != self.repo.record_sha256() {
            let detail = format!("repository.json is not the one that backup {id} was made in");
            let next = "bring repository.json back from another copy of the repository";
            self.findings.push(Finding::of_repository(REPOSITORY_FILE, detail, next));
        }
        for component in &manifest.components {
            let recorded = component.archives.iter().map(|a| (&a.name, a.sha256, a.size_bytes));
            let index = &component.index;
            for (name, sha256, size) in recorded.chain([(&index.name, index.sha256, index.size_bytes)]) {
                if backup.sums.get(name) != Some(&sha256) {
                    self.findings.push(bad(format!("manifest.json and SHA256SUMS disagree about {name}")));
                }
                let path = backup.dir.join(name);
                if path.symlink_metadata().is_ok_and(|m| m.len() != size) {
                    let detail = format!(
                        "it should have {size} bytes and has {}",
                        path.symlink_metadata().map_or(0, |m| m.len())
                    );
                    self.findings.push(Finding::of_file(id, Some(&component.name), name, "changed", detail));
                }
            }
        }
        let twins = self.catalog.backups.iter().filter(|b| b.id != *id).filter_map(|b| b.manifest.as_ref().ok());
        for twin in twins.filter(|m| m.sequence == manifest.sequence) {
            self.findings.push(bad(format!("it and backup {} both carry the number {}", twin.id, manifest.sequence)));
        }
        for item in std::fs::read_dir(&backup.dir).at("cannot list", &backup.dir)? {
            let name = item.at("cannot list", &backup.dir)?.file_name().to_string_lossy().into_owned();
            if name != SUMS_FILE && name != SIGNATURE_FILE && !backup.sums.contains_key(&name) {
                let detail = "it is not listed in SHA256SUMS".into();
                let name = crate::model::escape_path(name.as_bytes()).into_owned();
                self.findings.push(Finding::of_file(id, None, &name, "unexpected", detail));
            }
        }
        let parent = manifest.parent.iter().map(|d| (d, false));
        for (link, needed) in manifest.depends_on.iter().map(|d| (d, true)).chain(parent) {
            self.link(id, link, needed);
        }
        let dependencies = manifest.depends_on.iter().map(|d| d.id.clone()).collect();
        self.opened.push(backup);
        Ok(dependencies)
    }

    /// A link to another backup must lead to exactly the bytes that were meant. A parent may have been removed.
    fn link(&mut self, id: &BackupId, link: &crate::model::Dependency, needed: bool) {
        let root = self.repo.root();
        // In a long chain every backup names all that came before: each is read once.
        let found = self.sums.entry(link.id.clone()).or_insert_with(|| {
            let bytes = read_small(&root.join(link.id.as_str()).join(SUMS_FILE));
            bytes.map(|bytes| Digest::of(&bytes)).map_err(|e| e.one_line())
        });
        let detail = match found {
            Ok(found) if *found == link.sums_sha256 => return,
            Ok(_) => format!("it was built on another backup {} than the one that is there", link.id),
            Err(_) if !needed && !root.join(link.id.as_str()).exists() => return,
            Err(why) => format!("it depends on backup {}, which cannot be read: {why}", link.id),
        };
        let detail = Error::new(Kind::Damage, detail);
        let finding = Finding::of_backup(id, if needed { "chain" } else { "parent" }, &detail);
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// The backups that could be opened.
    pub(super) fn opened(self) -> Vec<Backup> {
        self.opened
    }
}
