//! One backup from the choice of its parent to its publication.

use std::path::Path;
use std::time::Instant;

use super::component::{self, Walks};
use super::options::CreateOptions;
use super::parent::ParentChoice;
use super::report::{CreateReport, FullBecause, report};
use super::resume;
use super::stream::CHUNKING;
use super::texts::texts;
use crate::config::ComponentConfig;
use crate::engine::Session;
use crate::error::{Context, Error, Hint, Result};
use crate::model::{BackupId, BackupKind, Digest, FORMAT_NAME, FORMAT_VERSION, Manifest, Moment};
use crate::monitor::Monitor;
use crate::repo::catalog::Catalog;
use crate::repo::publish::{Staging, point_latest};
use crate::repo::state::{ACCEPTANCE, FinishedComponent, Head, LocalComponent, LocalRecord};

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
        self.create_from(options, &component::start_boxed_walk, monitor)
    }

    /// The same from any walks: a test changes the tree between what a walk saw and what is read.
    pub fn create_from(
        &self,
        options: &CreateOptions,
        walks: Walks<'_>,
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
        let mut finished = Vec::new();
        for (spec, (taken_over, fingerprint)) in options.components.iter().zip(components) {
            finished.push(match taken_over {
                Some(found) => {
                    monitor.note(&format!("{}: taken over from the run that was cut short", spec.name));
                    found
                }
                None => self.capture(spec, fingerprint, options, walks, &choice, &staging, monitor)?,
            });
        }
        let manifest = self.manifest(options, &choice, staging.id(), &finished, now)?;
        let texts = texts(&manifest, &signer.public());
        monitor.check()?;
        let sums_sha256 = staging.seal(&manifest, &texts, signer)?;
        let copies = finished.iter().map(|f| {
            let local = LocalComponent { copy_sha256: f.copy_sha256, captured_from: f.record.captured_from };
            (f.record.name.clone(), local)
        });
        let copies = LocalRecord { sums_sha256, accepted: ACCEPTANCE, components: copies.collect() };
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
        told("`latest` was not moved", point_latest(&self.repo, &head.id, &self.host.disk));
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
        walks: Walks<'_>,
        choice: &ParentChoice,
        staging: &Staging,
        monitor: &dyn Monitor,
    ) -> Result<FinishedComponent> {
        monitor.stage(&spec.name, None, None);
        let state = &self.state;
        state.make_copies_dir(staging.id())?;
        let copy = state.copy(staging.id(), &spec.name);
        copy.remove(&self.host.disk)?;
        let last = choice.last_index(&spec.name);
        let collected = component::capture(spec, options, walks, last, staging, &copy, &self.host, monitor)?;
        choice.check_expectations(spec, &collected.record)?;
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
        now: Moment,
    ) -> Result<Manifest> {
        let needed: std::collections::BTreeSet<_> = finished.iter().flat_map(|f| &f.depends_on).collect();
        let incremental = finished.iter().any(|f| choice.last_index(&f.record.name).is_some());
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
            components: finished.iter().map(|f| f.record.clone()).collect(),
        })
    }
}
