//! The half of `verify` that needs no key: signatures, names, and the links between backups. `files` hashes what they
//! name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;

use crate::engine::finding::{Finding, FindingKind, Note};
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{BackupId, Digest};
use crate::repo::backup::{Backup, SIGNATURE_FILE, SUMS_FILE, Trust};
use crate::repo::catalog::Catalog;
use crate::repo::signing::allowed_signers;
use crate::repo::state::LocalState;
use crate::repo::{
    ALLOWED_SIGNERS_FILE, INCOMPLETE_PREFIX, LATEST_GOOD_LINK, LATEST_LINK, LOCK_FILE, REPOSITORY_FILE, Repository,
};

/// Checks backups; their files remain to be hashed.
#[derive(Debug)]
pub(super) struct KeylessChecker<'a> {
    repo: &'a Repository,
    catalog: &'a Catalog,
    trust: &'a Trust,
    findings: Vec<Finding>,
    notes: Vec<Note>,
    done: BTreeSet<BackupId>,
    /// Digest of each `SHA256SUMS` that a link led to, or why it cannot be read.
    sums: BTreeMap<BackupId, Result<Digest>>,
    opened: Vec<Backup>,
}

impl<'a> KeylessChecker<'a> {
    pub(super) fn new(repo: &'a Repository, catalog: &'a Catalog, trust: &'a Trust) -> Self {
        let (findings, notes, done, sums, opened) = Default::default();
        Self { repo, catalog, trust, findings, notes, done, sums, opened }
    }

    /// What lies beside the backups, and whether the newest backup that this host knows is there. No reader looks at
    /// what is beside them, so it is noted; only what stands in the place of a backup is damage.
    pub(super) fn repository(&mut self, state: &LocalState, newest: Option<&BackupId>) -> Result<()> {
        self.findings.extend(self.repo.fault().map(Finding::of_record));
        if !self.trust.signers.is_empty() {
            self.allowed_signers();
        }
        self.latest(newest);
        for (name, file_type) in self.repo.names()? {
            self.beside(&name.to_string_lossy(), name.as_bytes(), file_type);
        }
        let head = state.head()?.filter(|head| !self.was_made_meanwhile(&head.id));
        let Some(head) = head else { return Ok(()) };
        if self.catalog.backups.iter().all(|b| b.id != head.id) {
            let number = head.sequence;
            let lost = format!("this host made backup {} (number {number}), it is not in the repository", head.id);
            let lost = Error::damage(lost).hint(Hint::ReplaceLost);
            self.findings.push(Finding::of_backup(&head.id, FindingKind::Missing, &lost));
        } else if self.repo.sums(&head.id).is_ok_and(|sums| Digest::of(&sums) != head.sums_sha256) {
            let detail = "its SHA256SUMS is not the one that this host wrote".into();
            self.findings.push(Finding::of_file(&head.id, None, SUMS_FILE, FindingKind::Changed, detail));
        }
        Ok(())
    }

    /// Something in the repository's folder.
    fn beside(&mut self, name: &str, bytes: &[u8], file_type: FileType) {
        if self.catalog.backups.iter().any(|b| b.id.as_str() == name) {
            return;
        }
        let is_ours = [REPOSITORY_FILE, ALLOWED_SIGNERS_FILE, LATEST_LINK, LATEST_GOOD_LINK].contains(&name)
            || name.starts_with(INCOMPLETE_PREFIX)
            || name.starts_with(".staged-")
            || name == LOCK_FILE && file_type.is_file();
        let shown = crate::model::escape_path(bytes);
        match name.parse::<BackupId>() {
            Ok(id) if self.was_made_meanwhile(&id) => self.note(&shown, "it was made while this ran and not checked"),
            Ok(_) => self.findings.push(Finding::of_repository(
                &shown,
                "it is named like a backup and is no folder".into(),
                "find out what took the place of the backup; bring its folder back from another copy of the repository",
            )),
            Err(_) if is_ours => {}
            Err(_) if name == LOCK_FILE => self.note(&shown, "it is not a regular file; no backup can be made"),
            Err(_) => self.note(&shown, "it does not belong to the repository; readers pass over it"),
        }
    }

    /// Whether a backup is there now that was not when the repository was listed: `verify` takes no lock.
    fn was_made_meanwhile(&self, id: &BackupId) -> bool {
        self.catalog.backups.iter().all(|b| b.id != *id) && self.repo.holds(id)
    }

    /// The link is for people and moves when the new backup is visible already. Readers never follow it.
    fn latest(&mut self, newest: Option<&BackupId>) {
        let Ok(pointed) = self.repo.latest() else {
            return self.note(LATEST_LINK, "it is not a link; the next backup makes it anew if it can");
        };
        let newer = pointed.as_deref().and_then(|p| p.to_str()?.parse().ok());
        let is_right = pointed.as_deref() == newest.map(|id| Path::new(id.as_str()));
        if is_right || newer.is_some_and(|id| self.was_made_meanwhile(&id)) {
            return;
        }
        let place = pointed.as_deref().map_or("nothing".into(), |p| p.display().to_string());
        let newest = newest.map_or("none", |id| id.as_str());
        let detail = format!("it points to {place}, the newest backup is {newest}; the next backup sets it right");
        self.note(LATEST_LINK, &detail);
    }

    /// The convenience copy should say exactly what is trusted, or somebody could be led to trust more.
    fn allowed_signers(&mut self) {
        let next = "never check a signature with it; write it anew from a trusted copy of the signer's public key";
        match self.repo.allowed_signers() {
            Err(e) => self.note(ALLOWED_SIGNERS_FILE, &format!("{}; {next}", e.one_line())),
            Ok(bytes) => {
                let trusted: Vec<_> =
                    self.trust.signers.iter().map(|key| allowed_signers(std::slice::from_ref(key))).collect();
                let text = String::from_utf8_lossy(&bytes);
                let known = |line: &str| trusted.iter().any(|t| t.as_str() == line);
                if text.is_empty() || !text.split_inclusive('\n').all(known) {
                    let detail = format!("it names somebody who is not trusted here, or is garbled; {next}");
                    self.note(ALLOWED_SIGNERS_FILE, &detail);
                }
            }
        }
    }

    fn note(&mut self, path: &str, detail: &str) {
        self.notes.push(Note { path: path.into(), detail: detail.into() });
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
        let names = match self.repo.objects(id) {
            // Reported by the backup that needs it.
            Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => return Ok(Vec::new()),
            names => names,
        };
        let backup = match Backup::open(self.repo, id, self.trust) {
            Ok(backup) => backup,
            Err(error) => {
                self.findings.push(Finding::of_backup(id, FindingKind::Manifest, &error));
                return Ok(Vec::new());
            }
        };
        let bad = |detail: String| Finding::of_backup(id, FindingKind::Manifest, &Error::damage(detail));
        let manifest = &backup.manifest;
        if self.repo.fault().is_none() && manifest.repository_sha256 != self.repo.record_sha256() {
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
                let found = self.repo.stat_object(id, name).map(|meta| meta.len());
                if let Some(found) = found.filter(|found| *found != size) {
                    let detail = format!("it should have {size} bytes and has {found}");
                    self.findings.push(Finding::of_file(id, Some(&component.name), name, FindingKind::Changed, detail));
                }
            }
        }
        let twins = self.catalog.backups.iter().filter(|b| b.id != *id).filter_map(|b| b.manifest.as_ref().ok());
        for twin in twins.filter(|m| m.sequence == manifest.sequence) {
            // Anybody can write a number down; only who is trusted can give one out twice.
            if Backup::open(self.repo, &twin.id, self.trust).is_ok() {
                let number = manifest.sequence;
                self.findings.push(bad(format!("it and backup {} both carry the number {number}", twin.id)));
            }
        }
        for name in names? {
            let name = name.to_string_lossy().into_owned();
            if name != SUMS_FILE && name != SIGNATURE_FILE && !backup.sums.contains_key(&name) {
                let detail = "it is not listed in SHA256SUMS".into();
                let name = crate::model::escape_path(name.as_bytes()).into_owned();
                self.findings.push(Finding::of_file(id, None, &name, FindingKind::Unexpected, detail));
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
        // In a long chain every backup names all that came before: each is read once.
        let found = self
            .sums
            .entry(link.id.clone())
            .or_insert_with(|| self.repo.sums(&link.id).map(|bytes| Digest::of(&bytes)));
        let detail = match found {
            Ok(found) if *found == link.sums_sha256 => return,
            Ok(_) => format!("it was built on another backup {} than the one that is there", link.id),
            Err(_) if !needed && !self.repo.is_taken(&link.id) => return,
            Err(why) => format!("it depends on backup {}, which cannot be read: {}", link.id, why.one_line()),
        };
        let detail = Error::new(Kind::Damage, detail);
        let finding = Finding::of_backup(id, if needed { FindingKind::Chain } else { FindingKind::Parent }, &detail);
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// The backups that could be opened, what is wrong, and what is odd.
    pub(super) fn finish(self) -> (Vec<Backup>, Vec<Finding>, Vec<Note>) {
        (self.opened, self.findings, self.notes)
    }
}
