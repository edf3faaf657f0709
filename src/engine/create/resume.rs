//! What a killed run left: its staging folder, and the components that it finished there.

use std::time::Duration;

use super::options::CreateOptions;
use super::parent::ParentChoice;
use crate::config::ComponentConfig;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::model::{BackupId, Digest, Moment};
use crate::repo::catalog::Catalog;
use crate::repo::publish::Staging;
use crate::repo::state::FinishedComponent;

/// Components of a killed run are taken over only this long: a recovery point should be of one time.
const MAX_RESUMED: Duration = Duration::from_secs(6 * 3600);

/// What a killed run made of a component, if that need not be captured again, and the component's fingerprint.
pub(super) type Resumed = (Option<FinishedComponent>, Digest);

/// Finds a staging folder of a killed run to go on with, removes all others, or begins a new one. With what is
/// known of each component that is asked for, in their order: files of a finished one were compared with their digests
/// here, and are not again.
pub(super) fn stage(
    session: &Session,
    catalog: &Catalog,
    choice: &ParentChoice,
    options: &CreateOptions,
    now: Moment,
) -> Result<(Staging, Vec<Resumed>)> {
    let (repo, disk) = (&session.repo, &session.host.disk);
    let fingerprints: Vec<_> = options.components.iter().map(|spec| fingerprint(spec, options, choice)).collect();
    let mut reusable = None;
    for id in repo.incomplete_ids()? {
        let staging = Staging::adopt(repo, id.clone(), disk);
        let young = now.distance(id.moment()) <= MAX_RESUMED;
        // What somebody else put there does not count.
        let newer = choice.parent.as_ref().is_none_or(|p| p.id.moment() < id.moment());
        if young && newer && reusable.is_none() {
            let components = options.components.iter().zip(&fingerprints);
            let found: Vec<_> = components.map(|(spec, f)| finished(session, &staging, choice, spec, *f)).collect();
            if found.iter().any(Option::is_some) {
                reusable = Some((staging, found));
                continue;
            }
        }
        staging.remove()?;
        // The name may be that of a backup that is there, whose copies are needed.
        if catalog.backups.iter().all(|b| b.id != id) {
            drop(std::fs::remove_dir_all(session.state.copies_dir(&id)));
        }
    }
    let (staging, found) = match reusable {
        Some(reusable) => reusable,
        None => (begin(session, catalog, now)?, vec![None; fingerprints.len()]),
    };
    Ok((staging, found.into_iter().zip(fingerprints).collect()))
}

/// A component that was finished in the staging folder and would be made the same way again, if all its files are whole and
/// it is what is expected of it.
fn finished(
    session: &Session,
    staging: &Staging,
    choice: &ParentChoice,
    spec: &ComponentConfig,
    fingerprint: Digest,
) -> Option<FinishedComponent> {
    let found = session.state.finished(staging.id(), &spec.name)?;
    let copy = session.state.copy(staging.id(), &spec.name);
    let usable = fingerprint == found.fingerprint
        && found.record.name == spec.name
        // How old its newest entry is was not noted.
        && spec.expect.max_age.is_none()
        && choice.unmet_expectations(spec, &found.record, None, session.host.clock.now()).is_empty()
        && staging.holds(&found.record)
        && copy.digest().is_ok_and(|d| d == found.copy_sha256);
    usable.then_some(found)
}

/// What a finished component depends on; equal means it would be made the same way again.
fn fingerprint(spec: &ComponentConfig, options: &CreateOptions, choice: &ParentChoice) -> Digest {
    let base = choice.last_index(&spec.name).and(choice.parent.as_ref());
    let CreateOptions { level, volume_bytes, rehash, .. } = options;
    let facts = serde_json::json!([spec, options.sealer.sealing(), level, base, volume_bytes, rehash]);
    Digest::of(facts.to_string().as_bytes())
}

/// A staging folder of a name that nothing here carries.
fn begin(session: &Session, catalog: &Catalog, now: Moment) -> Result<Staging> {
    // A lower name that is free now was somebody's, who may still be named as a parent.
    let same_second = catalog.backups.iter().filter(|b| b.id.moment() == now).map(|b| b.id.collision());
    for collision in same_second.max().unwrap_or(0).saturating_add(1)..=9999 {
        let id = BackupId::at(now, collision)?;
        if !session.repo.is_taken(&id) {
            return Staging::create(&session.repo, id, &session.host.disk);
        }
    }
    Err(Error::failed("ten thousand backups carry the name of this second"))
}
