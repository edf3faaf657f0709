//! Lists a folder to its depth. What cannot be listed is told; only what is gone is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use walkdir::WalkDir;

use super::file::{Root, Stamp};
use crate::error::{Context as _, Error, Result, path_text};
use crate::model::{EntryPath, Problem, ProblemKind};

/// Most levels of folders; those of a service are few.
const MAX_DEPTH: usize = 32;

/// What lay in a folder at one time.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Regular files.
    pub(super) files: BTreeMap<EntryPath, Stamp>,
    /// Folders, without the one that was listed.
    pub(super) folders: BTreeSet<EntryPath>,
    /// What is neither or cannot be seen.
    pub(super) problems: Vec<Problem>,
}

/// Lists all that `wanted` wants; it is asked for folders too, which it may leave out with all they hold.
pub(super) fn list(root: &Root, wanted: impl Fn(&EntryPath, bool) -> bool) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut walk = WalkDir::new(root.path()).min_depth(1).max_depth(MAX_DEPTH + 1).into_iter();
    while let Some(item) = walk.next() {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                not_listed(root, error, &mut listing)?;
                continue;
            }
        };
        let below = item.path().strip_prefix(root.path()).unwrap_or(item.path());
        let path = EntryPath::new(below.as_os_str().as_encoded_bytes())?;
        let kind = item.file_type();
        if !wanted(&path, kind.is_dir()) {
            if kind.is_dir() {
                walk.skip_current_dir();
            }
            continue;
        }
        if kind.is_dir() {
            if item.depth() > MAX_DEPTH {
                let detail = format!("folders lie more than {MAX_DEPTH} deep; what it holds was not captured");
                listing.problems.push(problem(ProblemKind::Unsupported, &path, detail));
                walk.skip_current_dir();
            }
            listing.folders.insert(path);
        } else if kind.is_file() {
            match item.metadata() {
                Ok(data) => drop(listing.files.insert(path, Stamp::of(&data))),
                Err(error) => not_listed(root, error, &mut listing)?,
            }
        } else {
            let what = if kind.is_symlink() { "a link, which is not followed" } else { "no regular file" };
            listing.problems.push(problem(ProblemKind::Unsupported, &path, format!("it is {what}")));
        }
    }
    Ok(listing)
}

/// What was found and is gone is no problem. The folder itself must be there.
fn not_listed(root: &Root, error: walkdir::Error, listing: &mut Listing) -> Result<()> {
    let path = error.path().unwrap_or(root.path()).to_owned();
    let cause: io::Error = error.into();
    let below = path.strip_prefix(root.path()).ok().map(|p| p.as_os_str().as_encoded_bytes()).unwrap_or_default();
    if below.is_empty() {
        return Err(cause).at("cannot list", path);
    }
    if cause.kind() != io::ErrorKind::NotFound {
        let path = EntryPath::new(below)?;
        listing.problems.push(problem(ProblemKind::Unreadable, &path, format!("it cannot be listed: {cause}")));
    }
    Ok(())
}

/// A problem of one entry.
pub(super) fn problem(kind: ProblemKind, path: &EntryPath, detail: String) -> Problem {
    Problem { kind, path: path.escaped().into_owned(), detail }
}

/// The error that a folder is not there.
pub(super) fn missing(root: &std::path::Path) -> Error {
    Error::new(crate::error::Kind::NotFound, format!("{} is not there", path_text(root)))
}
