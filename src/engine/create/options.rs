//! What a backup is to hold, and how it is made.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::seal::Sealer;
use crate::archive::tar::PIECES_DIR;
use crate::config::ComponentConfig;
use crate::error::{Error, Hint, Result, path_text};
use crate::model::is_component_name;
use crate::source::files::root_name;

/// How a backup is made.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// What to capture, in this order.
    pub components: Vec<ComponentConfig>,
    /// These are not all components that there are: the backup is no recovery point of the whole.
    pub is_part: bool,
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
            is_part: false,
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
            return Err(Error::usage("there is nothing to back up").hint(Hint::FolderWithPath));
        }
        for spec in &self.components {
            if !is_component_name(&spec.name) {
                return Err(Error::usage(format!("{:?} cannot be a component's name", spec.name))
                    .hint("use up to 64 lower-case letters, digits, - and _"));
            }
            if !names.insert(&spec.name) {
                return Err(Error::usage(format!("the component {:?} is named twice", spec.name)));
            }
            for root in spec.paths() {
                if root_name(root).is_ok_and(|name| name.as_bytes() == PIECES_DIR.as_bytes()) {
                    return Err(Error::usage(format!("{} has a name that archives use themselves", path_text(root)))
                        .hint("rename it, or back up the folder that holds it"));
                }
            }
        }
        Ok(())
    }
}
