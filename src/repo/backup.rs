//! One backup folder, opened with its signature checked: the only way to a manifest that may be believed.

use std::collections::BTreeMap;

pub use super::layout::{MANIFEST_FILE, SIGNATURE_FILE, SUMS_FILE};
use super::repository::Repository;
use super::signing::{self, SignerKey};
use crate::error::{Error, Hint, Kind, Result};
use crate::model::{BackupId, Digest, Manifest};

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Signers pinned outside the repository.
    pub signers: Vec<SignerKey>,
    /// Go on without a trusted signature.
    pub allow_unsigned: bool,
}

impl Trust {
    /// Believes one more.
    pub fn add(&mut self, signer: SignerKey) {
        if !self.signers.contains(&signer) {
            self.signers.push(signer);
        }
    }
}

/// A backup whose manifest belongs to its signature (or whose signature was waived).
#[derive(Clone, Debug)]
pub struct Backup {
    /// The manifest.
    pub manifest: Manifest,
    /// What SHA256SUMS lists.
    pub sums: BTreeMap<String, Digest>,
    /// Digest of SHA256SUMS, by which others refer to this backup.
    pub sums_sha256: Digest,
    /// Who signed; none when that was waived.
    pub signer: Option<SignerKey>,
}

impl Backup {
    /// Opens a backup and checks signature, digest of the manifest, and that it belongs to this folder and repository.
    pub fn open(repo: &Repository, id: &BackupId, trust: &Trust) -> Result<Self> {
        Self::open_checked(repo, id, trust).map_err(|e| e.within(format!("cannot use backup {id}")))
    }

    fn open_checked(repo: &Repository, id: &BackupId, trust: &Trust) -> Result<Self> {
        let sums_bytes = repo.require_object(id, SUMS_FILE).and_then(|()| repo.sums(id))?;
        let signer = check_signature(repo, id, &sums_bytes, trust)?;
        let sums = parse_sums(&sums_bytes)?;
        let manifest_bytes = repo.require_object(id, MANIFEST_FILE).and_then(|()| repo.manifest_bytes(id))?;
        if sums.get(MANIFEST_FILE) != Some(&Digest::of(&manifest_bytes)) {
            return Err(Error::damage("manifest.json does not match SHA256SUMS"));
        }
        let manifest = Manifest::parse(&manifest_bytes)?;
        if manifest.id != *id {
            return Err(Error::damage(format!("the folder {id} holds the backup {}", manifest.id)));
        }
        if repo.fault().is_none() && manifest.repository_id != repo.record().repository_id {
            return Err(Error::damage(format!(
                "it belongs to repository {}, this is {}",
                manifest.repository_id,
                repo.record().repository_id
            )));
        }
        Ok(Self { manifest, sums, sums_sha256: Digest::of(&sums_bytes), signer })
    }
}

fn check_signature(repo: &Repository, id: &BackupId, sums: &[u8], trust: &Trust) -> Result<Option<SignerKey>> {
    if let Err(missing) = repo.require_object(id, SIGNATURE_FILE) {
        if trust.allow_unsigned {
            return Ok(None);
        }
        return Err(Error::new(Kind::Unsigned, format!("it is not signed: {missing}")).hint(Hint::AllowUnsigned));
    }
    let signature = String::from_utf8(repo.signature(id)?)
        .map_err(|_| Error::damage(format!("{} is not a signature", repo.object_text(id, SIGNATURE_FILE))))?;
    if trust.signers.is_empty() && !trust.allow_unsigned {
        return Err(Error::new(Kind::Unsigned, "no trusted signer is known here to check its signature against")
            .hint(Hint::NameSigner));
    }
    match signing::verify(sums, &signature, &trust.signers) {
        Ok(signer) => Ok(Some(signer)),
        Err(e) if matches!(e.kind(), Kind::WrongSigner | Kind::Unsigned) && trust.allow_unsigned => Ok(None),
        Err(e) if e.kind() == Kind::WrongSigner => Err(e.hint(Hint::AllowUnsigned)),
        Err(e) => Err(e.within(format!("the signature of {SUMS_FILE} does not hold"))),
    }
}

/// Reads `sha256sum`'s format strictly: sorted plain names, no duplicates, nothing else.
pub fn parse_sums(bytes: &[u8]) -> Result<BTreeMap<String, Digest>> {
    let bad = |line: usize| Error::damage(format!("line {} of {SUMS_FILE} is not `<digest>  <file name>`", line + 1));
    let text = std::str::from_utf8(bytes).map_err(|_| Error::damage(format!("{SUMS_FILE} is not text")))?;
    if !text.ends_with('\n') {
        return Err(Error::damage(format!("{SUMS_FILE} does not end with a newline")));
    }
    let mut sums = BTreeMap::new();
    // Not `lines()`: `sha256sum` takes a carriage return for a part of the name.
    for (number, line) in text.split_terminator('\n').enumerate() {
        let (digest, name) = line.split_once("  ").ok_or_else(|| bad(number))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(bad(number));
        }
        if sums.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
            return Err(Error::damage(format!("{SUMS_FILE} lists {name} twice or out of order")));
        }
        sums.insert(name.to_owned(), digest.parse().map_err(|_| bad(number))?);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_in_exactly_one_form() {
        let digest = Digest::of(b"");
        let line = |name: &str| format!("{digest}  {name}\n");
        let read = parse_sums((line("a") + &line("b.zst")).as_bytes()).expect("the form that is written");
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a", "b.zst"]);
        for bad in [
            line("b") + &line("a"),
            line("a") + &line("a"),
            line("a\r"),
            line("a") + "\n",
            line("a").trim_end().to_owned(),
            line(".."),
            line("a/b"),
            format!("{digest} *a\n"),
            line("a").to_uppercase(),
        ] {
            assert!(parse_sums(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
