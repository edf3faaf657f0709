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
#[derive(Debug, Serialize)]
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
        let Self { repo, trust, state, .. } = self;
        if trust.signers.is_empty() && !trust.allow_unsigned {
            return Err(Error::new(Kind::Unsigned, "no trusted signer is known here to check signatures against")
                .hint(Hint::NameSignerToVerify));
        }
        let catalog = Catalog::load(repo)?;
        let newest = catalog.newest(repo, trust);
        let newest_id = newest.found.map(|(id, _)| id);
        let mut checker = keyless::KeylessChecker::new(repo, &catalog, trust);
        checker.repository(state, newest_id.as_ref())?;
        if options.all {
            catalog.backups.iter().try_for_each(|b| checker.backup(&b.id).map(drop))?;
        } else {
            checker.chain(id)?;
            let newer = newest.passed_over.iter().map(|p| &p.id);
            if newest_id.as_ref() == Some(id) || newer.clone().any(|passed_over| passed_over == id) {
                newer.rev().try_for_each(|id| checker.backup(id).map(drop))?;
            }
        }
        let (checked, findings, notes) = checker.finish();
        let mut report = VerifyReport {
            id: id.to_string(),
            ok: false,
            depth: "keyless",
            backups: checked.iter().map(|b| b.manifest.id.clone()).collect(),
            archives: 0,
            bytes: 0,
            entries: 0,
            captured_with_problems: checked.iter().fold(0, |sum, b| b.manifest.problems().saturating_add(sum)),
            signers: checked.iter().filter_map(|b| b.signer.as_ref().map(SignerKey::fingerprint)).collect(),
            findings,
            notes,
        };
        let files = Files::of(repo, &checked);
        let Depth::Deep(percent) = options.depth else {
            monitor.stage("verify", Some(files.bytes), None);
            let hashed = files.hash(options.threads, monitor)?;
            report.add(hashed);
            return Ok(report);
        };
        report.depth = "deep";
        let wanted: Vec<_> = if options.all { report.backups.clone() } else { vec![id.clone()] };
        let (bytes, entries) = deep::extent(checked.iter().filter(|b| wanted.contains(&b.manifest.id)), percent);
        monitor.stage("verify", Some(files.bytes.saturating_add(bytes)), Some(entries));
        // Side by side: hashing one large archive would leave all but one core idle.
        let (hashed, opened) = std::thread::scope(|scope| -> Result<_> {
            let hashing = threads::start(scope, "hash", || files.hash(options.threads, monitor))?;
            let mut deep = deep::Deep { percent, threads: options.threads, entries: 0, findings: Vec::new() };
            let opened = wanted.iter().try_for_each(|id| match self.chain(id) {
                Ok(chain) => deep.backup(&chain, monitor),
                Err(e)
                    if e.is_damage() || matches!(e.kind(), Kind::Unsigned | Kind::WrongSigner | Kind::NewerFormat) =>
                {
                    // The keyless half says so already, unless it is something only a chain shows.
                    if report.findings.iter().all(|f| f.backup != id.to_string()) {
                        deep.findings.push(Finding::of_backup(id, FindingKind::Chain, &e));
                    }
                    Ok(())
                }
                Err(e) => Err(e),
            });
            let hashed = threads::join(hashing);
            Ok((hashed, opened.map(|()| deep)))
        })?;
        report.add(hashed?);
        let deep = opened?;
        report.entries = deep.entries;
        report.findings.extend(deep.findings);
        report.ok = report.findings.is_empty();
        Ok(report)
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
