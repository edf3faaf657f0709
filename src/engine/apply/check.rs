//! Compares living services with a backup.

use std::time::Instant;

use super::candidates::{Candidates, Outside};
use super::report::{CheckReport, CheckedComponent};
use super::request::{ApplyRequest, Services};
use super::run::check;
use super::scratch::ScratchFolder;
use crate::engine::Session;
use crate::error::Result;
use crate::model::BackupId;
use crate::monitor::Monitor;

impl Session {
    /// Compares living services with a backup, object by object and count by count. Changes nothing, takes no lock. What
    /// cannot be reached costs that component alone.
    pub fn check(
        &self,
        id: &BackupId,
        request: &ApplyRequest,
        services: Services<'_>,
        monitor: &dyn Monitor,
    ) -> Result<CheckReport> {
        let begun = Instant::now();
        let scratch = ScratchFolder::temporary(self)?;
        let candidates = Candidates::open(self, id, request, services, &scratch, monitor)?;
        let contexts = candidates.contexts();
        let mut components = Vec::new();
        for (candidate, context) in candidates.inside.iter().zip(&contexts) {
            monitor.check()?;
            let config = candidate.config;
            monitor.stage(&config.name, None, None);
            let checked = check(candidate, context);
            monitor.check()?;
            components.push(CheckedComponent::new(&config.name, config.source.kind(), checked));
        }
        components.extend(candidates.outside.iter().map(|Outside { name, kind, reason }| {
            let manual = Some(reason.clone());
            CheckedComponent { manual, ..CheckedComponent::new(name, kind, Ok(Default::default())) }
        }));
        let equal = components.iter().all(CheckedComponent::is_equal);
        Ok(CheckReport { id: id.clone(), equal, components, duration: begun.elapsed() })
    }
}
