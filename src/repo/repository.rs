//! A repository: a folder of backups (FORMAT.md §3). Opens it, makes it, and reads what lies in it: nobody else joins a path
//! inside it. What its backups are worth is `catalog`'s.

use std::ffi::OsString;
use std::fmt;
use std::fs::{DirEntry, FileType, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::layout::{
    ALLOWED_SIGNERS_FILE, INCOMPLETE_PREFIX, LATEST_LINK, LOCK_FILE, MANIFEST_FILE, REPOSITORY_FILE, SIGNATURE_FILE,
    SUMS_FILE,
};
use super::lock::{LockGuard, lock};
use super::signing::{SignerKey, allowed_signers};
use super::untrusted::{digest_file, open_regular, read_small};
use crate::archive::StoredFile;
use crate::durable::Disk;
use crate::error::{Context, Error, Hint, Kind, Result, path_text};
use crate::keys;
use crate::model::{BackupId, Digest, FORMAT_NAME, FORMAT_VERSION, Moment, RepositoryRecord, pretty_json};
use crate::page_cache::Trail;

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

/// Its place, for people.
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path_text(&self.root))
    }
}

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
                let has_backups = ids_in(root, "").is_ok_and(|names| !names.is_empty());
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
        disk.replace(&root.join(ALLOWED_SIGNERS_FILE), allowed_signers(std::slice::from_ref(signer)).as_bytes())?;
        let record = RepositoryRecord {
            format: FORMAT_NAME.into(),
            version: FORMAT_VERSION,
            repository_id: random_id()?,
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

    /// The folder. Nobody outside of this module may know it: what lies in it is asked of this type.
    pub(super) fn location(&self) -> &Path {
        &self.root
    }

    /// Device and inode of its folder, by which a walk stays out of it.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let meta = std::fs::metadata(&self.root).at("cannot stat", &self.root)?;
        Ok((meta.dev(), meta.ino()))
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

    /// Backups that have a folder, in no order that matters.
    pub fn backup_ids(&self) -> Result<Vec<BackupId>> {
        ids_in(&self.root, "")
    }

    /// Ids of the staging folders that killed runs left.
    pub fn incomplete_ids(&self) -> Result<Vec<BackupId>> {
        ids_in(&self.root, INCOMPLETE_PREFIX)
    }

    /// Everything that lies in the repository's folder, with its type.
    pub fn names(&self) -> Result<Vec<(OsString, FileType)>> {
        let typed = |item: io::Result<DirEntry>| {
            let item = item.at("cannot list", &self.root)?;
            Ok((item.file_name(), item.file_type().at("cannot stat", item.path())?))
        };
        std::fs::read_dir(&self.root).at("cannot list", &self.root)?.map(typed).collect()
    }

    /// Whether a backup has a folder; a link is none.
    #[must_use]
    pub fn holds(&self, id: &BackupId) -> bool {
        self.folder(id).symlink_metadata().is_ok_and(|meta| meta.is_dir())
    }

    /// Whether anything stands where the folder of a backup would.
    #[must_use]
    pub fn is_taken(&self, id: &BackupId) -> bool {
        self.folder(id).symlink_metadata().is_ok()
    }

    /// Where the link for people points; none where it is missing. Readers never follow it.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        let path = self.root.join(LATEST_LINK);
        match std::fs::read_link(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some).at("cannot read", path),
        }
    }

    /// The convenience copy of the signers' public keys. Nobody vouches for it.
    pub fn allowed_signers(&self) -> Result<Vec<u8>> {
        read_small(&self.root.join(ALLOWED_SIGNERS_FILE))
    }

    /// `SHA256SUMS` of a backup.
    pub fn sums(&self, id: &BackupId) -> Result<Vec<u8>> {
        read_small(&self.object(id, SUMS_FILE))
    }

    /// The signature of `SHA256SUMS`.
    pub fn signature(&self, id: &BackupId) -> Result<Vec<u8>> {
        read_small(&self.object(id, SIGNATURE_FILE))
    }

    /// `manifest.json` of a backup, not compared with anything.
    pub fn manifest_bytes(&self, id: &BackupId) -> Result<Vec<u8>> {
        read_small(&self.object(id, MANIFEST_FILE))
    }

    /// Names of all files of a backup.
    pub fn objects(&self, id: &BackupId) -> Result<Vec<OsString>> {
        let folder = self.folder(id);
        let name = |item: io::Result<DirEntry>| item.map(|item| item.file_name()).at("cannot list", &folder);
        std::fs::read_dir(&folder).at("cannot list", &folder)?.map(name).collect()
    }

    /// Damage where a file of a backup is surely missing.
    pub fn require_object(&self, id: &BackupId, name: &str) -> Result<()> {
        let path = self.object(id, name);
        if is_absent(&path) { Err(Error::damage(format!("{} is missing", path.display()))) } else { Ok(()) }
    }

    /// What stands under a name in a backup, if anything is to be seen there; links are not followed.
    #[must_use]
    pub fn stat_object(&self, id: &BackupId, name: &str) -> Option<Metadata> {
        self.object(id, name).symlink_metadata().ok()
    }

    /// Opens a file of a backup for random access; links are not followed.
    pub fn open_object(&self, id: &BackupId, name: &str) -> Result<StoredFile> {
        self.require_object(id, name)?;
        let path = self.object(id, name);
        StoredFile::new(open_regular(&path)?).at("cannot open", &path)
    }

    /// SHA-256 of a whole file of a backup.
    pub fn digest_object(&self, id: &BackupId, name: &str) -> Result<Digest> {
        digest_file(&self.object(id, name))
    }

    /// Reads a file of a backup that nobody needs again, piece by piece: it does not stay in the page cache.
    pub fn read_object_once(
        &self,
        id: &BackupId,
        name: &str,
        buffer: &mut [u8],
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let path = self.object(id, name);
        let (mut file, mut trail, mut position) = (open_regular(&path)?, Trail::default(), 0);
        loop {
            let n = file.read(buffer).at("cannot read", &path)?;
            if n == 0 {
                return Ok(());
            }
            position += n as u64;
            trail.read_to(&file, position);
            each(&buffer[..n])?;
        }
    }

    /// Where a file of a backup lies, for people.
    #[must_use]
    pub fn object_text(&self, id: &BackupId, name: &str) -> String {
        self.object(id, name).display().to_string()
    }

    fn folder(&self, id: &BackupId) -> PathBuf {
        self.root.join(id.as_str())
    }

    fn object(&self, id: &BackupId, name: &str) -> PathBuf {
        self.folder(id).join(name)
    }
}

/// Ids of the folders that are named like backups after a prefix, oldest first.
fn ids_in(root: &Path, prefix: &str) -> Result<Vec<BackupId>> {
    let mut ids = Vec::new();
    for item in std::fs::read_dir(root).at("cannot list", root)? {
        let item = item.at("cannot list", root)?;
        if let Some(id) = item.file_name().to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok()) {
            // A link of such a name would lead elsewhere.
            if item.file_type().at("cannot stat", item.path())?.is_dir() {
                ids.push(id);
            }
        }
    }
    ids.sort();
    Ok(ids)
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

/// 32 random hex digits.
fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    keys::random(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
