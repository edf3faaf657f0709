//! What a killed run left: its staging folder, and the components that it finished there.

use std::collections::BTreeMap;
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

/// Finds a staging folder of a killed run to go on with, removes all others, or begins a new one. With the components
/// that need not be captured again, by name: their files were compared with their digests here, and are not again.
pub(super) fn stage(
    session: &Session,
    catalog: &Catalog,
    choice: &ParentChoice,
    options: &CreateOptions,
    now: Moment,
) -> Result<(Staging, BTreeMap<String, FinishedComponent>)> {
    let (repo, disk) = (&session.repo, &session.host.disk);
    let mut reusable = None;
    for id in repo.incomplete_ids()? {
        let staging = Staging::adopt(repo, id.clone(), disk);
        let young = now.distance(id.moment()) <= MAX_RESUMED;
        // What somebody else put there does not count.
        let newer = choice.parent.as_ref().is_none_or(|p| p.id.moment() < id.moment());
        if young && newer && reusable.is_none() {
            let finished =
                options.components.iter().filter_map(|spec| finished(session, &staging, choice, options, spec));
            let finished: BTreeMap<_, _> = finished.map(|f| (f.record.name.clone(), f)).collect();
            if !finished.is_empty() {
                reusable = Some((staging, finished));
                continue;
            }
        }
        staging.remove()?;
        // The name may be that of a backup that is there, whose copies are needed.
        if catalog.backups.iter().all(|b| b.id != id) {
            drop(std::fs::remove_dir_all(session.state.copies_dir(&id)));
        }
    }
    reusable.map_or_else(|| Ok((begin(session, catalog, now)?, BTreeMap::new())), Ok)
}

/// A component that was finished in the staging folder and would be made the same way again, if all its files are whole.
fn finished(
    session: &Session,
    staging: &Staging,
    choice: &ParentChoice,
    options: &CreateOptions,
    spec: &ComponentConfig,
) -> Option<FinishedComponent> {
    let found = session.state.finished(staging.id(), &spec.name)?;
    let copy = session.state.copy(staging.id(), &spec.name);
    let usable = fingerprint(spec, options, choice) == found.fingerprint
        && found.record.name == spec.name
        && staging.holds(&found.record)
        && copy.digest().is_ok_and(|d| d == found.copy_sha256);
    usable.then_some(found)
}

/// What a finished component depends on; equal means it would be made the same way again.
pub(super) fn fingerprint(spec: &ComponentConfig, options: &CreateOptions, choice: &ParentChoice) -> Digest {
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
