//! A repository: a folder of backups (FORMAT.md §3). Opens it, makes it, locks it; what is in it is `catalog`'s.

pub mod backup;
pub mod catalog;
pub mod places;
pub mod publish;
pub mod signing;
pub mod state;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::durable::Disk;
use crate::error::{Context, Error, Hint, Kind, Result, path_text};
use crate::model::{Digest, FORMAT_NAME, FORMAT_VERSION, Moment, RepositoryRecord};
use signing::SignerKey;

/// Name of the repository's own record.
pub const REPOSITORY_FILE: &str = "repository.json";
/// Convenience copy of the signers' public keys.
pub const ALLOWED_SIGNERS_FILE: &str = "allowed_signers";
/// Link to the newest backup.
pub const LATEST_LINK: &str = "latest";
/// Held with `flock` while something is written.
pub const LOCK_FILE: &str = ".lock";
/// What staging folders begin with.
pub const INCOMPLETE_PREFIX: &str = ".incomplete-";

/// A repository in a local folder.
#[derive(Clone, Debug)]
pub struct Repository {
    root: PathBuf,
    record: RepositoryRecord,
    record_sha256: Digest,
    fault: Option<String>,
}

/// Stands for the id of a repository whose record is lost.
const UNKNOWN_ID: &str = "unknown";

impl Repository {
    /// Opens an existing repository to read from it. A `repository.json` that is damaged, or that is missing beside
    /// backups, hinders nobody to read what is signed: it is a finding.
    pub fn open_to_read(root: &Path) -> Result<Self> {
        let error = match Self::open(root) {
            Err(e) if e.is_damage() => e,
            result => return result,
        };
        let record = RepositoryRecord {
            format: FORMAT_NAME.into(),
            version: FORMAT_VERSION,
            repository_id: UNKNOWN_ID.into(),
            created_at: Moment::default(),
        };
        let fault = Some(error.one_line());
        Ok(Self { root: root.to_owned(), record, record_sha256: Digest::of(b""), fault })
    }

    /// Opens an existing repository, whose record must be good.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(REPOSITORY_FILE);
        let bytes = match read_small(&path) {
            Err(_) if is_absent(root) => {
                return Err(Error::new(Kind::NotFound, format!("there is no repository at {}", path_text(root)))
                    .hint(Hint::MakeRepository));
            }
            Err(_) if is_absent(&path) => {
                let has_backups = catalog::folder_names(root).is_ok_and(|names| !names.is_empty());
                let (kind, why) = if has_backups {
                    (Kind::Damage, "holds backups but its repository.json is missing")
                } else {
                    (Kind::NotFound, "is not a repository: it has no repository.json")
                };
                return Err(Error::new(kind, format!("{} {why}", root.display())));
            }
            other => other?,
        };
        let record = RepositoryRecord::parse(&bytes).map_err(|e| e.within(format!("cannot use {}", path.display())))?;
        Ok(Self { root: root.to_owned(), record, record_sha256: Digest::of(&bytes), fault: None })
    }

    /// Opens a repository, or makes one where nothing or an empty folder is, and keeps other writers away.
    pub fn open_or_create(root: &Path, disk: &Disk, now: Moment, signer: &SignerKey) -> Result<(Self, LockGuard)> {
        if !is_free(root)? {
            let repo = Self::open(root).map_err(|e| {
                if e.kind() == Kind::NotFound {
                    Error::new(Kind::WouldOverwrite, format!("{} is not empty and not a repository", root.display()))
                        .hint(Hint::OtherFolder)
                } else {
                    e
                }
            })?;
            let guard = lock(root)?;
            return Ok((repo, guard));
        }
        disk.make_dirs(root)?;
        let guard = lock(root)?;
        // Another first run may have come before.
        if !is_absent(&root.join(REPOSITORY_FILE)) {
            return Self::open(root).map(|repo| (repo, guard));
        }
        disk.replace(
            &root.join(ALLOWED_SIGNERS_FILE),
            signing::allowed_signers(std::slice::from_ref(signer)).as_bytes(),
        )?;
        let record = RepositoryRecord {
            format: FORMAT_NAME.into(),
            version: FORMAT_VERSION,
            repository_id: random_hex()?,
            created_at: now,
        };
        let bytes = pretty_json(&record)?;
        disk.replace(&root.join(REPOSITORY_FILE), &bytes)?;
        Ok((Self { root: root.to_owned(), record, record_sha256: Digest::of(&bytes), fault: None }, guard))
    }

    /// Keeps other writers away until the guard is dropped; the kernel frees it when the process dies.
    pub fn lock(&self) -> Result<LockGuard> {
        lock(&self.root)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Why `repository.json` says nothing, if it was opened to be read and that is so.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// What `repository.json` says; nothing of use where it has a fault.
    #[must_use]
    pub fn record(&self) -> &RepositoryRecord {
        &self.record
    }

    /// Digest of `repository.json`, which every manifest repeats.
    #[must_use]
    pub fn record_sha256(&self) -> Digest {
        self.record_sha256
    }
}

fn lock(root: &Path) -> Result<LockGuard> {
    let path = root.join(LOCK_FILE);
    let file = open_lock(&path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(LockGuard { file }),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(Kind::Locked, format!("another run is writing to {}", root.display()))
                .hint("wait until it has ended; a lock dies with its process and never has to be removed"))
        }
        Err(e) => Err(Error::failed(format!("cannot lock {}", path.display())).because(io::Error::from(e))),
    }
}

/// Whoever writes to the repository could have put anything in the lock's place: a link would make a file elsewhere, a
/// pipe would wait for ever.
fn open_lock(path: &Path) -> Result<File> {
    let other = || {
        Error::damage(format!("the lock {} is not a regular file", path.display()))
            .hint("find out who put it there, then remove it; the next run makes the lock anew")
    };
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(other());
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .at("cannot open the lock", path)?;
    if file.metadata().at("cannot look at", path)?.is_file() { Ok(file) } else { Err(other()) }
}

/// Whether nothing is there but what a run leaves that died while it made the repository, or what a new file system
/// holds.
fn is_free(root: &Path) -> Result<bool> {
    let is_trace = |name: &std::ffi::OsStr| {
        name.to_string_lossy().starts_with(".staged-")
            || [LOCK_FILE, ALLOWED_SIGNERS_FILE, "lost+found"].iter().any(|known| name == *known)
    };
    match std::fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Error::failed(format!("cannot list {}", root.display())).because(e)),
        Ok(mut names) => Ok(names.all(|n| n.is_ok_and(|n| is_trace(&n.file_name())))),
    }
}

/// Whether something is surely not there; a folder that may not be looked into says nothing.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// Holds the repository's lock.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
}

impl Drop for LockGuard {
    /// Closing would not do: a child process that another thread is just starting holds a copy of the descriptor until
    /// it runs its program, and with it the lock.
    fn drop(&mut self) {
        rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock).ok();
    }
}

/// Largest manifest, SHA256SUMS, signature or other small file that is read, in bytes.
pub const MAX_SMALL_FILE_BYTES: u64 = 16 << 20;

/// Opens a file of a repository for reading. What stands there is untrusted: a link is not followed, a pipe not waited
/// for, and anything but a regular file is damage.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let other = || Error::damage(format!("{} is not a regular file", path.display()));
    if file.is_err() && path.symlink_metadata().is_ok_and(|m| !m.is_file()) {
        return Err(other());
    }
    let file = file.at("cannot open", path)?;
    if file.metadata().at("cannot look at", path)?.is_file() { Ok(file) } else { Err(other()) }
}

/// Reads a small untrusted file of a repository; refuses links, devices and anything larger than the bound.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let file = open_regular(path)?;
    if file.metadata().at("cannot look at", path)?.len() > MAX_SMALL_FILE_BYTES {
        return Err(Error::damage(format!("{} is larger than 16 MiB", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SMALL_FILE_BYTES).read_to_end(&mut bytes).at("cannot read", path)?;
    Ok(bytes)
}

/// JSON for people: indented, with a final newline.
pub(crate) fn pretty_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::failed("cannot write JSON").because(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// 32 random hex digits.
pub(crate) fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::failed(format!("the system gives no random numbers: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
