//! Compares every stored file with its signed digest.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::engine::finding::{Finding, FindingKind};
use crate::error::{Kind, Result};
use crate::model::{BackupId, Digest, Hasher};
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::backup::Backup;
use crate::threads;

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// The files of some backups.
#[derive(Debug)]
pub(super) struct Files<'a> {
    repo: &'a Repository,
    todo: Vec<Todo>,
    /// Their sizes together, as far as they are there.
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Todo {
    id: BackupId,
    component: Option<String>,
    name: String,
    expected: Digest,
}

impl<'a> Files<'a> {
    /// All files that `SHA256SUMS` lists.
    pub(super) fn of(repo: &'a Repository, backups: &[Backup]) -> Self {
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
                expected,
            }));
        }
        // The largest first, so that no thread ends long after the others.
        let size = |t: &Todo| repo.stat_object(&t.id, &t.name).map_or(0, |meta| meta.len());
        todo.sort_by_cached_key(|t| std::cmp::Reverse(size(t)));
        Self { repo, bytes: todo.iter().map(size).sum(), todo }
    }

    /// Hashes them all.
    pub(super) fn hash(&self, threads: usize, monitor: &dyn Monitor) -> Result<(Vec<Finding>, Counts)> {
        let (next, bytes, files) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let found = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                let mut buffer = vec![0; 1 << 20];
                while let Some(item) = self.todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (finding, length) = item.check(self.repo, &mut buffer, monitor)?;
                    files.fetch_add(u64::from(item.component.is_some()), Ordering::Relaxed);
                    bytes.fetch_add(length, Ordering::Relaxed);
                    found.lock().map_err(threads::died)?.extend(finding);
                }
                Ok(())
            };
            let workers = threads::start_pool(scope, "hash", threads.min(self.todo.len()), || work)?;
            workers.into_iter().try_for_each(threads::join)
        })?;
        let mut found: Vec<Finding> = found.into_inner().map_err(threads::died)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((found, Counts { files: files.into_inner(), bytes: bytes.into_inner() }))
    }
}

impl Todo {
    /// What is wrong with the file, and how much of it was read.
    fn check(&self, repo: &Repository, buffer: &mut [u8], monitor: &dyn Monitor) -> Result<(Option<Finding>, u64)> {
        let finding =
            |kind: FindingKind, detail| Finding::of_file(&self.id, self.component.as_deref(), &self.name, kind, detail);
        match self.hash(repo, buffer, monitor) {
            Ok((digest, length)) if digest == self.expected => Ok((None, length)),
            Ok((digest, length)) => {
                let detail = format!("its SHA-256 is {digest}, signed was {}", self.expected);
                Ok((Some(finding(FindingKind::Changed, detail)), length))
            }
            Err(e) if matches!(e.kind(), Kind::Interrupted(_)) => Err(e),
            Err(e) => {
                let is_there = repo.stat_object(&self.id, &self.name).is_some();
                let kind = if is_there { FindingKind::Unreadable } else { FindingKind::Missing };
                Ok((Some(finding(kind, e.one_line())), 0))
            }
        }
    }

    fn hash(&self, repo: &Repository, buffer: &mut [u8], monitor: &dyn Monitor) -> Result<(Digest, u64)> {
        let (mut hasher, mut length) = (Hasher::default(), 0);
        monitor.check()?;
        repo.read_object_once(&self.id, &self.name, buffer, &mut |bytes| {
            hasher.update(bytes);
            length += bytes.len() as u64;
            monitor.throttle(bytes.len() as u64);
            monitor.advance(bytes.len() as u64, 0);
            monitor.check()
        })?;
        Ok((hasher.finish(), length))
    }
}
