//! A database of SQLite that the walk found in use: its time of change, its size and its path.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::part::Part;
use super::stat::Stat;
use super::walk::Found;
use super::xattrs::proc_path;
use crate::model::EntryPath;
use crate::source::sqlite::database_of;

impl Found {
    /// The database that a companion belongs to.
    #[must_use]
    pub fn database(&self) -> Option<EntryPath> {
        if self.part.as_deref() != Some(&Part::Companion) {
            return None;
        }
        let name = database_of(OsStr::from_bytes(self.path.name()))?;
        let folder = self.path.parent().map(|folder| [folder, b"/"].concat()).unwrap_or_default();
        EntryPath::new([&folder, name].concat()).ok()
    }

    /// Whether it is a database that is in use.
    #[must_use]
    pub fn is_database_in_use(&self) -> bool {
        matches!(self.part.as_deref(), Some(Part::Database { .. }))
    }

    /// Its metadata for change detection. A database in use has changed when its log has; its time is one that no file read as
    /// it is can have, so that the two are never taken for each other.
    #[must_use]
    pub fn stat_of_content(&self) -> Cow<'_, Stat> {
        match self.part.as_deref() {
            Some(Part::Database { changed, .. }) => {
                let ctime = self.stat.ctime.max(*changed).next();
                Cow::Owned(Stat { ctime, ..self.stat.clone() })
            }
            _ => Cow::Borrowed(&self.stat),
        }
    }

    /// About how many bytes its content has.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        let log = if let Some(Part::Database { log_bytes, .. }) = self.part.as_deref() { *log_bytes } else { 0 };
        self.stat.size.saturating_add(log)
    }

    /// The absolute path that it has now, for those who cannot do with an open folder; they compare what they opened with
    /// what was found.
    pub fn absolute_path(&self) -> io::Result<PathBuf> {
        let handle = self.folder.handle()?;
        let folder = std::fs::read_link(OsStr::from_bytes(proc_path(&*handle).as_bytes()))?;
        Ok(folder.join(OsStr::from_bytes(self.name.to_bytes())))
    }
}
