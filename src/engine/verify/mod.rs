//! `verify`: whether every byte is what was signed. Reads, never repairs.
//!
//! Without a key it checks signatures, digests and the links between backups: everything that a repository holds is
//! covered, so one changed byte anywhere is found. With a key and `deep` it opens, decompresses and re-hashes every file
//! and compares every tar member with its line in the index.

mod deep;
mod files;
mod keyless;

use std::collections::BTreeSet;

use serde::Serialize;

use super::Session;
use crate::error::{Error, Hint, Kind, Result};
use crate::model::BackupId;
use crate::monitor::Monitor;
use crate::repo::backup::Backup;
use crate::repo::catalog::Catalog;
use crate::repo::signing::SignerKey;
use crate::threads;

pub use super::finding::{Finding, FindingKind, Note};
use files::{Counts, Files};

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Depth {
    /// Stored bytes against signed digests; no key.
    Keyless,
    /// Keyless, and then this part of all files, in percent, opened and hashed.
    Deep(f64),
}

/// What to verify.
#[derive(Debug)]
pub struct VerifyOptions {
    /// How far.
    pub depth: Depth,
    /// All backups, not one and its chain.
    pub all: bool,
    /// Worker threads.
    pub threads: usize,
}

/// One backup and its chain, without a key, by all processors.
impl Default for VerifyOptions {
    fn default() -> Self {
        Self { depth: Depth::Keyless, all: false, threads: threads::available() }
    }
}

/// What a verification found, as `verify --json` shows it.
#[derive(Debug, Default, Serialize)]
pub struct VerifyReport {
    /// The backup; with `all` the newest.
    pub id: String,
    /// Whether nothing was found.
    pub ok: bool,
    /// `keyless` or `deep`.
    pub depth: &'static str,
    /// Backups that were looked at.
    pub backups: Vec<BackupId>,
    /// Archive and index files that were read.
    pub archives: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Entries that were opened and hashed; 0 without `deep`.
    pub entries: u64,
    /// Problems that the captures themselves had noted; they are no damage.
    pub captured_with_problems: u64,
    /// Who signed, as fingerprints.
    pub signers: BTreeSet<String>,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What is odd beside the backups, and no damage.
    pub notes: Vec<Note>,
}

impl Session {
    /// Verifies one backup with its chain, or all. With the newest backup that is trusted, those are looked at too that
    /// claim to be newer.
    pub fn verify(&self, id: &BackupId, options: &VerifyOptions, monitor: &dyn Monitor) -> Result<VerifyReport> {
        if self.trust.signers.is_empty() && !self.trust.allow_unsigned {
            let message = "no trusted signer is known here to check signatures against";
            return Err(Error::new(Kind::Unsigned, message).hint(Hint::NameSignerToVerify));
        }
        let (checked, findings, notes) = self.check_links(id, options.all)?;
        let mut report = VerifyReport {
            id: id.to_string(),
            depth: "keyless",
            backups: checked.iter().map(|b| b.manifest.id.clone()).collect(),
            captured_with_problems: checked.iter().fold(0, |sum, b| b.manifest.problems().saturating_add(sum)),
            signers: checked.iter().filter_map(|b| b.signer.as_ref().map(SignerKey::fingerprint)).collect(),
            findings,
            notes,
            ..VerifyReport::default()
        };
        let files = Files::of(&self.repo, &checked);
        let Depth::Deep(percent) = options.depth else {
            monitor.stage("verify", Some(files.bytes), None);
            report.add(files.hash(options.threads, monitor)?);
            return Ok(report);
        };
        report.depth = "deep";
        let wanted: Vec<_> = if options.all { report.backups.clone() } else { vec![id.clone()] };
        let (bytes, entries) = deep::extent(checked.iter().filter(|b| wanted.contains(&b.manifest.id)), percent);
        monitor.stage("verify", Some(files.bytes.saturating_add(bytes)), Some(entries));
        let mut deep = deep::Deep { percent, threads: options.threads, entries: 0, findings: Vec::new() };
        // Side by side: hashing one large archive would leave all but one core idle.
        let (hashed, opened) = std::thread::scope(|scope| -> Result<_> {
            let hashing = threads::start(scope, "hash", || files.hash(options.threads, monitor))?;
            let opened = wanted.iter().try_for_each(|id| self.open_all(id, &mut deep, &report, monitor));
            Ok((threads::join(hashing), opened))
        })?;
        report.add(hashed?);
        opened?;
        report.entries = deep.entries;
        report.findings.extend(deep.findings);
        report.ok = report.findings.is_empty();
        Ok(report)
    }

    /// What needs no key, but for the bytes of the files: the backups that could be opened, what is wrong, what is odd.
    fn check_links(&self, id: &BackupId, all: bool) -> Result<(Vec<Backup>, Vec<Finding>, Vec<Note>)> {
        let catalog = Catalog::load(&self.repo)?;
        let newest = catalog.newest(&self.repo, &self.trust);
        let newest_id = newest.found.map(|(id, _)| id);
        let mut checker = keyless::KeylessChecker::new(&self.repo, &catalog, &self.trust);
        checker.repository(&self.state, newest_id.as_ref())?;
        if all {
            catalog.backups.iter().try_for_each(|b| checker.backup(&b.id).map(drop))?;
        } else {
            checker.chain(id)?;
            let newer = newest.passed_over.iter().map(|p| &p.id);
            if newest_id.as_ref() == Some(id) || newer.clone().any(|passed_over| passed_over == id) {
                newer.rev().try_for_each(|id| checker.backup(id).map(drop))?;
            }
        }
        Ok(checker.finish())
    }

    /// Opens everything that a backup holds.
    fn open_all(
        &self,
        id: &BackupId,
        deep: &mut deep::Deep,
        report: &VerifyReport,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        match self.chain(id) {
            Ok(chain) => deep.backup(&chain, monitor)?,
            Err(e) if e.is_damage() || matches!(e.kind(), Kind::Unsigned | Kind::WrongSigner | Kind::NewerFormat) => {
                // The keyless half says so already, unless it is something only a chain shows.
                if report.findings.iter().all(|f| f.backup != id.to_string()) {
                    deep.findings.push(Finding::of_backup(id, FindingKind::Chain, &e));
                }
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

impl VerifyReport {
    /// Whether the only thing wrong is that a newer program is needed: nothing says that anything is damaged.
    #[must_use]
    pub fn is_only_newer(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(Finding::is_newer)
    }

    /// What hashing the files gave.
    fn add(&mut self, (found, counts): (Vec<Finding>, Counts)) {
        for finding in found {
            // A wrong length was reported before; the digest says nothing new.
            if !self.findings.iter().any(|f| f.path == finding.path && f.kind == finding.kind) {
                self.findings.push(finding);
            }
        }
        (self.archives, self.bytes) = (counts.files, counts.bytes);
        self.ok = self.findings.is_empty();
    }
}
