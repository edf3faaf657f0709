//! Verbs that only read: `list`, `show`, `ls`, `find`, `diff`, `cat`.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::chain::Chain;
use super::content::check_digest;
use super::finding::Finding;
use super::select::Selection;
use crate::archive::Scratch;
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::index::Inventory;
use crate::model::{BackupId, BackupKind, Digest, Entry, EntryKind, EntryPath, Hasher, Manifest, Moment, Verdict};
use crate::repo::Repository;
use crate::repo::backup::{Backup, Trust};
use crate::repo::catalog::{Catalog, CatalogEntry};
use crate::repo::state::LocalState;
use crate::threads;

/// Signatures for which a thread is worth its start.
const SHARE_OF_A_THREAD: usize = 64;

/// One backup, as `list --json` shows it.
#[derive(Debug, Serialize)]
pub struct BackupSummary {
    /// The backup.
    pub id: BackupId,
    /// Full or incremental; none when the manifest cannot be read.
    pub kind: Option<BackupKind>,
    /// The backup before it.
    pub parent: Option<BackupId>,
    /// Whether a key is needed to read it.
    pub encrypted: Option<bool>,
    /// Names of its components.
    pub components: Vec<String>,
    /// Names of components that were to be captured and were not.
    pub failed: Vec<String>,
    /// Names of components that are not what is expected of them: empty, too small, shrunken.
    pub unexpected: Vec<String>,
    /// What it is good for as one recovery point; none when its writer did not say.
    pub verdict: Option<Verdict>,
    /// Stored bytes.
    pub bytes_stored: u64,
    /// When it was begun.
    pub created_at: Option<Moment>,
    /// When this host last verified it without a finding.
    pub verified_at: Option<Moment>,
    /// Problems that the capture noted.
    pub problems: u64,
    /// Whether its manifest is bound by a trusted signature; none when nobody is known who could be trusted.
    pub trusted: Option<bool>,
    /// Why the manifest cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Which newer program is needed to read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_format: Option<String>,
}

/// All backups, oldest first. Manifests are read and compared with their signatures; all else is `verify`'s work.
pub fn list(repo: &Repository, state: &LocalState, trust: &Trust) -> Result<Vec<BackupSummary>> {
    // Lost notes about verifications are no reason not to list.
    let verified = state.verified().unwrap_or_default();
    let trust = Trust { allow_unsigned: false, ..trust.clone() };
    let backups = Catalog::load(repo)?.backups;
    let trusted = if trust.signers.is_empty() { Vec::new() } else { trusted(repo, &backups, &trust) };
    let trusted = trusted.into_iter().map(Some).chain(std::iter::repeat(None));
    let listed = backups.into_iter().zip(trusted).map(|(b, trusted)| {
        let (newer_format, damage) = match &b.manifest {
            Ok(_) => (None, None),
            Err(e) if e.kind() == Kind::NewerFormat => (Some(e.one_line()), None),
            Err(e) => (None, Some(e.one_line())),
        };
        let m = b.manifest.as_ref().ok();
        BackupSummary {
            kind: m.map(|m| m.kind),
            parent: m.and_then(|m| m.parent.as_ref()).map(|p| p.id.clone()),
            encrypted: m.map(|m| m.sealing.is_encrypted()),
            components: m.iter().flat_map(|m| &m.components).map(|c| c.name.clone()).collect(),
            failed: m.iter().flat_map(|m| &m.failed).map(|f| f.name.clone()).collect(),
            unexpected: m
                .iter()
                .flat_map(|m| &m.components)
                .filter(|c| c.is_unexpected())
                .map(|c| c.name.clone())
                .collect(),
            verdict: m.and_then(|m| m.recovery_point).map(|point| point.verdict),
            bytes_stored: m.map_or(0, Manifest::bytes_stored),
            created_at: m.map(|m| m.created_at),
            verified_at: m.and_then(|_| verified.get(&b.id).copied()),
            problems: m.map_or(0, Manifest::problems),
            trusted,
            damage,
            newer_format,
            id: b.id,
        }
    });
    Ok(listed.collect())
}

/// Which backups a trusted signature binds. There may be thousands, and each takes three files and a signature.
fn trusted(repo: &Repository, backups: &[CatalogEntry], trust: &Trust) -> Vec<bool> {
    let is_trusted = |b: &CatalogEntry| match Backup::open(repo, &b.id, trust) {
        // That is found after the signature.
        Err(e) => e.kind() == Kind::NewerFormat,
        Ok(_) => true,
    };
    let check = |part: &[CatalogEntry]| part.iter().map(is_trusted).collect::<Vec<_>>();
    let threads = threads::available();
    let share = backups.len().div_ceil(threads).max(SHARE_OF_A_THREAD);
    std::thread::scope(|scope| {
        let spawn = |part| std::thread::Builder::new().spawn_scoped(scope, move || check(part)).ok();
        let parts: Vec<_> = backups.chunks(share).map(|part| (part, spawn(part))).collect();
        let done = parts.into_iter().map(|(part, thread)| match thread.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(done)) => done,
            // No thread was to be had.
            _ => check(part),
        });
        done.flatten().collect()
    })
}

/// Calls `each` for every selected entry of a backup, with its component. Returns what is damaged of the indexes.
pub fn entries(
    chain: &Arc<Chain>,
    selection: &Selection,
    each: &mut dyn FnMut(&str, &Entry) -> Result<()>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for record in &chain.backup.manifest.components {
        let Some(inventory) = inventory(chain, &record.name, &mut findings)? else { continue };
        for entry in inventory.readable()? {
            let entry = entry?;
            if selection.matches(&entry.path, entry.kind == EntryKind::Dir) {
                each(&record.name, &entry)?;
            }
        }
        lost_lines(chain, &record.name, &inventory, &mut findings);
    }
    Ok(findings)
}

/// The inventory of a component; none when it has no such component, or its index is lost.
fn inventory(chain: &Arc<Chain>, component: &str, findings: &mut Vec<Finding>) -> Result<Option<Inventory>> {
    let manifest = &chain.backup.manifest;
    let Some(record) = manifest.component(component) else { return Ok(None) };
    match chain.inventory(component) {
        Err(e) if e.is_damage() => {
            findings.push(Finding::index(&manifest.id, record, &e));
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

fn lost_lines(chain: &Chain, component: &str, inventory: &Inventory, findings: &mut Vec<Finding>) {
    let id = &chain.backup.manifest.id;
    findings.extend(inventory.losses().iter().map(|loss| Finding::lines(id, component, loss)));
}

/// How an entry differs between two backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Type or content differ.
    Content,
    /// Only mode, owner, time or attributes differ.
    Metadata,
}

/// Calls `each` for every entry that differs between two backups; segments that are equal are not even read. Returns what
/// is damaged of the indexes: of a path whose line is lost on one side nothing is said.
pub fn diff(
    a: &Arc<Chain>,
    b: &Arc<Chain>,
    each: &mut dyn FnMut(Change, &str, &Entry) -> Result<()>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let names: BTreeSet<_> =
        [a, b].iter().flat_map(|c| c.backup.manifest.components.iter().map(|c| c.name.clone())).collect();
    for name in names {
        let before = findings.len();
        let inventories = (inventory(a, &name, &mut findings)?, inventory(b, &name, &mut findings)?);
        if findings.len() > before {
            continue;
        }
        let mut left = Cursor::new(inventories.0.as_ref())?;
        let mut right = Cursor::new(inventories.1.as_ref())?;
        loop {
            Cursor::skip_equal(&mut left, &mut right);
            let order = match (left.peek()?, right.peek()?) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(x), Some(y)) => x.path.cmp(&y.path),
            };
            match order {
                std::cmp::Ordering::Less => {
                    left.pending
                        .pop_front()
                        .filter(|e| !right.lost(e))
                        .map_or(Ok(()), |e| each(Change::Removed, &name, &e))?;
                }
                std::cmp::Ordering::Greater => {
                    right
                        .pending
                        .pop_front()
                        .filter(|e| !left.lost(e))
                        .map_or(Ok(()), |e| each(Change::Added, &name, &e))?;
                }
                std::cmp::Ordering::Equal => {
                    if let (Some(x), Some(y)) = (left.pending.pop_front(), right.pending.pop_front()) {
                        change_between(&x, &y).map_or(Ok(()), |change| each(change, &name, &y))?;
                    }
                }
            }
        }
        inventories.0.iter().for_each(|inventory| lost_lines(a, &name, inventory, &mut findings));
        inventories.1.iter().for_each(|inventory| lost_lines(b, &name, inventory, &mut findings));
    }
    Ok(findings)
}

fn change_between(x: &Entry, y: &Entry) -> Option<Change> {
    let same_content = match (&x.kind, &y.kind) {
        (
            EntryKind::File { size, sha256, regions, .. },
            EntryKind::File { size: size2, sha256: sha2, regions: regions2, .. },
        ) => (size, sha256, regions) == (size2, sha2, regions2),
        (x, y) => x == y,
    };
    if !same_content {
        return Some(Change::Content);
    }
    let metadata = |e: &Entry| (e.mode, e.uid, e.gid, e.mtime, e.xattrs.clone());
    (metadata(x) != metadata(y)).then_some(Change::Metadata)
}

/// Walks an inventory segment by segment.
struct Cursor<'a> {
    inventory: Option<&'a Inventory>,
    segment: usize,
    pending: VecDeque<Entry>,
    scratch: Scratch,
}

impl<'a> Cursor<'a> {
    fn new(inventory: Option<&'a Inventory>) -> Result<Self> {
        Ok(Self { inventory, segment: 0, pending: VecDeque::new(), scratch: Scratch::new()? })
    }

    fn next_digest(&self) -> Option<Digest> {
        if !self.pending.is_empty() {
            return None;
        }
        self.inventory?.segments().get(self.segment).map(|s| s.sha256)
    }

    /// Passes over segments that both have next.
    fn skip_equal(left: &mut Self, right: &mut Self) {
        while let (Some(x), Some(y)) = (left.next_digest(), right.next_digest()) {
            if x != y {
                return;
            }
            left.segment += 1;
            right.segment += 1;
        }
    }

    fn peek(&mut self) -> Result<Option<&Entry>> {
        let Some(inventory) = self.inventory else { return Ok(None) };
        while self.pending.is_empty() && self.segment < inventory.segments().len() {
            self.pending = inventory.readable_segment(self.segment, &mut self.scratch)?.into();
            self.segment += 1;
        }
        Ok(self.pending.front())
    }

    /// Whether nobody knows if this side has the entry too.
    fn lost(&self, entry: &Entry) -> bool {
        self.inventory.is_some_and(|inventory| inventory.is_lost(&entry.path))
    }
}

/// Writes the content of one file, checked, to `out`. Hard links lead to their first name; holes come out as zeros.
///
/// A small file is compared with its digest before its first byte is written; of a large one, each chunk is. Returns
/// whether the file was read cleanly when it was captured.
pub fn cat(chain: &Arc<Chain>, component: &str, path: &EntryPath, out: &mut dyn Write) -> Result<bool> {
    let inventory = chain.inventory(component)?;
    let missing = |path: &EntryPath| {
        Error::new(Kind::NotFound, format!("backup {} has no {component}/{path}", chain.backup.manifest.id))
            .hint(Hint::FindElsewhere)
    };
    let mut entry = inventory.find(path)?.ok_or_else(|| missing(path))?;
    if let EntryKind::Hardlink { target } = &entry.kind {
        entry = inventory.first_name(path, target)?;
    }
    let EntryKind::File { size, sha256, extents, regions, chunks, unsettled, .. } = &entry.kind else {
        return Err(Error::usage(format!("{component}/{path} is a {}, not a file", entry.kind.name())));
    };
    let archives = chain.archives(component);
    let regions = regions.clone().unwrap_or_else(|| vec![(0, *size)]).into();
    let mut output = Sparse { out, position: 0, regions };
    let mut scratch = Scratch::new()?;
    let mut frame = Vec::new();
    let mut hasher = Hasher::default();
    let mut chunks = chunks.iter();
    let mut held = Vec::new();
    let mut want = chunks.next();
    for extent in extents {
        let archive = archives.open(&extent.backup, extent.volume)?;
        archive.read_range(extent.offset, extent.length, &mut scratch, &mut frame, &mut |bytes| {
            hasher.update(bytes);
            held.extend_from_slice(bytes);
            while let Some(chunk) = want {
                let length = usize::try_from(chunk.length).unwrap_or(usize::MAX);
                let Some(part) = held.get(..length) else { break };
                check_digest(&entry, Digest::of(part), chunk.sha256)?;
                output.write(part)?;
                held.drain(..length);
                want = chunks.next();
            }
            Ok(())
        })?;
    }
    check_digest(&entry, hasher.finish(), *sha256)?;
    output.write(&held)?;
    output.zeros_to(*size)?;
    Ok(!*unsettled)
}

/// Puts zeros where a sparse file has holes.
struct Sparse<'a> {
    out: &'a mut dyn Write,
    position: u64,
    /// What is still to be written: offset and length.
    regions: VecDeque<(u64, u64)>,
}

impl Sparse<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let Some((offset, length)) = self.regions.pop_front() else {
                return Err(Error::damage("a file has more content than its regions"));
            };
            self.zeros_to(offset)?;
            let (now, later) = bytes.split_at(usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len()));
            self.out.write_all(now).doing("cannot write the content")?;
            let taken = now.len() as u64;
            self.position += taken;
            if taken < length {
                self.regions.push_front((offset + taken, length - taken));
            }
            bytes = later;
        }
        Ok(())
    }

    fn zeros_to(&mut self, end: u64) -> Result<()> {
        let zeros = [0; 1 << 16];
        while self.position < end {
            let n = usize::try_from(end - self.position).unwrap_or(usize::MAX).min(zeros.len());
            self.out.write_all(&zeros[..n]).doing("cannot write the content")?;
            self.position += n as u64;
        }
        Ok(())
    }
}
