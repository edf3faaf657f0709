//! `create`: captures components into a new backup and publishes it in one step.
//!
//! Whether a backup is full or incremental follows from what is there: with the local copy of the last index a host makes
//! incrementals without being able to decrypt anything; without it the run is a full backup and says why.

mod collect;
mod component;
mod join;
mod known;
mod large;
mod links;
mod pack;
mod parent;
mod problems;
mod report;
mod stream;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::Clock;
use crate::archive::seal::Sealer;
use crate::archive::tar::PIECES_DIR;
use crate::config::Percent;
use crate::durable::Disk;
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::model::{
    BackupId, BackupKind, ComponentRecord, Dependency, Digest, FORMAT_NAME, FORMAT_VERSION, Manifest, Moment, Problem,
    escape_path,
};
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::catalog::Catalog;
use crate::repo::places::Places;
use crate::repo::publish::{Staging, point_latest};
use crate::repo::signing::{Signer, SignerKey};
use crate::repo::state::{ACCEPTANCE, FinishedComponent, Head, LocalComponent, LocalRecord, LocalState};
use crate::source::files::{Step, root_name};
use component::LastIndex;
use join::BatchItem;
use parent::ParentChoice;
use report::report;
pub use report::{ComponentReport, CreateReport, FullBecause};

/// A component to capture.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentSpec {
    /// Name in the backup.
    pub name: String,
    /// Files and folders; each lies under its last name.
    #[serde(serialize_with = "serialize_paths")]
    pub roots: Vec<PathBuf>,
    /// Globs of what is left out.
    pub exclude: Vec<String>,
    /// Leave out what is in folders that are caches by their `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out what is in folders that hold one of these names.
    pub exclude_if_present: Vec<String>,
    /// Do not cross into other file systems.
    pub one_file_system: bool,
    /// Fewer entries than this fail the backup.
    pub min_entries: Option<u64>,
    /// Losing more than this part of its bytes since the last backup fails the backup.
    #[serde(skip)]
    pub max_shrink: Option<Percent>,
}

fn serialize_paths<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| escape_path(path.as_os_str().as_encoded_bytes())))
}

/// How a backup is made.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// What to capture, in this order.
    pub components: Vec<ComponentSpec>,
    /// Make a full backup in any case.
    pub full: bool,
    /// Read files even if they look unchanged.
    pub rehash: bool,
    /// Take over a repository that another host has written, or that is not the one that was at this place.
    pub adopt: bool,
    /// How archives are sealed.
    pub sealer: Sealer,
    /// zstd level.
    pub level: i32,
    /// Worker threads.
    pub threads: usize,
    /// A volume ends at the first member boundary after this many bytes.
    pub volume_bytes: u64,
    /// Labels for the manifest.
    pub tags: BTreeMap<String, String>,
    /// Files and folders that are never captured, `(device, inode)`: keys, and what [`create`] adds, which is the
    /// repository and the local state.
    pub skip_identities: Vec<(u64, u64)>,
    /// Signers whose backups may be built upon, besides those that are pinned in the state folder.
    pub trusted: Vec<SignerKey>,
    /// State folder of this host.
    pub state_dir: PathBuf,
    /// Name of this host, for people.
    pub host: String,
    /// Fingerprint of this host's signer, by which hosts are told apart; none while it has no key yet.
    pub host_id: Option<String>,
    /// The clock.
    pub clock: Clock,
    /// The door to durable files.
    pub disk: Disk,
}

/// Default size of a volume, in bytes.
pub const VOLUME_BYTES: u64 = 1 << 30;

/// What a dry run counts for one component.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Preview {
    /// Name of the component.
    pub name: String,
    /// Entries in the tree.
    pub entries: u64,
    /// Entries that a run would read.
    pub new_entries: u64,
    /// Bytes that a run would read.
    pub bytes_to_read: u64,
    /// What rules leave out.
    pub left_out: u64,
    /// What the walk met.
    pub problems: Vec<Problem>,
}

impl Preview {
    fn count(&mut self, item: &BatchItem) {
        match item {
            BatchItem::Kept(kept) => self.entries += kept.entries,
            BatchItem::Read(job) => {
                self.entries += 1;
                self.new_entries += 1;
                let stat = &job.found.stat;
                if stat.kind == crate::source::files::FileKind::File {
                    self.bytes_to_read += stat.size.min(stat.blocks_512.saturating_mul(512).max(4096));
                }
            }
        }
    }
}

/// Says what a run would do; changes nothing, takes no lock.
pub fn preview(root: &Path, settings: &CreateOptions) -> Result<(Vec<Preview>, Option<FullBecause>)> {
    check_place(root, settings)?;
    let decision = match Repository::open(root) {
        Ok(repo) => {
            let state = LocalState::new(&settings.state_dir, &repo.record().repository_id, settings.disk.clone());
            ParentChoice::make(&repo, &Catalog::load(&repo)?, &state, settings)?
        }
        Err(e) if e.kind() == Kind::NotFound => ParentChoice::first(),
        Err(e) => return Err(e),
    };
    let previews = settings.components.iter().map(|spec| {
        let base = decision.last_index(&spec.name).map(|l| l.base(settings.rehash)).transpose()?;
        let walk = component::start_walk(spec, settings)?;
        join::preview(walk, base).map(|p| Preview { name: spec.name.clone(), ..p })
    });
    Ok((previews.collect::<Result<_>>()?, decision.full_because.clone()))
}

/// Starts the walk of a component; a call gives all its steps in order.
pub type Walks<'a> = &'a dyn Fn(&ComponentSpec, &CreateOptions) -> Result<Box<dyn Iterator<Item = Step> + Send>>;

/// Makes a backup in the repository at `root`, which is made if nothing is there.
pub fn create(root: &Path, settings: &CreateOptions, signer: &Signer, monitor: &dyn Monitor) -> Result<CreateReport> {
    create_from(root, settings, signer, &|spec, settings| Ok(Box::new(component::start_walk(spec, settings)?)), monitor)
}

/// The same from any walks: a test changes the tree between what a walk saw and what is read.
pub fn create_from(
    root: &Path,
    settings: &CreateOptions,
    signer: &Signer,
    walks: Walks<'_>,
    monitor: &dyn Monitor,
) -> Result<CreateReport> {
    let begun = Instant::now();
    let now = settings.clock.now();
    check_components(&settings.components)?;
    let places = check_place(root, settings)?;
    let (repo, _lock) = Repository::open_or_create(root, &settings.disk, now, &signer.public())?;
    let mut settings = settings.clone();
    settings.skip_identities.push(identity_of(root)?);
    let state = LocalState::new(&settings.state_dir, &repo.record().repository_id, settings.disk.clone());
    state.pin(&signer.public())?;
    places.remember(root, &repo.record().repository_id)?;
    settings.skip_identities.push(identity_of(&settings.state_dir)?);
    let settings = &settings;
    let catalog = Catalog::load(&repo)?;
    let decision = ParentChoice::make(&repo, &catalog, &state, settings)?;
    decision.notes.iter().for_each(|note| monitor.advise(note, &Hint::VerifyAll));
    match &decision.full_because {
        Some(FullBecause { why, hint: Some(hint) }) => monitor.advise(&format!("this is a full backup: {why}"), hint),
        Some(FullBecause { why, hint: None }) => monitor.note(&format!("this is a full backup: {why}")),
        None => {}
    }
    let staging = stage(&repo, &catalog, &decision, settings, &state, now)?;
    let mut finished = Vec::new();
    for spec in &settings.components {
        finished.push(capture_component(spec, settings, &staging, &state, &decision, walks, monitor)?);
    }
    let manifest = manifest(&repo, &decision, settings, staging.id(), &finished, now, signer.public().fingerprint())?;
    let texts = texts::texts(&manifest, &signer.public());
    let texts: Vec<_> = texts.iter().map(|(n, t)| (*n, t.clone())).collect();
    monitor.check()?;
    let sums_sha256 = staging.seal(&manifest, &texts, signer)?;
    let copies = finished.iter().map(|f| {
        let local = LocalComponent { copy_sha256: f.copy_sha256, captured_from: f.captured_from };
        (f.record.name.clone(), local)
    });
    let copies = LocalRecord { sums_sha256, accepted: ACCEPTANCE, components: copies.collect() };
    state.describe_copies(staging.id(), &copies)?;
    let id = staging.id().clone();
    monitor.check()?;
    staging.publish(&repo, &manifest, &texts)?;
    // The backup is made. What fails from here on is told, and makes no failure of it.
    let head = Head { id: id.clone(), sequence: manifest.sequence, sums_sha256 };
    let told = |what: &str, result: Result<()>| {
        if let Err(e) = result {
            monitor.note(&format!("the backup is made, but {what}: {}", e.one_line()));
        }
    };
    told("`latest` was not moved", point_latest(&repo, &id, &settings.disk));
    told("this host could not note it", state.set_head(&head));
    Ok(report(manifest, finished, decision.full_because, begun))
}

fn check_components(components: &[ComponentSpec]) -> Result<()> {
    let mut names = BTreeSet::new();
    if components.is_empty() {
        return Err(Error::usage("there is nothing to back up").hint(Hint::FolderWithPath));
    }
    for spec in components {
        if !crate::model::is_component_name(&spec.name) {
            return Err(Error::usage(format!("{:?} cannot be a component's name", spec.name))
                .hint("use up to 64 lower-case letters, digits, - and _"));
        }
        if !names.insert(&spec.name) {
            return Err(Error::usage(format!("the component {:?} is named twice", spec.name)));
        }
        for root in &spec.roots {
            if root_name(root).is_ok_and(|name| name.as_bytes() == PIECES_DIR.as_bytes()) {
                return Err(Error::usage(format!("{} has a name that archives use themselves", root.display()))
                    .hint("rename it, or back up the folder that holds it"));
            }
        }
    }
    Ok(())
}

/// Refuses a place at which another repository was, or one that is gone.
fn check_place(root: &Path, settings: &CreateOptions) -> Result<Places> {
    let places = Places::new(&settings.state_dir, settings.disk.clone());
    if !settings.adopt {
        places.check(root)?;
    }
    Ok(places)
}

/// Device and inode, by which walks know what to stay out of.
pub fn identity_of(dir: &Path) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let meta = std::fs::metadata(dir).at("cannot look at", dir)?;
    Ok((meta.dev(), meta.ino()))
}

/// Finds a staging folder of a killed run to go on with, removes all others, or begins a new one.
fn stage(
    repo: &Repository,
    catalog: &Catalog,
    decision: &ParentChoice,
    settings: &CreateOptions,
    state: &LocalState,
    now: Moment,
) -> Result<Staging> {
    let mut reusable = None;
    for id in crate::repo::catalog::incomplete_ids(repo.root())? {
        let dir = Staging::path_of(repo, &id);
        let staging = Staging::adopt(repo, id.clone(), &settings.disk);
        let young = (now.unix_seconds() - id.moment().unix_seconds()).abs() <= MAX_RESUMED_SECONDS;
        // What somebody else put there does not count.
        let newer = decision.parent.as_ref().is_none_or(|p| p.id.moment() < id.moment());
        let useful =
            settings.components.iter().any(|spec| take_over(spec, settings, &staging, state, decision).is_some());
        if young && newer && useful && reusable.is_none() {
            reusable = Some(staging);
        } else {
            settings.disk.remove_dir_all(&dir)?;
            // The name may be that of a backup that is there, whose copies are needed.
            if catalog.backups.iter().all(|b| b.id != id) {
                drop(std::fs::remove_dir_all(state.copies_dir(&id)));
            }
        }
    }
    if let Some(staging) = reusable {
        return Ok(staging);
    }
    let taken = |id: &BackupId| repo.root().join(id.as_str()).symlink_metadata().is_ok();
    // A lower name that is free now was somebody's, who may still be named as a parent.
    let same_second = catalog.backups.iter().filter(|b| b.id.moment() == now).map(|b| b.id.collision());
    for collision in same_second.max().unwrap_or(0).saturating_add(1)..=9999 {
        let id = BackupId::at(now, collision)?;
        if !taken(&id) {
            return Staging::create(repo, id, &settings.disk);
        }
    }
    Err(Error::failed("ten thousand backups carry the name of this second"))
}

/// Components of a killed run are taken over only this long: a recovery point should be of one time.
const MAX_RESUMED_SECONDS: i64 = 6 * 3600;

fn take_over(
    spec: &ComponentSpec,
    settings: &CreateOptions,
    staging: &Staging,
    state: &LocalState,
    decision: &ParentChoice,
) -> Option<FinishedComponent> {
    let found = state.finished(staging.id(), &spec.name)?;
    let copy = state.copy(staging.id(), &spec.name);
    let usable = fingerprint(spec, settings, decision).is_ok_and(|f| f == found.fingerprint)
        && found.record.name == spec.name
        && staging.holds(&found.record)
        && copy.digest().is_ok_and(|d| d == found.copy_sha256);
    usable.then_some(found)
}

/// What a finished component depends on; equal means it would be made the same way again.
fn fingerprint(spec: &ComponentSpec, settings: &CreateOptions, decision: &ParentChoice) -> Result<Digest> {
    let base = decision.last_index(&spec.name).and(decision.parent.as_ref());
    let CreateOptions { level, volume_bytes, rehash, .. } = settings;
    let facts = serde_json::json!([spec, settings.sealer.sealing(), level, base, volume_bytes, rehash]);
    Ok(Digest::of(facts.to_string().as_bytes()))
}

fn capture_component(
    spec: &ComponentSpec,
    settings: &CreateOptions,
    staging: &Staging,
    state: &LocalState,
    decision: &ParentChoice,
    walks: Walks<'_>,
    monitor: &dyn Monitor,
) -> Result<FinishedComponent> {
    if let Some(found) = take_over(spec, settings, staging, state, decision) {
        monitor.note(&format!("{}: taken over from the run that was cut short", spec.name));
        return Ok(found);
    }
    monitor.stage(&spec.name, None, None);
    state.make_copies_dir(staging.id())?;
    let copy = state.copy(staging.id(), &spec.name);
    copy.remove(&settings.disk)?;
    let last: Option<&LastIndex> = decision.last_index(&spec.name);
    let captured_from = settings.clock.now();
    let walk = walks(spec, settings)?;
    let collected = component::capture(spec, settings, staging, &copy, last, walk, monitor)
        .map_err(|e| e.within(format!("cannot capture the component {}", spec.name)))?;
    let stored: u64 = collected.archives.iter().map(|a| a.size_bytes).sum();
    let record = ComponentRecord {
        name: spec.name.clone(),
        kind: "files".into(),
        captured_from,
        captured_until: settings.clock.now(),
        entries: collected.entries,
        new_entries: collected.new_entries,
        content_bytes: collected.content_bytes,
        bytes_read: collected.bytes_read,
        bytes_stored: stored + collected.index.size_bytes,
        archives: collected.archives,
        index: collected.index,
        problems: collected.problem_counts,
        left_out: (collected.left_out > 0).then_some(collected.left_out),
    };
    parent::check_expectations(spec, &record, decision.parent_manifest.as_ref())?;
    let finished = FinishedComponent {
        fingerprint: fingerprint(spec, settings, decision)?,
        record,
        depends_on: collected.depends_on.into_iter().collect(),
        copy_sha256: copy.digest()?,
        captured_from,
        problems: collected.problems,
    };
    state.note_finished(staging.id(), &finished)?;
    Ok(finished)
}

fn manifest(
    repo: &Repository,
    decision: &ParentChoice,
    settings: &CreateOptions,
    id: &BackupId,
    finished: &[FinishedComponent],
    now: Moment,
    host_id: String,
) -> Result<Manifest> {
    let needed = component::union(finished.iter().map(|f| &f.depends_on));
    let depends_on = needed.into_iter().map(|id| decision.dependency(id)).collect::<Result<Vec<Dependency>>>()?;
    let incremental = finished.iter().any(|f| decision.last_index(&f.record.name).is_some());
    Ok(Manifest {
        format: FORMAT_NAME.into(),
        version: FORMAT_VERSION,
        id: id.clone(),
        sequence: decision.next_sequence,
        created_at: now,
        finished_at: settings.clock.now(),
        kind: if incremental { BackupKind::Incremental } else { BackupKind::Full },
        parent: decision.parent.clone(),
        depends_on,
        repository_id: repo.record().repository_id.clone(),
        repository_sha256: repo.record_sha256(),
        host: settings.host.clone(),
        host_id,
        tool: concat!("ccbackup ", env!("CARGO_PKG_VERSION")).into(),
        sealing: settings.sealer.sealing(),
        chunking: stream::CHUNKING.into(),
        tags: settings.tags.clone(),
        components: finished.iter().map(|f| f.record.clone()).collect(),
    })
}
