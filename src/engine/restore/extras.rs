//! What is in a destination and in no inventory.

use std::collections::HashSet;

use crate::error::Result;
use crate::index::Inventory;
use crate::model::{Digest, Problem, ProblemKind};
use crate::monitor::Monitor;
use crate::source::files::destination::Destination;

/// Raw paths of what the inventory does not list, folders after what they hold. When lines of the inventory are lost
/// nobody knows what belongs to the backup, so nothing is listed, and that is a problem. For `open_closed` see
/// [`Destination::extras`].
pub(super) fn extras(
    inventory: &Inventory,
    component: &str,
    target: &Destination,
    open_closed: bool,
    monitor: &dyn Monitor,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Box<[u8]>>> {
    let keep = path_digests(inventory, monitor)?;
    if inventory.is_lossy() {
        let detail = "nothing was removed in it: lines of its index are lost, and what they listed must stay";
        let problem = Problem { kind: ProblemKind::NotRemoved, path: component.into(), detail: detail.into() };
        problems.push(problem);
        return Ok(Vec::new());
    }
    let extras = target.extras(&|path| keep.contains(&Digest::of(path)), open_closed)?;
    // A dry run cannot look into folders that a restore would open.
    if open_closed {
        problems.extend(problems_of(target, component));
    }
    Ok(extras)
}

/// What the destination could not do, as problems of a component.
pub(super) fn problems_of(target: &Destination, component: &str) -> impl Iterator<Item = Problem> {
    target.take_problems().into_iter().map(move |(path, detail)| Problem {
        kind: ProblemKind::Metadata,
        path: format!("{component}/{path}"),
        detail,
    })
}

/// Digests of all paths, so that memory does not depend on their length.
pub(super) fn path_digests(inventory: &Inventory, monitor: &dyn Monitor) -> Result<HashSet<Digest>> {
    let mut keep = HashSet::new();
    for entry in inventory.readable()? {
        monitor.check()?;
        keep.insert(Digest::of(entry?.path.as_bytes()));
    }
    Ok(keep)
}
