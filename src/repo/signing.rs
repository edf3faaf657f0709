//! Signatures: OpenSSH Ed25519 keys and SSHSIG in the namespace `ccbackup` (FORMAT.md §10).
//!
//! `SHA256SUMS.sig` is made here and checks with `ssh-keygen -Y verify` alone. Whom to trust is pinned outside the
//! repository; the `allowed_signers` file inside it is a copy for people.
//!
//! Invariant: [`verify`] says yes only to a signature of this namespace by one of the keys it was given.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::keys;

/// Namespace of every signature, and the principal in `allowed_signers`.
pub const NAMESPACE: &str = "ccbackup";
/// Longest signature file, in bytes.
const SIGNATURE_MAX: usize = 64 * 1024;

/// A host's signing key.
#[derive(Clone)]
pub struct Signer(PrivateKey);

impl Signer {
    /// Makes a key and writes it to a new file in OpenSSH's format, mode 0600, without passphrase.
    pub fn generate(path: &Path) -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        keys::random(&mut *seed)?;
        let failed = |e| Error::failed("cannot make a signing key").because(e);
        let key = PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), NAMESPACE).map_err(failed)?;
        keys::create_secret_file(path, key.to_openssh(LineEnding::LF).map_err(failed)?.as_bytes())?;
        Ok(Self(key))
    }

    /// Reads an Ed25519 key in OpenSSH's format, without passphrase; others fail with [`Kind::Usage`].
    pub fn load(path: &Path) -> Result<Self> {
        let (bytes, _) = keys::read_file(path)?;
        let bad = |why: &str| Error::usage(format!("the signing key {} {why}", path.display()));
        let key = PrivateKey::from_openssh(&*bytes)
            .map_err(|e| bad("cannot be read as an OpenSSH private key").because(e))?;
        if key.is_encrypted() {
            return Err(bad("is protected by a passphrase, which is not supported")
                .hint("a signing key must work without a person; `ssh-keygen -p` removes the passphrase"));
        }
        if key.key_data().ed25519().is_none() {
            return Err(bad(&format!("has the type {}, and only ssh-ed25519 is supported", key.algorithm())));
        }
        Ok(Self(key))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> SignerKey {
        // `generate` and `load` make only Ed25519 keys; an all-zero key would verify nothing.
        SignerKey(self.0.public_key().key_data().ed25519().copied().unwrap_or(Ed25519PublicKey([0; 32])))
    }

    /// Signs `message`; returns the armored SSHSIG, hash SHA-512.
    pub fn sign(&self, message: &[u8]) -> Result<String> {
        self.0
            .sign(NAMESPACE, HashAlg::Sha512, message)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|e| Error::failed("cannot sign").because(e))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public().fingerprint()).finish()
    }
}

/// A signer's public key; written as `ssh-ed25519 AAAA…`, without a comment.
#[derive(Clone, PartialEq, Eq)]
pub struct SignerKey(Ed25519PublicKey);

impl SignerKey {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        KeyData::Ed25519(self.0).fingerprint(HashAlg::Sha256).to_string()
    }
}

impl FromStr for SignerKey {
    type Err = Error;

    /// Accepts a comment after the key.
    fn from_str(text: &str) -> Result<Self> {
        let key = PublicKey::from_openssh(text.trim())
            .map_err(|e| Error::usage("a signer must be a public key like `ssh-ed25519 AAAA…`").because(e))?;
        match key.key_data().ed25519() {
            Some(key) => Ok(Self(*key)),
            None => Err(Error::usage(format!(
                "a signer must be an ssh-ed25519 key, and this is of the type {}",
                key.algorithm()
            ))),
        }
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&PublicKey::from(self.0).to_openssh().map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignerKey").field(&self.fingerprint()).finish()
    }
}

/// The text of an `allowed_signers` file for `ssh-keygen -Y verify -I ccbackup -n ccbackup`.
#[must_use]
pub fn allowed_signers(keys: &[SignerKey]) -> String {
    keys.iter().map(|key| format!("{NAMESPACE} namespaces=\"{NAMESPACE}\" {key}\n")).collect()
}

/// Checks an armored SSHSIG of `message` and returns who of `trusted` made it.
///
/// Fails with [`Kind::Damage`] if the signature is garbled, wrong or of another namespace, [`Kind::WrongSigner`] if it
/// is right but made by a key that is not trusted, and [`Kind::Unsigned`] if it is right and `trusted` is empty.
pub fn verify(message: &[u8], signature_pem: &str, trusted: &[SignerKey]) -> Result<SignerKey> {
    if signature_pem.len() > SIGNATURE_MAX {
        return Err(Error::damage(format!("the signature is longer than {SIGNATURE_MAX} bytes")));
    }
    let signature = SshSig::from_pem(signature_pem)
        .map_err(|e| Error::damage("the signature cannot be read as an OpenSSH signature").because(e))?;
    // The decoder forgives lengths, versions and line ends that OpenSSH does not write. No digest covers this file, so
    // there is one right form, to the byte.
    let canonical = signature.to_pem(LineEnding::LF).is_ok_and(|pem| pem == signature_pem);
    if !canonical || signature.version() != SshSig::VERSION {
        return Err(Error::damage("the signature is not in the form in which OpenSSH writes it"));
    }
    if signature.namespace() != NAMESPACE {
        let namespace: String = signature.namespace().chars().take(100).collect();
        return Err(Error::damage(format!("the signature has the namespace {namespace:?}, expected {NAMESPACE:?}")));
    }
    let Some(key) = signature.public_key().ed25519() else {
        return Err(Error::damage(format!(
            "the signature is of the type {}, and only ssh-ed25519 is accepted",
            signature.algorithm()
        )));
    };
    PublicKey::from(*key)
        .verify(NAMESPACE, message, &signature)
        .map_err(|e| Error::damage("the signature does not fit what it should sign").because(e))?;
    let signer = SignerKey(*key);
    if trusted.contains(&signer) {
        return Ok(signer);
    }
    let by = signer.fingerprint();
    if trusted.is_empty() {
        return Err(Error::new(Kind::Unsigned, format!("the signature is by {by}, and no trusted signer is known")));
    }
    let trusted: Vec<_> = trusted.iter().map(SignerKey::fingerprint).collect();
    Err(Error::new(Kind::WrongSigner, format!("the signature is by {by}, and trusted is {}", trusted.join(" or "))))
}

#[cfg(test)]
mod tests;
