//! Compares every stored file with its signed digest.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::engine::finding::{Finding, FindingKind};
use crate::error::{Context, Kind, Result};
use crate::model::{BackupId, Digest, Hasher};
use crate::monitor::Monitor;
use crate::page_cache::Trail;
use crate::repo::backup::Backup;
use crate::repo::open_regular;
use crate::threads;

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// The files of some backups.
#[derive(Debug)]
pub(super) struct Files {
    todo: Vec<Todo>,
    /// Their sizes together, as far as they are there.
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Todo {
    id: BackupId,
    component: Option<String>,
    name: String,
    path: PathBuf,
    expected: Digest,
}

impl Files {
    /// All files that `SHA256SUMS` lists.
    pub(super) fn of(backups: &[Backup]) -> Self {
        let mut todo = Vec::new();
        for backup in backups {
            let components = &backup.manifest.components;
            let names = |c: &crate::model::ComponentRecord| {
                c.archives.iter().map(|a| a.name.clone()).chain([c.index.name.clone()]).collect::<Vec<_>>()
            };
            let owners: BTreeMap<_, _> =
                components.iter().flat_map(|c| names(c).into_iter().map(|n| (n, c.name.clone()))).collect();
            todo.extend(backup.sums.iter().map(|(name, &expected)| Todo {
                id: backup.manifest.id.clone(),
                component: owners.get(name).cloned(),
                name: name.clone(),
                path: backup.dir.join(name),
                expected,
            }));
        }
        // The largest first, so that no thread ends long after the others.
        let size = |t: &Todo| t.path.symlink_metadata().map_or(0, |m| m.len());
        todo.sort_by_cached_key(|t| std::cmp::Reverse(size(t)));
        Self { bytes: todo.iter().map(size).sum(), todo }
    }

    /// Hashes them all.
    pub(super) fn hash(&self, threads: usize, monitor: &dyn Monitor) -> Result<(Vec<Finding>, Counts)> {
        let (next, bytes, files) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let found = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                let mut buffer = vec![0; 1 << 20];
                while let Some(item) = self.todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (finding, length) = item.check(&mut buffer, monitor)?;
                    files.fetch_add(u64::from(item.component.is_some()), Ordering::Relaxed);
                    bytes.fetch_add(length, Ordering::Relaxed);
                    found.lock().map_err(threads::died)?.extend(finding);
                }
                Ok(())
            };
            let workers = threads::start_pool(scope, "hash", threads.min(self.todo.len()), || work)?;
            workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|e| Err(threads::died(e))))
        })?;
        let mut found: Vec<Finding> = found.into_inner().map_err(threads::died)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((found, Counts { files: files.into_inner(), bytes: bytes.into_inner() }))
    }
}

impl Todo {
    /// What is wrong with the file, and how much of it was read.
    fn check(&self, buffer: &mut [u8], monitor: &dyn Monitor) -> Result<(Option<Finding>, u64)> {
        let finding =
            |kind: FindingKind, detail| Finding::of_file(&self.id, self.component.as_deref(), &self.name, kind, detail);
        match self.hash(buffer, monitor) {
            Ok((digest, length)) if digest == self.expected => Ok((None, length)),
            Ok((digest, length)) => {
                let detail = format!("its SHA-256 is {digest}, signed was {}", self.expected);
                Ok((Some(finding(FindingKind::Changed, detail)), length))
            }
            Err(e) if matches!(e.kind(), Kind::Interrupted(_)) => Err(e),
            Err(e) => {
                let missing = self.path.symlink_metadata().is_err();
                Ok((
                    Some(finding(if missing { FindingKind::Missing } else { FindingKind::Unreadable }, e.one_line())),
                    0,
                ))
            }
        }
    }

    fn hash(&self, buffer: &mut [u8], monitor: &dyn Monitor) -> Result<(Digest, u64)> {
        let mut file = open_regular(&self.path)?;
        let mut hasher = Hasher::default();
        let mut length = 0;
        let mut trail = Trail::default();
        loop {
            monitor.check()?;
            let n = file.read(buffer).at("cannot read", &self.path)?;
            if n == 0 {
                return Ok((hasher.finish(), length));
            }
            hasher.update(&buffer[..n]);
            length += n as u64;
            trail.read_to(&file, length);
            monitor.pace(n as u64);
            monitor.advance(n as u64, 0);
        }
    }
}
