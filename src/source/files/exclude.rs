//! Globs that select paths: what a capture leaves out, what a restore takes.
//!
//! Entry paths are bytes (FORMAT.md §6) and globs are matched on bytes, so `?` and `[…]` stand for one byte and no name
//! escapes a glob for not being UTF-8.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};
use crate::model::EntryPath;

/// A set of globs with the useful part of the rules of `.gitignore`:
///
/// * `*` and `?` do not match `/`; `**` as a whole component does; `[a-z]`, `[!a]`, `{a,b}` and `\` work.
/// * Without `/`, a glob matches the last component of any path: `*.log`, `node_modules`.
/// * With `/` at the start or inside, it matches the whole path, once with and once without the first component, which
///   is the root's name: `app/logs/*`, `logs/*` and `/logs/*` all match `app/logs/x`. `logs/**` matches what is in
///   `logs`, but not `logs`.
/// * With `/` at the end, it matches folders only: `cache/`.
/// * Who walks does not enter a folder that matches, so all in it is out as well.
///
/// There is no negation; a leading `!` is refused rather than taken literally (`\!` is literal).
#[derive(Debug, Default)]
pub struct Exclude {
    any: Sets,
    folders: Sets,
}

/// Globs for the last component, and globs for whole paths.
#[derive(Debug, Default)]
struct Sets {
    names: GlobSet,
    paths: GlobSet,
}

impl Sets {
    fn matches(&self, path: &[u8]) -> bool {
        if !self.names.is_empty() {
            let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
            if self.names.is_match_candidate(&Candidate::from_bytes(name)) {
                return true;
            }
        }
        if self.paths.is_empty() {
            return false;
        }
        let inside = path.iter().position(|&b| b == b'/').map(|at| &path[at + 1..]);
        [Some(path), inside]
            .into_iter()
            .flatten()
            .any(|path| self.paths.is_match_candidate(&Candidate::from_bytes(path)))
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.paths.is_empty()
    }
}

impl Exclude {
    /// Compiles globs; the error names the one that is wrong, also one that could never match.
    pub fn new(globs: &[String]) -> Result<Self> {
        let mut builders = [(); 4].map(|()| GlobSetBuilder::new());
        for glob in globs {
            let bad = |why: &str| Error::usage(format!("the glob {glob:?} {why}"));
            if glob.starts_with('!') {
                return Err(bad("starts with `!`, and there is no negation").hint("write `\\!` for a name with `!`"));
            }
            let (body, folders_only) = glob.strip_suffix('/').map_or((glob.as_str(), false), |body| (body, true));
            let whole_path = body.contains('/');
            let body = body.strip_prefix('/').unwrap_or(body);
            if body.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(bad("can never match: entry paths have no empty, `.` or `..` component")
                    .hint("start at the root's name or below it, like `app/logs/**` or `logs/**`"));
            }
            let compiled = GlobBuilder::new(body)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|e| bad("cannot be understood").because(e))?;
            builders[usize::from(whole_path) + 2 * usize::from(folders_only)].add(compiled);
        }
        let [names, paths, folder_names, folder_paths] = builders;
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|e| Error::usage("the globs are too many or too large together").because(e))
        };
        Ok(Self {
            any: Sets { names: build(names)?, paths: build(paths)? },
            folders: Sets { names: build(folder_names)?, paths: build(folder_paths)? },
        })
    }

    /// Whether there is no glob.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.folders.is_empty()
    }

    /// Whether a glob matches the path or a folder above it: for selections, where a folder stands for all in it.
    #[must_use]
    pub fn matches_or_parent(&self, path: &EntryPath, is_dir: bool) -> bool {
        let bytes = path.as_bytes();
        let parents = bytes.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| &bytes[..at]);
        self.matches_bytes(bytes, is_dir) || parents.into_iter().any(|parent| self.matches_bytes(parent, true))
    }

    /// Whether a glob matches this path itself; its parents are not asked.
    pub(super) fn matches_bytes(&self, path: &[u8], is_dir: bool) -> bool {
        self.any.matches(path) || (is_dir && self.folders.matches(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn path(bytes: &[u8]) -> EntryPath {
        EntryPath::new(bytes).unwrap()
    }

    fn globs(list: &[&str]) -> Exclude {
        Exclude::new(&list.iter().map(|&g| g.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn globs_follow_the_documented_rules() {
        // glob, path, is a folder, matches
        let table: &[(&str, &[u8], bool, bool)] = &[
            ("*.log", b"app/logs/x.log", false, true),
            ("*.log", b"x.log", false, true),
            ("*.log", b"app/x.log/y", false, false),
            ("*.log", b"app/\xff\xfe.log", false, true),
            ("*.log", b"app/a\nb.log", false, true),
            ("*", b"app/x", false, true),
            (".*", b"app/.git", true, true),
            ("node_modules", b"app/a/node_modules", true, true),
            ("node_modules", b"app/a/my_node_modules", true, false),
            ("app/logs/*", b"app/logs/x", false, true),
            ("app/logs/*", b"app/logs/x/y", false, false),
            ("app/logs/*", b"other/app/logs/x", false, true),
            ("logs/*", b"app/logs/x", false, true),
            ("/logs/*", b"app/logs/x", false, true),
            ("logs/*", b"app/a/logs/x", false, false),
            ("/logs", b"app/logs", true, true),
            ("/logs", b"app/a/logs", true, false),
            ("/app", b"app", true, true),
            ("logs/**", b"app/logs/x/y", false, true),
            ("logs/**", b"app/logs", true, false),
            ("**/logs/*.gz", b"app/a/b/logs/x.gz", false, true),
            ("**/logs", b"app/a/b/logs", true, true),
            ("app/**/x", b"app/x", false, true),
            ("app/**/x", b"app/a/b/x", false, true),
            ("cache/", b"app/a/cache", true, true),
            ("cache/", b"app/a/cache", false, false),
            ("/a/cache/", b"app/a/cache", true, true),
            ("/a/cache/", b"app/a/cache", false, false),
            ("{a,b}.txt", b"app/b.txt", false, true),
            ("[0-9]?", b"app/1\xff", false, true),
            ("[!a]x", b"app/ax", false, false),
            ("\\!x", b"app/!x", false, true),
            ("a\\*", b"app/ab", false, false),
            ("gr\u{fc}n", "app/gr\u{fc}n".as_bytes(), false, true),
        ];
        for &(glob, bytes, is_dir, expected) in table {
            assert_eq!(globs(&[glob]).matches_bytes(bytes, is_dir), expected, "{glob} on {bytes:?}");
        }
    }

    #[test]
    fn a_selected_folder_stands_for_all_in_it() {
        let set = globs(&["app/data", "cache/"]);
        assert!(set.matches_or_parent(&path(b"app/data/x/y"), false));
        assert!(set.matches_or_parent(&path(b"app/cache/x"), false));
        assert!(!set.matches_or_parent(&path(b"app/cache"), false));
        assert!(!set.matches_or_parent(&path(b"app/database"), false));
        assert!(!globs(&[]).matches_or_parent(&path(b"app"), true) && globs(&[]).is_empty());
    }

    #[test]
    fn a_wrong_glob_is_named() {
        for glob in ["[a", "{a", "", "/", "a//b", "./a", "a/../b", "!a", "a\\"] {
            let error = Exclude::new(&["*.ok".to_owned(), glob.to_owned()]).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{glob}");
            assert!(error.to_string().contains(&format!("{glob:?}")), "{error}");
        }
    }
}
