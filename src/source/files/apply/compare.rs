//! Compares living trees with a backup, entry by entry: everything that the backup has must be there with content and
//! metadata, and nothing that a backup would capture may be there besides.

use std::collections::BTreeMap;

use super::roots::Root;
use super::swap::identity;
use crate::error::{Error, Kind, Result};
use crate::model::{Entry, EntryKind, EntryPath, tree_order};
use crate::source::files::destination::{Destination, DestinationOptions, Existing};
use crate::source::files::{Exclude, Part, Step, WalkOptions, walk};
use crate::source::{Checked, Contents, SourceContext, Tree};

/// Most differences that a check tells.
const MAX_TOLD: usize = 100;

/// The name of the file that makes a folder a repository.
const REPOSITORY: &[u8] = b"repository.json";

/// How one root differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Entries of the backup.
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) missing: u64,
    pub(super) different: u64,
    /// Only in the living tree.
    pub(super) extra: u64,
    /// Something in it looks like a repository, which no backup holds.
    pub(super) has_repository: bool,
}

impl Differences {
    pub(super) fn is_equal(&self) -> bool {
        (self.missing, self.different, self.extra) == (0, 0, 0)
    }
}

/// How thoroughly files are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Size, times and attributes.
    Metadata,
    /// Every byte.
    Digest,
}

/// What is found, one entry after the other.
type Tell<'t> = &'t mut dyn FnMut(usize, &EntryPath, &'static str);

/// How each root differs. Content is read only where nothing else differs.
pub(super) fn differences(
    roots: &[Root],
    tree: &Tree,
    contents: &dyn Contents,
    context: &SourceContext<'_>,
) -> Result<Vec<Differences>> {
    let mut found = vec![Differences::default(); roots.len()];
    let all: Vec<bool> = roots.iter().map(|_| true).collect();
    look(roots, &all, contents, Content::Metadata, context, &mut found, &mut |_, _, _| {})?;
    extras(roots, tree, contents, &mut found, &mut |_, _, _| {})?;
    let alike: Vec<bool> = found.iter().zip(roots).map(|(d, root)| d.is_equal() && root.is_there).collect();
    if alike.contains(&true) {
        let mut read = vec![Differences::default(); roots.len()];
        look(roots, &alike, contents, Content::Digest, context, &mut read, &mut |_, _, _| {})?;
        for (found, read) in found.iter_mut().zip(read) {
            found.different += read.different;
            found.missing += read.missing;
        }
    }
    Ok(found)
}

/// Compares everything and names what differs.
pub(in crate::source::files) fn check(
    tree: &Tree,
    contents: &dyn Contents,
    context: &SourceContext<'_>,
) -> Result<Checked> {
    let roots = tree.paths.iter().map(|path| Root::of(path)).collect::<Result<Vec<_>>>()?;
    let mut checked = Checked::default();
    let mut found = vec![Differences::default(); roots.len()];
    let mut untold = 0;
    let mut tell = |_: usize, path: &EntryPath, what: &'static str| {
        if checked.differences.len() < MAX_TOLD {
            checked.differs(path.escaped().into_owned(), what);
        } else {
            untold += 1;
        }
    };
    let all: Vec<bool> = roots.iter().map(|_| true).collect();
    look(&roots, &all, contents, Content::Digest, context, &mut found, &mut tell)?;
    extras(&roots, tree, contents, &mut found, &mut tell)?;
    checked.compared = found.iter().map(|d| d.entries + d.extra).sum();
    if untold > 0 {
        checked.differs("the rest", format!("{untold} more entries differ"));
    }
    Ok(checked)
}

/// Looks for each entry of the backup in the roots that are `wanted`.
fn look(
    roots: &[Root],
    wanted: &[bool],
    contents: &dyn Contents,
    content: Content,
    context: &SourceContext<'_>,
    found: &mut [Differences],
    tell: Tell<'_>,
) -> Result<()> {
    let mut places = BTreeMap::new();
    for (at, root) in roots.iter().enumerate() {
        if let (true, Some((folder, name))) = (root.is_there, root.place()) {
            places.insert(at, (Destination::open(folder, DestinationOptions::default())?, name));
        }
    }
    for entry in contents.entries()? {
        let entry = entry?;
        context.monitor.check()?;
        let holder = roots.iter().position(|root| root.holds(&entry.path));
        let Some(at) = holder.filter(|&at| wanted[at]) else { continue };
        found[at].entries += 1;
        found[at].bytes += entry.size();
        let other = match &entry.kind {
            EntryKind::Hardlink { target } if !roots[at].holds(target) => {
                roots.iter().find(|root| root.holds(target)).map(|root| root.path_of(target))
            }
            _ => None,
        };
        let state = match places.get(&at) {
            Some(_) if other.is_some() => {
                let first = other.map(|path| identity(&path)).transpose()?.flatten();
                match identity(&roots[at].path_of(&entry.path))? {
                    None => State::Missing,
                    living if living == first => State::Equal,
                    _ => State::Different("it is no link to the file in the other root"),
                }
            }
            Some((place, name)) => state_of(place, &roots[at].in_place(&entry, name)?, content)?,
            None => State::Missing,
        };
        match state {
            State::Equal => {}
            State::Missing => {
                found[at].missing += 1;
                tell(at, &entry.path, "it is not there");
            }
            State::Different(what) => {
                found[at].different += 1;
                tell(at, &entry.path, what);
            }
        }
    }
    Ok(())
}

enum State {
    Equal,
    Missing,
    Different(&'static str),
}

fn state_of(place: &Destination, entry: &Entry, content: Content) -> Result<State> {
    Ok(match (place.existing(entry)?, &entry.kind) {
        (Existing::Absent, _) => State::Missing,
        (Existing::Same, _) => State::Equal,
        (Existing::SameShape(state), _) if !state.metadata_equal => State::Different("its metadata differ"),
        (Existing::SameShape(_), _) if content == Content::Metadata => State::Equal,
        (Existing::SameShape(_), EntryKind::File { sha256, .. }) => match place.hash_existing(entry)? {
            Some(digest) if digest == *sha256 => State::Equal,
            _ => State::Different("its content differs"),
        },
        _ => State::Different("something else is there, or its metadata differ"),
    })
}

/// Looks for what a backup would capture now and this one does not have.
fn extras(
    roots: &[Root],
    tree: &Tree,
    contents: &dyn Contents,
    found: &mut [Differences],
    tell: Tell<'_>,
) -> Result<()> {
    let there: Vec<_> = roots.iter().filter(|root| root.is_there).map(|root| root.configured.clone()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let rules = &tree.rules;
    let options = WalkOptions {
        exclude: Exclude::new(&rules.exclude)?,
        exclude_caches: rules.exclude_caches,
        exclude_if_present: rules.exclude_if_present.clone(),
        one_file_system: rules.one_file_system,
        databases: tree.databases,
        threads: 1,
        ..WalkOptions::default()
    };
    let mut entries = contents.entries()?;
    let mut entry = entries.next().transpose()?;
    for step in walk(&there, options)? {
        let living = match step {
            Step::Entry(found) => found,
            Step::Problem(problem) => {
                let message = format!("{} cannot be compared: {}", problem.path, problem.detail);
                return Err(Error::new(Kind::Incomplete, message));
            }
            Step::Note { .. } | Step::LeftOut(_) => continue,
        };
        while let Some(known) = &entry
            && tree_order(known.path.as_bytes(), living.path.as_bytes()).is_lt()
        {
            entry = entries.next().transpose()?;
        }
        let is_known = entry.as_ref().is_some_and(|known| known.path == living.path);
        // What belongs to a database is in the database of the backup.
        if is_known || living.part.as_deref() == Some(&Part::Companion) {
            continue;
        }
        if let Some(at) = roots.iter().position(|root| root.holds(&living.path)) {
            found[at].extra += 1;
            found[at].has_repository |= living.path.name() == REPOSITORY;
            tell(at, &living.path, "the backup does not have it");
        }
    }
    Ok(())
}
