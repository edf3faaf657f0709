//! What of a backup the configuration can apply: sources and contents, opened; and why the rest cannot be.

use std::path::PathBuf;
use std::sync::Arc;

use super::contents::ComponentContents;
use super::order::{Rank, order};
use super::request::{ApplyRequest, Services};
use super::scratch::ScratchFolder;
use crate::config::ComponentConfig;
use crate::engine::Session;
use crate::engine::chain::Chain;
use crate::error::{Error, Kind, Result};
use crate::model::{BackupId, ComponentRecord, Moment};
use crate::monitor::Monitor;
use crate::source::{Source, SourceContext};

/// A component that the configuration has too.
pub(super) struct Candidate<'a> {
    pub(super) config: &'a ComponentConfig,
    pub(super) source: Box<dyn Source>,
    /// What the backup has of it, or why that cannot be read.
    pub(super) contents: Result<ComponentContents<'a>>,
    scratch: PathBuf,
}

/// A component that a person has to apply.
pub(super) struct Outside {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) reason: String,
}

/// All that is asked for of one backup.
pub(super) struct Candidates<'a> {
    pub(super) id: BackupId,
    /// In the order in which they are applied.
    pub(super) inside: Vec<Candidate<'a>>,
    pub(super) outside: Vec<Outside>,
    session: &'a Session,
    monitor: &'a dyn Monitor,
    now: Moment,
}

impl<'a> Candidates<'a> {
    /// Opens them. A key that does not open the backup is an error; what is damaged costs its component alone.
    pub(super) fn open(
        session: &'a Session,
        id: &BackupId,
        request: &ApplyRequest,
        services: Services<'a>,
        scratch: &ScratchFolder,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let chain = session.chain(id)?;
        let mut found = Vec::new();
        let mut outside = Vec::new();
        let (wanted, not_captured) = wanted(&chain, &request.components)?;
        outside.extend(not_captured);
        if request.components.is_empty() {
            let manifest = &chain.backup.manifest;
            let known = |name: &str| {
                manifest.component(name).is_some() || manifest.failed.iter().any(|failed| failed.name == name)
            };
            let absent = services.configs.iter().filter(|config| !known(&config.name));
            outside.extend(absent.map(|config| Outside {
                name: config.name.clone(),
                kind: config.source.kind().to_owned(),
                reason: format!("backup {id} does not have it"),
            }));
        }
        for record in wanted {
            let ComponentRecord { name, kind, .. } = record;
            match services.find(name, kind) {
                Err(reason) => outside.push(Outside { name: name.clone(), kind: kind.clone(), reason }),
                Ok(config) => {
                    let contents = contents(&chain, name, session, request, monitor)?;
                    let source = (services.open)(config);
                    found.push(Some(Candidate { config, source, contents, scratch: scratch.of(name)? }));
                }
            }
        }
        // Those of equal rank come as the configuration has them.
        found.sort_by_key(|c| {
            c.as_ref().and_then(|c| services.configs.iter().position(|config| config.name == c.config.name))
        });
        let ranks: Vec<_> = found.iter().flatten().map(|c| Rank::of(c.config)).collect();
        let inside = order(&ranks).into_iter().filter_map(|at| found.get_mut(at)?.take()).collect();
        Ok(Self { id: id.clone(), inside, outside, session, monitor, now: session.host.clock.now() })
    }

    /// What each source is given, in the order of `inside`.
    pub(super) fn contexts(&self) -> Vec<SourceContext<'_>> {
        let Self { inside, session, monitor, now, .. } = self;
        let all = inside.iter().map(|candidate| SourceContext {
            component: &candidate.config.name,
            environment: &session.host.environment,
            monitor: *monitor,
            scratch: &candidate.scratch,
            now: *now,
        });
        all.collect()
    }
}

/// The components that `names` picks, all if it is empty; and those of them that the backup lacks because their capture
/// failed.
fn wanted<'a>(chain: &'a Chain, names: &[String]) -> Result<(Vec<&'a ComponentRecord>, Vec<Outside>)> {
    let failed = &chain.backup.manifest.failed;
    let (without, names): (Vec<_>, Vec<_>) =
        names.iter().cloned().partition(|name| failed.iter().any(|failed| failed.name == *name));
    let all = without.is_empty() && names.is_empty();
    let outside = failed.iter().filter(|failed| all || without.contains(&failed.name)).map(|failed| {
        let last = failed.last_good.as_ref().map(|last| format!("; backup {} has it", last.id)).unwrap_or_default();
        let reason = format!("it was not captured: {}{last}", failed.detail);
        Outside { name: failed.name.clone(), kind: failed.kind.clone(), reason }
    });
    let outside = outside.collect();
    let records = if names.is_empty() && !all { Vec::new() } else { chain.components(&names)? };
    Ok((records, outside))
}

fn contents<'a>(
    chain: &Arc<Chain>,
    name: &str,
    session: &Session,
    request: &ApplyRequest,
    monitor: &'a dyn Monitor,
) -> Result<Result<ComponentContents<'a>>> {
    match ComponentContents::open(chain, name, &session.host.disk, request.threads, monitor) {
        // Nothing of the backup can be read.
        Err(e) if matches!(e.kind(), Kind::NoKey | Kind::WrongKey) => Err(e),
        opened => Ok(opened.map_err(|e: Error| e.within(format!("the component {name} cannot be read")))),
    }
}
