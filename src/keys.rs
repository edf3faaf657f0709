//! Key files: age identities, ssh keys, raw AES keys, and the signers that an identity file vouches for (FORMAT.md §8).
//!
//! Invariant: secrets are wiped when dropped, never shown by `Debug` or an error, and a key file that is made here is
//! readable by its owner only, never replaces another file, and is on the disk when the call returns.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::durable::{Disk, parent};
use crate::error::{Context, Error, Kind, Result, path_text};
use crate::model::{Digest, Moment};

/// Largest key file, in bytes.
const FILE_MAX: u64 = 1024 * 1024;
/// What a comment line with a trusted signer begins with, after `#`.
const SIGNER_COMMENT: &str = "ccbackup-signer:";

/// A raw 32-byte key for AES-256-GCM.
#[derive(Clone)]
pub struct AesKey(Zeroizing<[u8; 32]>);

impl AesKey {
    /// Reads a file of exactly 32 bytes.
    pub fn load(path: &Path) -> Result<Self> {
        let (bytes, _) = read_file(path)?;
        Self::from_bytes(&bytes).ok_or_else(|| {
            Error::usage(format!("{} is no AES key: expected 32 raw bytes, found {}", path_text(path), bytes.len()))
                .hint("an AES key is neither hex nor base64; `head -c 32 /dev/urandom > FILE` makes one")
        })
    }

    /// Makes a random key and writes it to a new file.
    pub fn generate(path: &Path) -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        random(&mut *key.0)?;
        create_secret_file(path, key.bytes())?;
        Ok(key)
    }

    /// The key's public name: the first 16 hex digits of the SHA-256 of `ccbackup aes key id`, a zero byte and the key.
    #[must_use]
    pub fn id(&self) -> String {
        let mut text = Zeroizing::new([0; 52]);
        text[..20].copy_from_slice(b"ccbackup aes key id\0");
        text[20..].copy_from_slice(self.bytes());
        let mut hex = Digest::of(&*text).to_string();
        hex.truncate(16);
        hex
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        Some(Self(Zeroizing::new(*bytes)))
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AesKey").field(&self.id()).finish()
    }
}

/// An identity and the recipient it opens.
struct Identity {
    recipient: String,
    identity: Box<dyn age::Identity + Send + Sync>,
}

#[derive(Default)]
struct Held {
    identities: Vec<Identity>,
    aes: Vec<AesKey>,
    signers: Vec<String>,
    warnings: Vec<String>,
}

/// Everything that was given to open backups; cheap to clone, shared between threads.
#[derive(Clone, Default)]
pub struct Keys(Arc<Held>);

impl Keys {
    /// No keys.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// Reads key files of at most 1 MiB each: an age identity file, an OpenSSH private key without passphrase, or a raw
    /// AES key, which is a file of exactly 32 bytes. A comment `# ccbackup-signer: ssh-ed25519 AAAA…` in an identity
    /// file names a trusted signer.
    ///
    /// Fails with [`Kind::NotFound`] if a file is missing and [`Kind::Usage`] if one holds something else.
    pub fn load(files: &[PathBuf]) -> Result<Self> {
        let mut held = Held::default();
        for path in files {
            held.read(path)?;
        }
        Ok(Self(Arc::new(held)))
    }

    /// Public keys of trusted signers, `ssh-ed25519 AAAA…` without a comment, in the order of the files.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.0.signers
    }

    /// What a person should know about the files: those that others can read.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Public keys of the identities, `age1…` or `ssh-…`, in the order of the files.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.0.identities.iter().map(|i| i.recipient.as_str())
    }

    pub(crate) fn has_identities(&self) -> bool {
        !self.0.identities.is_empty()
    }

    pub(crate) fn has_aes_keys(&self) -> bool {
        !self.0.aes.is_empty()
    }

    pub(crate) fn identities(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.identities.iter().map(|i| &*i.identity as &dyn age::Identity)
    }

    pub(crate) fn holds_recipient(&self, recipient: &str) -> bool {
        self.recipients().any(|r| r == recipient)
    }

    pub(crate) fn aes_key(&self, id: &str) -> Option<&AesKey> {
        self.0.aes.iter().find(|key| key.id() == id)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("recipients", &self.recipients().collect::<Vec<_>>())
            .field("aes", &self.0.aes)
            .field("signers", &self.0.signers)
            .finish_non_exhaustive()
    }
}

impl Held {
    fn read(&mut self, path: &Path) -> Result<()> {
        let (bytes, mode) = read_file(path)?;
        if let Some(mode) = mode.map(|m| m & 0o7777).filter(|m| m & 0o077 != 0) {
            self.warnings
                .push(format!("others than its owner can use the key file {} (mode {mode:04o})", path_text(path)));
        }
        if let Some(key) = AesKey::from_bytes(&bytes) {
            self.aes.push(key);
            return Ok(());
        }
        let bad = |why: &str| Error::usage(format!("{} {why}", path_text(path)));
        let text =
            std::str::from_utf8(&bytes).map_err(|_| bad("is not a key file: it is not text and not 32 bytes long"))?;
        if text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") || text.starts_with("age-encryption.org/") {
            return Err(bad("is sealed with age itself").hint("open it first: age -d -o identity.txt FILE"));
        }
        if text.trim_start().starts_with("-----BEGIN") {
            self.identities.push(ssh_identity(text.trim_start(), &bad)?);
            return Ok(());
        }
        let mut found = false;
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(key) = comment.trim_start().strip_prefix(SIGNER_COMMENT) {
                    let key = signer_text(key)
                        .ok_or_else(|| bad(&format!("names no ssh-ed25519 signer in line {number}")))?;
                    found = true;
                    if !self.signers.contains(&key) {
                        self.signers.push(key);
                    }
                }
            } else if !line.is_empty() {
                let identity: age::x25519::Identity = line.parse().map_err(|_| not_an_identity(line, number, &bad))?;
                found = true;
                self.identities
                    .push(Identity { recipient: identity.to_public().to_string(), identity: Box::new(identity) });
            }
        }
        if found { Ok(()) } else { Err(bad("holds no key")) }
    }
}

/// Says what a line is instead, without showing it.
fn not_an_identity(line: &str, number: u32, bad: &dyn Fn(&str) -> Error) -> Error {
    if line.starts_with("age1") || line.starts_with("ssh-") {
        return bad(&format!("holds a public key in line {number}, and a secret key is needed"));
    }
    if line.starts_with("AGE-PLUGIN-") || line.starts_with("AGE-SECRET-KEY-PQ-") {
        return bad(&format!("holds an identity of a sort that is not supported in line {number}"))
            .hint("supported are AGE-SECRET-KEY-1… and unencrypted ssh-ed25519 and ssh-rsa keys");
    }
    bad(&format!("is not a key file: line {number} holds no identity"))
        .hint("expected an age identity file, an OpenSSH private key, or an AES key of 32 raw bytes")
}

fn ssh_identity(text: &str, bad: &dyn Fn(&str) -> Error) -> Result<Identity> {
    use age::ssh::{Identity as Ssh, Recipient, UnsupportedKey};
    let identity =
        Ssh::from_buffer(text.as_bytes(), None).map_err(|_| bad("cannot be read as an OpenSSH private key"))?;
    let encrypted = || {
        bad("is protected by a passphrase, which is not supported")
            .hint("use an age identity, or a copy without passphrase made by `ssh-keygen -p`")
    };
    match &identity {
        Ssh::Unencrypted(_) => {}
        Ssh::Encrypted(_) => return Err(encrypted()),
        Ssh::Unsupported(UnsupportedKey::EncryptedPem | UnsupportedKey::EncryptedSsh(_)) => return Err(encrypted()),
        Ssh::Unsupported(UnsupportedKey::Hardware(kind) | UnsupportedKey::Type(kind)) => {
            return Err(bad(&format!("is a key of the type {kind}, and only ssh-ed25519 and ssh-rsa are supported")));
        }
    }
    let recipient = Recipient::try_from(identity.clone()).map_err(|_| bad("holds an ssh key that cannot be used"))?;
    Ok(Identity { recipient: recipient.to_string(), identity: Box::new(identity) })
}

/// The canonical text of a signer's public key.
fn signer_text(text: &str) -> Option<String> {
    let mut key = ssh_key::PublicKey::from_openssh(text.trim()).ok()?;
    key.key_data().ed25519()?;
    key.set_comment("");
    key.to_openssh().ok()
}

/// Makes an X25519 identity and writes it to a new file, in the form of `age-keygen`; returns its recipient, `age1…`.
///
/// `signer_public`, `ssh-ed25519 AAAA…`, is put down as a trusted signer.
pub fn generate_identity(path: &Path, signer_public: Option<&str>, created_at: Moment) -> Result<String> {
    let signer = match signer_public {
        Some(text) => {
            let key = signer_text(text).ok_or_else(|| Error::usage("a signer must be an ssh-ed25519 public key"))?;
            format!("# {SIGNER_COMMENT} {key}\n")
        }
        None => String::new(),
    };
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!(
        "# created: {created_at}\n# public key: {recipient}\n{signer}{}\n",
        secret.expose_secret()
    ));
    create_secret_file(path, text.as_bytes())?;
    Ok(recipient)
}

/// The public keys of an identity file or ssh key, without repetitions.
pub fn recipients_of(path: &Path) -> Result<Vec<String>> {
    let keys = Keys::load(&[path.to_owned()])?;
    let mut seen = BTreeSet::new();
    let recipients: Vec<_> = keys.recipients().filter(|r| seen.insert(*r)).map(str::to_owned).collect();
    if recipients.is_empty() {
        return Err(Error::usage(format!("{} holds no identity, so it has no public key", path_text(path))));
    }
    Ok(recipients)
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| Error::failed("the system gives no random numbers").because(e))
}

/// The bytes of a key file, and its mode if it is a regular file: a pipe (`--identity <(…)`) has none of its own.
pub(crate) fn read_file(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Option<u32>)> {
    let file = File::open(path).map_err(|e| {
        let kind = if e.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Error::new(kind, format!("cannot open the key file {}", path_text(path))).because(e)
    })?;
    let meta = file.metadata().at("cannot read the key file", path)?;
    // The capacity is enough for the usual key, so that growing leaves no copies of it behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).at("cannot read the key file", path)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Error::usage(format!("{} is longer than {FILE_MAX} bytes, so it is no key file", path_text(path))));
    }
    Ok((bytes, meta.is_file().then(|| meta.mode())))
}

/// Writes a new file of mode 0600 and syncs it and its folder; folders that are missing are made with mode 0700.
/// Fails with [`Kind::WouldOverwrite`] if there is something already.
pub(crate) fn create_secret_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let (disk, folder) = (Disk::default(), parent(path));
    disk.make_dirs(folder)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| {
        if e.kind() == io::ErrorKind::AlreadyExists {
            Error::new(Kind::WouldOverwrite, format!("{} exists already and is not replaced", path_text(path)))
        } else {
            Error::failed(format!("cannot make {}", path_text(path))).because(e)
        }
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(e) = written {
        // Half a key would be in the way of the next try; if it cannot be removed, the first failure still says why.
        drop(fs::remove_file(path));
        return Err(Error::failed(format!("cannot write {}", path_text(path))).because(e));
    }
    disk.sync_dir(folder)
}

#[cfg(test)]
pub(crate) mod tests;
