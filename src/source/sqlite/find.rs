//! Which databases the patterns of a component name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::header::{companion, database_of};
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::model::{EntryPath, tree_order};

/// How names of our own files begin, beside a database while it is put back.
pub(super) const OUR_FILES: &str = ".ccbackup-";

/// The folder in the backup below which each database has its own path.
const DATABASES: &str = "databases";

/// A database that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Database {
    /// Where it is: absolute, without links.
    pub(super) path: PathBuf,
    /// Where it is in the backup.
    pub(super) object: EntryPath,
}

/// Where the database at the absolute `path` is in the backup.
pub(super) fn object_of(path: &Path) -> Result<EntryPath> {
    let mut object = EntryPath::new(DATABASES.as_bytes())?;
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => object = object.join(name.as_bytes())?,
            _ => return Err(Error::failed(format!("{} is not an absolute path without links", path_text(path)))),
        }
    }
    Ok(object)
}

/// All databases that the absolute `patterns` name, in tree order. A pattern that names none is an error, and so is a folder that cannot
/// be listed.
pub(super) fn databases(patterns: &[PathBuf]) -> Result<Vec<Database>> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let matches = matches_of(pattern)?;
        if matches.is_empty() {
            let message = format!("no database matches {}", path_text(pattern));
            return Err(Error::new(Kind::NotFound, message).hint("correct `path`, or take the component out"));
        }
        found.extend(matches.into_iter().map(|path| (path, ())));
    }
    let databases = found.into_keys().map(|path| Ok(Database { object: object_of(&path)?, path }));
    let mut databases = databases.collect::<Result<Vec<_>>>()?;
    databases.sort_by(|a, b| tree_order(a.object.as_bytes(), b.object.as_bytes()));
    Ok(databases)
}

/// Whether one of the patterns names `path`.
pub(super) fn is_named(patterns: &[PathBuf], path: &Path) -> Result<bool> {
    for pattern in patterns {
        let matches = match fixed_part(pattern) {
            None => fs::canonicalize(pattern).is_ok_and(|real| real == path) || pattern == path,
            Some(fixed) => {
                let real = fs::canonicalize(&fixed).unwrap_or_else(|_| fixed.clone());
                path.strip_prefix(real).is_ok_and(|rest| matcher(pattern).is_ok_and(|m| m.is_match(fixed.join(rest))))
            }
        };
        if matches {
            return Ok(true);
        }
    }
    Ok(false)
}

fn matches_of(pattern: &Path) -> Result<Vec<PathBuf>> {
    let Some(fixed) = fixed_part(pattern) else {
        let real = fs::canonicalize(pattern).map_err(|e| cannot_find(pattern, e))?;
        if !real.is_file() {
            return Err(Error::failed(format!("{} is not a regular file", path_text(&real))));
        }
        return Ok(vec![real]);
    };
    let matcher = matcher(pattern)?;
    // The names of the pattern, not those behind links, are what it is about.
    fs::metadata(&fixed).map_err(|e| cannot_find(&fixed, e))?;
    let text = pattern.to_string_lossy();
    let deep = text.contains("**") || text.contains('{');
    let depth = pattern.components().count() - fixed.components().count();
    let walk = walkdir::WalkDir::new(&fixed).follow_root_links(true).max_depth(if deep { usize::MAX } else { depth });
    let mut found = Vec::new();
    for entry in walk {
        // What goes away while it is listed is no database any more.
        let is_gone = |e: &walkdir::Error| {
            e.depth() > 0 && e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        };
        if entry.as_ref().is_err_and(is_gone) {
            continue;
        }
        let entry = entry.map_err(|e| {
            let message = format!("cannot list {}", path_text(e.path().unwrap_or(&fixed)));
            Error::failed(message).because(std::io::Error::from(e))
        })?;
        let name = entry.file_name().as_encoded_bytes();
        if !matcher.is_match(entry.path()) || name.starts_with(OUR_FILES.as_bytes()) {
            continue;
        }
        // A link that leads nowhere names nothing.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if metadata.is_file() && !belongs_to_another(entry.path()) {
            found.push(fs::canonicalize(entry.path()).at("cannot find the real path of", entry.path())?);
        }
    }
    Ok(found)
}

/// A log or journal beside its database, which SQLite reads with it.
fn belongs_to_another(path: &Path) -> bool {
    let base =
        path.file_name().and_then(|name| Some(path.with_file_name(std::ffi::OsStr::from_bytes(database_of(name)?))));
    base.is_some_and(|base| base.is_file() && super::header::COMPANIONS.iter().any(|end| companion(&base, end) == path))
}

/// The folders before the first glob; none when the pattern is no glob.
fn fixed_part(pattern: &Path) -> Option<PathBuf> {
    let is_glob = |part: &Component<'_>| part.as_os_str().as_bytes().iter().any(|b| b"*?[{\\".contains(b));
    let fixed: PathBuf = pattern.components().take_while(|part| !is_glob(part)).collect();
    (fixed != pattern).then_some(fixed)
}

fn matcher(pattern: &Path) -> Result<GlobMatcher> {
    let text = pattern.to_str().ok_or_else(|| Error::usage(format!("{} is not UTF-8", path_text(pattern))))?;
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    Ok(glob.map_err(|e| Error::usage(format!("{text:?} is not a glob: {}", e.kind())))?.compile_matcher())
}

fn cannot_find(path: &Path, error: std::io::Error) -> Error {
    let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
    Error::new(kind, format!("cannot find {}", path_text(path))).because(error)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of tests need not last")]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_once_and_never_their_logs() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("a/deep")).unwrap();
        for name in ["a/x.db", "a/x.db-wal", "a/x.db-shm", "a/deep/y.db", "a/z.txt", "a/lone-wal", "a/.ccbackup-old.db"]
        {
            fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("x.db", root.join("a/link.db")).unwrap();
        let names = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|p| root.join(p)).collect();
            let found = databases(&patterns)?;
            Ok::<_, Error>(found.iter().map(|d| d.path.strip_prefix(&root).unwrap().to_owned()).collect::<Vec<_>>())
        };
        let is = |found: Result<Vec<PathBuf>>, expected: &[&str]| {
            assert_eq!(found.unwrap(), expected.iter().map(PathBuf::from).collect::<Vec<_>>());
        };
        is(names(&["a/*.db", "a/x.db"]), &["a/x.db"]);
        is(names(&["a/*"]), &["a/lone-wal", "a/x.db", "a/z.txt"]);
        is(names(&["**/*.db"]), &["a/deep/y.db", "a/x.db"]);
        is(names(&["a/link.db"]), &["a/x.db"]);
        for nothing in ["a/*.sqlite", "a/none.db", "b/*.db"] {
            assert_eq!(names(&["a/x.db", nothing]).unwrap_err().kind(), Kind::NotFound, "{nothing}");
        }
        assert!(is_named(&[root.join("a/*.db")], &root.join("a/x.db")).unwrap());
        assert!(!is_named(&[root.join("a/*.db")], &root.join("a/deep/y.db")).unwrap());
        assert!(is_named(&[root.join("a/x.db")], &root.join("a/x.db")).unwrap());
    }
}
