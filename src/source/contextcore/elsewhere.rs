//! State that lies where the home folder does not reach: written there when it could not be written at home, or because a
//! variable said so. It is not captured; whoever runs a backup has to know of it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::environment::Environment;
use crate::error::{Context as _, Result, path_text};

/// A place with state.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// Files of state there.
    pub(super) files: u64,
    /// What it is, and what to do, in words.
    pub(super) told: String,
}

/// All such places that hold anything.
pub(super) fn found(home: &Path, environment: &Environment) -> Result<Vec<Elsewhere>> {
    let mut found = Vec::new();
    for folder in fallbacks(environment)? {
        let files = json_files(&folder);
        if files > 0 {
            let told = format!(
                "{files} state files lie in {}, because ContextCore could not write to its folder; they are not captured: move \
                 them back, or add a component of kind `files` for them",
                path_text(&folder)
            );
            found.push(Elsewhere { files, told });
        }
    }
    for variable in ["CONTEXTCORE_STORAGE_DIR", "CONTEXTCORE_RBAC_DIR"] {
        let Some(folder) = environment.get(variable).map(PathBuf::from) else { continue };
        if !folder.starts_with(home) && folder.is_dir() {
            let files = WalkDir::new(&folder).into_iter().flatten().filter(|item| item.file_type().is_file()).count();
            let told = format!(
                "{variable} leads to {} with {files} files, which are not captured: add a component of kind `files` for them",
                path_text(&folder)
            );
            found.push(Elsewhere { files: files as u64, told });
        }
    }
    Ok(found)
}

/// `contextcore/state` and `contextcore-<8 hex digits>` in the folder for temporary files.
fn fallbacks(environment: &Environment) -> Result<Vec<PathBuf>> {
    let named = ["TMPDIR", "TEMP", "TMP"].into_iter().find_map(|name| environment.get(name));
    let temporary = PathBuf::from(named.unwrap_or(OsStr::new("/tmp")));
    let list = match fs::read_dir(&temporary) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        list => list.at("cannot list", &temporary)?,
    };
    let mut folders = Vec::new();
    for item in list {
        let item = item.at("cannot list", &temporary)?;
        let name = item.file_name();
        let name = name.to_string_lossy();
        let random = name.strip_prefix("contextcore-");
        if random.is_some_and(|hex| hex.len() == 8 && hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            folders.push(item.path());
        } else if name == "contextcore" {
            folders.push(item.path().join("state"));
        }
    }
    folders.sort();
    Ok(folders)
}

/// The folder may be anybody's: what cannot be seen there is not ours.
fn json_files(folder: &Path) -> u64 {
    let items = WalkDir::new(folder).max_depth(6).into_iter().flatten();
    items.filter(|item| item.file_type().is_file() && item.path().extension() == Some(OsStr::new("json"))).count()
        as u64
}
