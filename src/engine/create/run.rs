//! One backup from the choice of its parent to its publication.

use std::path::Path;
use std::time::Instant;

use super::attempt::attempt;
use super::component::{self, Sources};
use super::failure::Failure;
use super::options::CreateOptions;
use super::parent::ParentChoice;
use super::report::{CreateReport, FullBecause, report};
use super::resume;
use super::stream::CHUNKING;
use super::texts::texts;
use crate::config::ComponentConfig;
use crate::engine::Session;
use crate::error::{Context, Error, Hint, Result};
use crate::model::{
    BackupId, BackupKind, ComponentRecord, Digest, FORMAT_NAME, FORMAT_VERSION, FailedComponent, Manifest, Moment,
    RecoveryPoint, Verdict,
};
use crate::monitor::Monitor;
use crate::repo::catalog::Catalog;
use crate::repo::publish::{Staging, point_latest};
use crate::repo::state::{ACCEPTANCE, FinishedComponent, Head, LocalComponent, LocalRecord};
use crate::repo::{LATEST_GOOD_LINK, LATEST_LINK};

/// Device and inode, by which walks know what to stay out of.
pub fn identity_of(path: &Path) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let meta = std::fs::metadata(path).at("cannot stat", path)?;
    Ok((meta.dev(), meta.ino()))
}

impl Session {
    /// Makes a backup, in a session that was opened by [`Session::open_or_create`]. What went wrong with single entries is
    /// in the report.
    pub fn create(&self, options: &CreateOptions, monitor: &dyn Monitor) -> Result<CreateReport> {
        self.create_from(options, Sources::default(), monitor)
    }

    /// The same from other sources: a test changes a tree between what a walk saw and what is read.
    pub fn create_from(
        &self,
        options: &CreateOptions,
        sources: Sources<'_>,
        monitor: &dyn Monitor,
    ) -> Result<CreateReport> {
        let begun = Instant::now();
        options.check()?;
        let signer = self.host.signer()?;
        if self.lock.is_none() {
            return Err(Error::usage("this session was opened to read; a backup needs one that was opened to write"));
        }
        let now = self.host.clock.now();
        let own = [self.repo.identity()?, identity_of(&self.host.state_dir)?];
        let options =
            &CreateOptions { skip_identities: [&options.skip_identities[..], &own].concat(), ..options.clone() };
        let catalog = Catalog::load(&self.repo)?;
        let choice = ParentChoice::make(self, &catalog, options)?;
        choice.notes.iter().for_each(|note| monitor.advise(note, &Hint::VerifyAll));
        match &choice.full_because {
            Some(FullBecause { why, hint: Some(hint) }) => {
                monitor.advise(&format!("this is a full backup: {why}"), hint);
            }
            Some(FullBecause { why, hint: None }) => monitor.note(&format!("this is a full backup: {why}")),
            None => {}
        }
        let (staging, components) = resume::stage(self, &catalog, &choice, options, now)?;
        let (mut finished, mut failed) = (Vec::new(), Vec::new());
        for (spec, (taken_over, fingerprint)) in options.components.iter().zip(components) {
            if let Some(found) = taken_over {
                monitor.note(&format!("{}: taken over from the run that was cut short", spec.name));
                finished.push(found);
                continue;
            }
            match self.capture(spec, fingerprint, options, sources, &choice, &staging, monitor) {
                Ok(captured) => finished.push(captured),
                Err(Failure::Component(error)) => {
                    staging.discard(&spec.name)?;
                    monitor.note(&format!("{}: not captured: {}", spec.name, error.one_line()));
                    failed.push((spec, error));
                }
                Err(Failure::Run(error)) => return Err(error),
                Err(Failure::GivenUp) => return Err(Error::failed("the capture ended before its end")),
            }
        }
        if finished.is_empty() {
            staging.remove()?;
            let first = failed.into_iter().next().map(|(_, error)| error);
            return Err(first.unwrap_or_else(|| Error::usage("there is nothing to back up")));
        }
        let failed = failed.into_iter().map(|(spec, error)| choice.failed(&self.repo, spec, &error)).collect();
        let manifest = self.manifest(options, &choice, staging.id(), &finished, failed, now)?;
        let texts = texts(&manifest, &signer.public());
        monitor.check()?;
        let sums_sha256 = staging.seal(&manifest, &texts, signer)?;
        let copies = finished.iter().map(|f| {
            let local = LocalComponent { copy_sha256: f.copy_sha256, captured_from: f.record.captured_from };
            Ok((f.record.name.clone(), local))
        });
        // The next run builds on what the last good capture of a failed component left.
        let kept = manifest.failed.iter().filter_map(|failed| {
            let last = choice.last_index(&failed.name)?;
            let copy = self.state.copy(staging.id(), &failed.name);
            Some(last.copy.copy_to(&copy, &self.host.disk).map(|copy_sha256| {
                (failed.name.clone(), LocalComponent { copy_sha256, captured_from: last.captured_from })
            }))
        });
        let components = copies.chain(kept).collect::<Result<_>>()?;
        // What was kept unread is as old as it was.
        let is_accepted = |failed: &FailedComponent| choice.last_index(&failed.name).is_none_or(|last| last.accepted);
        let accepted = if manifest.failed.iter().all(is_accepted) { ACCEPTANCE } else { 0 };
        let copies = LocalRecord { sums_sha256, accepted, components };
        self.state.describe_copies(staging.id(), &copies)?;
        let head = Head { id: staging.id().clone(), sequence: manifest.sequence, sums_sha256 };
        monitor.check()?;
        staging.publish(&self.repo, &manifest, &texts)?;
        // The backup is made. What fails from here on is told, and makes no failure of it.
        let told = |what: &str, result: Result<()>| {
            if let Err(e) = result {
                monitor.note(&format!("the backup is made, but {what}: {}", e.one_line()));
            }
        };
        let point = |link| point_latest(&self.repo, link, &head.id, &self.host.disk);
        told("`latest` was not moved", point(LATEST_LINK));
        if manifest.recovery_point.is_some_and(|point| point.verdict != Verdict::Partial) {
            told("`latest-good` was not moved", point(LATEST_GOOD_LINK));
        }
        told("this host could not note it", self.state.set_head(&head));
        Ok(report(manifest, finished, choice.full_because, begun))
    }

    /// Captures a component, checks it against what is expected of it, and notes that it is finished.
    #[expect(clippy::too_many_arguments, reason = "what is captured, from where, on top of what, and to where")]
    fn capture(
        &self,
        spec: &ComponentConfig,
        fingerprint: Digest,
        options: &CreateOptions,
        sources: Sources<'_>,
        choice: &ParentChoice,
        staging: &Staging,
        monitor: &dyn Monitor,
    ) -> Result<FinishedComponent, Failure> {
        monitor.stage(&spec.name, None, None);
        let state = &self.state;
        state.make_copies_dir(staging.id())?;
        let copy = state.copy(staging.id(), &spec.name);
        let last = choice.last_index(&spec.name);
        let mut once = |monitor: &dyn Monitor| {
            // What an attempt before this one left.
            copy.remove(&self.host.disk)?;
            staging.discard(&spec.name)?;
            component::capture(spec, options, sources, last, staging, &copy, &self.host, monitor)
        };
        let captured = attempt(spec, &self.host.environment, monitor, &mut once);
        let captured = captured.map_err(|f| f.within(&format!("cannot capture the component {}", spec.name)));
        let (mut collected, mut problems) = captured?;
        let unmet = choice.unmet_expectations(spec, &collected.record, collected.newest, self.host.clock.now());
        problems.extend(unmet);
        collected.record.add_problems(&problems);
        collected.problems.extend(problems);
        let finished = FinishedComponent {
            fingerprint,
            record: collected.record,
            depends_on: collected.depends_on.into_iter().collect(),
            copy_sha256: copy.digest()?,
            problems: collected.problems,
        };
        state.note_finished(staging.id(), &finished)?;
        Ok(finished)
    }

    fn manifest(
        &self,
        options: &CreateOptions,
        choice: &ParentChoice,
        id: &BackupId,
        finished: &[FinishedComponent],
        failed: Vec<FailedComponent>,
        now: Moment,
    ) -> Result<Manifest> {
        let needed: std::collections::BTreeSet<_> = finished.iter().flat_map(|f| &f.depends_on).collect();
        let incremental = finished.iter().any(|f| choice.last_index(&f.record.name).is_some());
        let components: Vec<_> = finished.iter().map(|f| f.record.clone()).collect();
        Ok(Manifest {
            format: FORMAT_NAME.into(),
            version: FORMAT_VERSION,
            id: id.clone(),
            sequence: choice.next_sequence,
            created_at: now,
            finished_at: self.host.clock.now(),
            kind: if incremental { BackupKind::Incremental } else { BackupKind::Full },
            parent: choice.parent.clone(),
            depends_on: needed.into_iter().map(|id| choice.dependency(id)).collect::<Result<_>>()?,
            repository_id: self.repo.record().repository_id.clone(),
            repository_sha256: self.repo.record_sha256(),
            host: self.host.name.clone(),
            host_id: self.host.signer()?.public().fingerprint(),
            tool: concat!("ccbackup ", env!("CARGO_PKG_VERSION")).into(),
            sealing: options.sealer.sealing(),
            chunking: CHUNKING.into(),
            tags: options.tags.clone(),
            recovery_point: Some(recovery_point(options, &components, &failed)),
            components,
            failed,
        })
    }
}

/// What the backup is good for; one of chosen parts is partial, whatever became of them.
fn recovery_point(
    options: &CreateOptions,
    components: &[ComponentRecord],
    failed: &[FailedComponent],
) -> RecoveryPoint {
    let judged = Manifest::judge(components, failed);
    if options.is_part { RecoveryPoint { verdict: Verdict::Partial, ..judged } } else { judged }
}
