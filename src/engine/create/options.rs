//! What a backup is to hold, and how it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use crate::archive::seal::Sealer;
use crate::archive::tar::PIECES_DIR;
use crate::config::Percent;
use crate::error::{Error, Result, path_text};
use crate::model::{escape_path, is_component_name};
use crate::source::files::root_name;

/// A component to capture.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// Files and folders that are never captured, `(device, inode)`: keys. The repository and the local state never are.
    pub skip_identities: Vec<(u64, u64)>,
}

/// Nothing yet, not sealed, at zstd level 3, by all processors, in volumes of 1 GiB.
impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            components: Vec::new(),
            full: false,
            rehash: false,
            sealer: Sealer::none(),
            level: 3,
            threads: crate::threads::available(),
            volume_bytes: 1 << 30,
            tags: BTreeMap::new(),
            skip_identities: Vec::new(),
        }
    }
}

impl CreateOptions {
    /// Refuses components that a backup cannot hold.
    pub fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        if self.components.is_empty() {
            return Err(Error::usage("there is nothing to back up")
                .hint("name a folder with --path, or run `ccbackup init` to write a ccbackup.toml"));
        }
        for spec in &self.components {
            if !is_component_name(&spec.name) {
                return Err(Error::usage(format!("{:?} cannot be a component's name", spec.name))
                    .hint("use up to 64 lower-case letters, digits, - and _"));
            }
            if !names.insert(&spec.name) {
                return Err(Error::usage(format!("the component {:?} is named twice", spec.name)));
            }
            for root in &spec.roots {
                if root_name(root).is_ok_and(|name| name.as_bytes() == PIECES_DIR.as_bytes()) {
                    return Err(Error::usage(format!("{} has a name that archives use themselves", path_text(root)))
                        .hint("rename it, or back up the folder that holds it"));
                }
            }
        }
        Ok(())
    }
}
