//! Looks around a folder for what a backup should hold, for `init` and for runs without a configuration.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::types::ComponentConfig;
use crate::error::{Context as _, Result};

pub(super) const COMPOSE_FILES: [&str; 4] =
    ["docker-compose.yaml", "docker-compose.yml", "compose.yaml", "compose.yml"];
const CONFIG_FOLDERS: [&str; 5] = ["config", "configs", "conf", "provisioning", "k8s"];

/// Components of kind `files` for what lies in `folder` and in `home`; empty when there is nothing to be found.
/// What cannot be looked at is an error, never taken for absent.
pub fn discover(folder: &Path, home: Option<&Path>) -> Result<Vec<ComponentConfig>> {
    let mut configs = Vec::new();
    for name in COMPOSE_FILES.iter().chain([&".env"]) {
        configs.extend(existing(folder.join(name), Metadata::is_file)?);
    }
    for name in CONFIG_FOLDERS {
        configs.extend(existing(folder.join(name), Metadata::is_dir)?);
    }
    let mut found = Vec::new();
    // Roots of a component are told apart by their last names, so a second `provisioning` is a component of its own.
    let grafana = existing(folder.join("grafana/provisioning"), Metadata::is_dir)?;
    let mut apart = Vec::new();
    let taken = configs.iter().any(|path| path.ends_with("provisioning"));
    if taken { &mut apart } else { &mut configs }.extend(grafana);
    found.extend(component("configs", configs));
    found.extend(component("grafana-provisioning", apart));
    found.extend(component("data", existing(folder.join("data"), Metadata::is_dir)?.into_iter().collect()));
    if let Some(home) = home {
        for (name, path) in [("contextcore", ".contextcore"), ("vectorstore", ".config/contextd/vectorstore")] {
            let path = existing(home.join(path), Metadata::is_dir)?;
            found.extend(component(name, path.into_iter().collect()));
        }
    }
    Ok(found)
}

fn existing(path: PathBuf, is_wanted: fn(&Metadata) -> bool) -> Result<Option<PathBuf>> {
    match fs::metadata(&path) {
        Ok(data) => Ok(is_wanted(&data).then_some(path)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e).at("cannot stat", path),
    }
}

fn component(name: &str, paths: Vec<PathBuf>) -> Option<ComponentConfig> {
    (!paths.is_empty()).then(|| ComponentConfig::of_files(name, paths))
}
