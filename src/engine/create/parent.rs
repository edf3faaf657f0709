//! What a new backup builds on: the newest backup of the repository and the local copies of its indexes, or nothing,
//! with the reason.

use std::collections::BTreeMap;

use super::base::{LastIndex, Volumes};
use super::options::CreateOptions;
use super::report::FullBecause;
use crate::config::ComponentConfig;
use crate::engine::{Host, Session};
use crate::error::{Error, Hint, Kind, Result};
use crate::index::LocalIndex;
use crate::model::{
    BackupId, ComponentRecord, Dependency, Digest, FailedComponent, Manifest, Moment, Problem, ProblemKind, Timestamp,
};
use crate::repo::Repository;
use crate::repo::backup::{Backup, MANIFEST_FILE, Trust, parse_sums};
use crate::repo::catalog::{Catalog, SHOWN_PASSED_OVER};
use crate::repo::signing::Signer;
use crate::repo::state::{ACCEPTANCE, LocalState};

/// Good captures of a component whose median is what it usually has.
const MEDIAN_OF: usize = 5;
/// Backups in which they are looked for.
const MOST_LOOKED_AT: usize = 1000;

/// What was found, and what follows from it.
#[derive(Debug)]
pub(super) struct ParentChoice {
    pub(super) next_sequence: u64,
    pub(super) parent: Option<Dependency>,
    /// Why nothing is built upon although there are earlier backups.
    pub(super) full_because: Option<FullBecause>,
    /// Backups that were passed over, to be verified.
    pub(super) notes: Vec<String>,
    last: BTreeMap<String, LastIndex>,
    /// The backup in which a component was captured last.
    last_good: BTreeMap<String, Dependency>,
    /// Manifests of the newest backups that are trusted, the newest first, as many as comparisons need.
    recent: Vec<Manifest>,
    /// The backups that may be referred to, with the digests of their SHA256SUMS.
    bases: BTreeMap<BackupId, (Digest, Manifest)>,
}

impl ParentChoice {
    /// For a repository without backups.
    pub(super) fn first() -> Self {
        Self {
            next_sequence: 1,
            parent: None,
            full_because: None,
            notes: Vec::new(),
            last: BTreeMap::new(),
            last_good: BTreeMap::new(),
            recent: Vec::new(),
            bases: BTreeMap::new(),
        }
    }

    /// Looks at the newest backup that is trusted. Refuses to write when it is another host's or lies in the future.
    pub(super) fn make(session: &Session, catalog: &Catalog, options: &CreateOptions) -> Result<Self> {
        let Session { repo, state, host, .. } = session;
        let head = state.head().unwrap_or_default();
        let mut trust = Trust { allow_unsigned: false, ..session.trust.clone() };
        host.signer.iter().map(Signer::public).chain(state.pinned()?).for_each(|signer| trust.add(signer));
        let standing = catalog.standing(repo, &trust, head.as_ref().map_or(0, |h| h.sequence))?;
        let notes = standing.passed_over.iter().take(SHOWN_PASSED_OVER).map(|p| {
            let why = p.why.one_line();
            format!("backup {} does not count, though it claims to be newer: {why}", p.id)
        });
        let first = Self { next_sequence: standing.next_sequence, notes: notes.collect(), ..Self::first() };
        let is_other = |m: &Manifest| host.id().is_some_and(|id| id != m.host_id);
        let stranger = standing.newest.as_ref().filter(|m| is_other(m)).or(standing.foreign.as_ref());
        if let Some(stranger) = stranger.filter(|_| !session.adopts) {
            return Err(other_host(repo, stranger, host));
        }
        let Some(newest) = &standing.newest.or(standing.foreign) else {
            let gone = || head.is_some().then(|| "the backups that this host made here are gone".into());
            let unusable = |why: String| FullBecause {
                why: format!("no earlier backup can be used: {why}"),
                hint: Some(Hint::VerifyAll),
            };
            let full_because = standing.passed_over.first().map(|p| unusable(p.why.one_line())).or_else(gone);
            return Ok(Self { full_because, ..first });
        };
        let now = host.clock.now();
        if now < newest.id.moment() {
            return Err(Error::new(
                Kind::ClockBack,
                format!("the clock says {}, but the newest backup is {}", now, newest.id),
            )
            .hint("set the clock right; a backup from the future can be moved out of the repository"));
        }
        let Ok(sums) = repo.sums(&newest.id) else {
            let why = format!("the newest backup {} has no readable SHA256SUMS", newest.id);
            return Ok(Self { full_because: Some(FullBecause { why, hint: Some(Hint::Verify) }), ..first });
        };
        let sums_sha256 = Digest::of(&sums);
        let mut choice = Self {
            parent: Some(Dependency { id: newest.id.clone(), sums_sha256 }),
            last_good: last_good(newest, sums_sha256),
            recent: recent(repo, catalog, &trust, options),
            ..first
        };
        match choice.find_last(repo, newest, &sums, state, options) {
            Ok(()) => {}
            Err(FullBecause { why, hint }) => {
                choice.last.clear();
                // What was passed over may be the one that this run would have been built on.
                let passed_over = standing.passed_over.first().map(|p| format!("{}; ", p.why.one_line()));
                choice.full_because = Some(FullBecause { why: passed_over.unwrap_or_default() + &why, hint });
            }
        }
        Ok(choice)
    }

    /// Collects the local copies that may be used, or says why none may.
    fn find_last(
        &mut self,
        repo: &Repository,
        newest: &Manifest,
        sums: &[u8],
        state: &LocalState,
        options: &CreateOptions,
    ) -> std::result::Result<(), FullBecause> {
        if options.full {
            return Err("it was asked for".into());
        }
        if newest.sealing != options.sealer.sealing() {
            return Err(format!("keys or cipher are not those of backup {}", newest.id).into());
        }
        let sums_sha256 = Digest::of(sums);
        let copies = state
            .copies_of(&newest.id, sums_sha256)
            .ok_or_else(|| format!("this host has no index copy that belongs to the newest backup {}", newest.id))?;
        // The copies vouch for SHA256SUMS. The manifest names digests that this run will sign, so it must be the listed one.
        let head = Dependency { id: newest.id.clone(), sums_sha256 };
        for base in std::iter::once(&head).chain(&newest.depends_on) {
            let manifest = whole_base(repo, base).map_err(|why| {
                let why = match base.id == newest.id {
                    true => format!("the newest backup {} {why}", base.id),
                    false => format!("backup {}, on which the last one depends, {why}", base.id),
                };
                FullBecause { why, hint: Some(Hint::Verify) }
            })?;
            self.bases.insert(base.id.clone(), (base.sums_sha256, manifest));
        }
        for spec in options.components.iter().filter(|s| newest.component(&s.name).is_some()) {
            let local =
                copies.components.get(&spec.name).ok_or_else(|| format!("the index copy of {} is gone", spec.name))?;
            let copy = state.copy(&newest.id, &spec.name);
            match copy.digest() {
                Ok(digest) if digest == local.copy_sha256 => {}
                Ok(_) => return Err(format!("the index copy of {} is damaged", spec.name).into()),
                Err(_) => return Err(format!("the index copy of {} cannot be read", spec.name).into()),
            }
            self.build_on(spec, copy, local.captured_from, copies.accepted, options);
        }
        // A component that failed builds on its last good capture, and on what that depends on; if these are gone it begins
        // anew, which is no reason for the others to do so.
        for spec in &options.components {
            let Some(local) = copies.components.get(&spec.name) else { continue };
            let failed = newest.failed.iter().find(|f| f.name == spec.name);
            let Some(last_good) = failed.and_then(|f| f.last_good.as_ref()) else { continue };
            let copy = state.copy(&newest.id, &spec.name);
            let is_whole = copy.digest().is_ok_and(|digest| digest == local.copy_sha256);
            if is_whole && self.add_bases(repo, last_good).is_ok() {
                self.build_on(spec, copy, local.captured_from, copies.accepted, options);
            }
        }
        if self.last.is_empty() {
            return Err(format!("the newest backup {} holds other components", newest.id).into());
        }
        Ok(())
    }

    fn build_on(
        &mut self,
        spec: &ComponentConfig,
        copy: LocalIndex,
        captured_from: Moment,
        accepted: u32,
        options: &CreateOptions,
    ) {
        let (accepted, volumes) = (accepted == ACCEPTANCE, self.volumes(&spec.name));
        let last = LastIndex { copy, captured_from, accepted, volumes, rehash: options.rehash };
        self.last.insert(spec.name.clone(), last);
    }

    /// A backup and all it depends on, if they are whole.
    fn add_bases(&mut self, repo: &Repository, last_good: &Dependency) -> std::result::Result<(), String> {
        let first = whole_base(repo, last_good)?;
        let mut found = Vec::new();
        for base in &first.depends_on {
            if !self.bases.contains_key(&base.id) {
                found.push((base.id.clone(), (base.sums_sha256, whole_base(repo, base)?)));
            }
        }
        self.bases.insert(last_good.id.clone(), (last_good.sums_sha256, first));
        self.bases.extend(found);
        Ok(())
    }

    fn volumes(&self, component: &str) -> Volumes {
        let archives = self.bases.iter().flat_map(|(id, (_, manifest))| {
            let archives = manifest.component(component).map(|c| c.archives.as_slice()).unwrap_or_default();
            archives.iter().map(|a| ((id.clone(), a.volume), a.tar_bytes))
        });
        Volumes(archives.collect())
    }

    /// The index that a component builds on.
    pub(super) fn last_index(&self, component: &str) -> Option<&LastIndex> {
        self.last.get(component)
    }

    /// What a component that was captured lacks of what is expected of it.
    /// `newest` is the last change of anything in it, where that was looked for.
    pub(super) fn unmet_expectations(
        &self,
        spec: &ComponentConfig,
        record: &ComponentRecord,
        newest: Option<Timestamp>,
        now: Moment,
    ) -> Vec<Problem> {
        let mut unmet = Vec::new();
        let mut say = |detail: String| {
            unmet.push(Problem { kind: ProblemKind::Unexpected, path: String::new(), detail });
        };
        if let Some(min) = spec.expect.min_entries.filter(|&min| record.entries < min) {
            say(format!("it has {} entries, at least {min} are expected", record.entries));
        }
        if let Some(min) = spec.expect.min_bytes.filter(|&min| record.content_bytes < min) {
            say(format!("it has {} bytes, at least {min} are expected", record.content_bytes));
        }
        // What somebody left out by a rule is wanted so.
        if record.content_bytes == 0
            && record.left_out.is_none()
            && let Some(before) = self.usual_bytes(&spec.name).filter(|&before| before > 0)
        {
            say(format!("it is empty: {before} bytes were in it before"));
        }
        if let (Some(percent), Some(before)) = (spec.expect.max_shrink, self.usual_bytes(&spec.name))
            && record.content_bytes < before.saturating_sub(percent.of(before))
        {
            let now = record.content_bytes;
            say(format!("it shrank from {before} to {now} bytes, more than the {percent} that are expected"));
        }
        if let (Some(most), None) = (spec.expect.max_age, newest)
            && record.content_bytes == 0
        {
            say(format!("nothing is in it that could have been changed within {} s", most.as_secs()));
        }
        if let (Some(most), Some(newest)) = (spec.expect.max_age, newest) {
            let age = now.distance(Moment::from_unix_seconds(newest.seconds));
            if newest.seconds < now.unix_seconds() && age > most {
                let (age, most) = (age.as_secs(), most.as_secs());
                say(format!("nothing in it was changed for {age} s, at most {most} s are expected"));
            }
        }
        unmet
    }

    /// The median of the bytes that a component had in its last good captures.
    fn usual_bytes(&self, component: &str) -> Option<u64> {
        let captures = self.recent.iter().filter_map(|m| m.component(component)).filter(|c| !c.is_unexpected());
        let mut bytes: Vec<_> = captures.map(|c| c.content_bytes).take(MEDIAN_OF).collect();
        bytes.sort_unstable();
        bytes.get(bytes.len() / 2).copied()
    }

    /// What the manifest says of a component that was not captured.
    pub(super) fn failed(&self, repo: &Repository, spec: &ComponentConfig, error: &Error) -> FailedComponent {
        let mut detail = error.one_line();
        detail.truncate(detail.floor_char_boundary(FailedComponent::MAX_DETAIL_BYTES));
        FailedComponent {
            name: spec.name.clone(),
            kind: spec.source.kind().into(),
            reason: error.kind().name().into(),
            detail,
            last_good: self.last_good.get(&spec.name).cloned().or_else(|| self.older_good(repo, &spec.name)),
        }
    }

    /// The newest backup that captured a component of which the newest of all says nothing.
    fn older_good(&self, repo: &Repository, component: &str) -> Option<Dependency> {
        let manifest = self.recent.iter().find(|m| m.component(component).is_some())?;
        let sums_sha256 = Digest::of(&repo.sums(&manifest.id).ok()?);
        Some(Dependency { id: manifest.id.clone(), sums_sha256 })
    }

    /// A backup that is referred to, with its digest.
    pub(super) fn dependency(&self, id: &BackupId) -> Result<Dependency> {
        match self.bases.get(id) {
            Some(&(sums_sha256, _)) => Ok(Dependency { id: id.clone(), sums_sha256 }),
            None => Err(Error::failed(format!(
                "the index copy refers to backup {id}, which the newest backup does not depend on"
            ))),
        }
    }
}

/// For every component the backup that captured it last, as the newest one knows it.
fn last_good(newest: &Manifest, sums_sha256: Digest) -> BTreeMap<String, Dependency> {
    let own = Dependency { id: newest.id.clone(), sums_sha256 };
    let captured = newest.components.iter().map(|c| (c.name.clone(), own.clone()));
    captured.chain(newest.failed.iter().filter_map(|f| Some((f.name.clone(), f.last_good.clone()?)))).collect()
}

/// The newest trusted manifests, until each component that is captured has as many good captures as a median takes.
fn recent(repo: &Repository, catalog: &Catalog, trust: &Trust, options: &CreateOptions) -> Vec<Manifest> {
    let mut wanted: BTreeMap<_, _> = options.components.iter().map(|spec| (spec.name.as_str(), MEDIAN_OF)).collect();
    if options.components.iter().all(|spec| spec.expect.max_shrink.is_none()) {
        // One is enough to know that something was there.
        wanted.values_mut().for_each(|count| *count = 1);
    }
    let mut found = Vec::new();
    for entry in catalog.backups.iter().rev().take(MOST_LOOKED_AT) {
        if wanted.is_empty() {
            break;
        }
        let Ok(backup) = Backup::open(repo, &entry.id, trust) else { continue };
        for component in backup.manifest.components.iter().filter(|c| !c.is_unexpected()) {
            if let Some(left) = wanted.get_mut(component.name.as_str()) {
                *left -= 1;
                if *left == 0 {
                    wanted.remove(component.name.as_str());
                }
            }
        }
        found.push(backup.manifest);
    }
    found
}

/// The manifest of a backup that is to be referred to, if SHA256SUMS is the one that is meant, lists it, and all archives
/// and indexes are there with their sizes; else what is wrong. Their bytes are `verify`'s work.
fn whole_base(repo: &Repository, base: &Dependency) -> std::result::Result<Manifest, String> {
    let sums = repo.sums(&base.id).map_err(|_| "is missing or changed: it has no readable SHA256SUMS")?;
    if Digest::of(&sums) != base.sums_sha256 {
        return Err("is missing or changed: it has another SHA256SUMS than this host wrote".into());
    }
    let sums = parse_sums(&sums).map_err(|e| e.one_line())?;
    let bytes = repo.manifest_bytes(&base.id).map_err(|_| "has no readable manifest.json")?;
    if sums.get(MANIFEST_FILE) != Some(&Digest::of(&bytes)) {
        return Err("has a manifest.json that was changed".into());
    }
    let manifest = Manifest::parse(&bytes).map_err(|e| e.one_line())?;
    for component in &manifest.components {
        let archives = component.archives.iter().map(|a| (&a.name, a.size_bytes));
        for (name, size) in archives.chain([(&component.index.name, component.index.size_bytes)]) {
            match repo.stat_object(&base.id, name) {
                Some(meta) if meta.is_file() && meta.len() == size => {}
                Some(meta) if meta.is_file() => {
                    return Err(format!("has a {name} of {} bytes instead of {size}", meta.len()));
                }
                _ => return Err(format!("has lost its {name}")),
            }
        }
    }
    Ok(manifest)
}

fn other_host(repo: &Repository, newest: &Manifest, host: &Host) -> Error {
    let (theirs, ours) = (&newest.host, &host.name);
    Error::new(Kind::OtherHost, format!("the repository {repo} was last written by host {theirs:?}, this is {ours:?}"))
        .hint(Hint::TakeOver)
}
