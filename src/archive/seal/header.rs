//! Headers: where a payload begins and which key it has (FORMAT.md §8).
//!
//! age's header is written and opened by the `age` crate. Its recipients and identities are wrapped here, so that the
//! file key passes through our hands and the payload's chunks can be sealed and opened one by one. The AES header is a
//! line of text with the key's id, then a random salt.
//!
//! Invariant: a header is authenticated, or its payload's key cannot be right; it is never longer than its bounds.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};

use age::secrecy::ExposeSecret;
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::hkdf;
use zeroize::Zeroizing;

use super::stream::Cipher;
use crate::archive::stored::ReadAt;
use crate::error::{Error, Hint, Kind, Result};
use crate::keys::{self, AesKey, Keys};

/// Longest header, in bytes: room for over 300 ssh-rsa or 2 000 X25519 recipients.
const HEADER_MAX: u64 = 256 * 1024;
/// Most lines of a header. `age` parses a header anew for each line, so a hostile one of short lines takes minutes.
const LINES_MAX: usize = 4096;
/// Bytes of the nonce between age's header and its payload.
const NONCE: usize = 16;
/// Bytes of the salt after the line of an AES header.
const SALT: usize = 32;

type Secret = RefCell<Option<Zeroizing<[u8; FILE_KEY_BYTES]>>>;

fn keep(secret: &Secret, key: &FileKey) {
    *secret.borrow_mut() = Some(Zeroizing::new(*key.expose_secret()));
}

fn taken(secret: &Secret) -> Result<Zeroizing<[u8; FILE_KEY_BYTES]>> {
    secret.borrow_mut().take().ok_or_else(|| Error::failed("age did not hand out the file key"))
}

fn age_cipher(file_key: &[u8; FILE_KEY_BYTES], nonce: &[u8]) -> Cipher {
    Cipher::chacha(&Zeroizing::new(hkdf(nonce, b"payload", file_key)))
}

/// A recipient that also keeps the file key it wraps.
struct Tee<'a> {
    inner: &'a dyn age::Recipient,
    secret: &'a Secret,
}

impl age::Recipient for Tee<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        keep(self.secret, file_key);
        self.inner.wrap_file_key(file_key)
    }
}

/// An identity that also keeps the file key it unwraps.
struct Capture<'a> {
    inner: &'a dyn age::Identity,
    secret: &'a Secret,
}

impl age::Identity for Capture<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = self.inner.unwrap_stanzas(stanzas);
        if let Some(Ok(key)) = &unwrapped {
            keep(self.secret, key);
        }
        unwrapped
    }
}

/// A new age header with its nonce, and the cipher of the payload after it.
pub(super) fn new_age<'a>(recipients: impl Iterator<Item = &'a dyn age::Recipient>) -> Result<(Vec<u8>, Cipher)> {
    let secret = Secret::default();
    let tees: Vec<_> = recipients.map(|inner| Tee { inner, secret: &secret }).collect();
    let failed = |e| Error::failed("cannot make an age header").because(e);
    let encryptor = Encryptor::with_recipients(tees.iter().map(|t| t as _)).map_err(failed)?;
    let mut header = Vec::new();
    // Writes the header and the nonce at once; its payload is not wanted.
    drop(encryptor.wrap_output(&mut header).map_err(|e| Error::failed("cannot make an age header").because(e))?);
    let lines = header.iter().filter(|b| **b == b'\n').count();
    if header.len() as u64 > HEADER_MAX + NONCE as u64 || lines > LINES_MAX {
        let (bytes, count) = (header.len(), tees.len());
        return Err(Error::usage(format!("{count} recipients make a header of {bytes} bytes and {lines} lines"))
            .hint(format!("a header holds at most {HEADER_MAX} bytes and {LINES_MAX} lines")));
    }
    let nonce = header.last_chunk::<NONCE>().ok_or_else(|| Error::failed("age wrote no nonce"))?;
    let cipher = age_cipher(&*taken(&secret)?, nonce);
    Ok((header, cipher))
}

/// Reads stored bytes in order.
struct InOrder<'a> {
    stored: &'a dyn ReadAt,
    position: u64,
}

impl Read for InOrder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.stored.size().saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        self.stored.read_exact_at(&mut buffer[..length], self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

/// The bytes of an age header and the nonce after it.
fn age_head(stored: &dyn ReadAt, name: &str) -> Result<Vec<u8>> {
    let mut source = BufReader::with_capacity(4096, InOrder { stored, position: 0 }).take(HEADER_MAX);
    let failed = |e| cannot_read(format!("the header of {name}"), e);
    let mut head = Vec::new();
    for _ in 0..LINES_MAX {
        let line = head.len();
        source.read_until(b'\n', &mut head).map_err(failed)?;
        if !head.starts_with(b"age-encryption.org/v1\n") {
            return Err(Error::damage(format!("{name} does not begin like a file sealed with age")));
        }
        if !head.ends_with(b"\n") {
            break;
        }
        if head[line..].starts_with(b"---") {
            let length = head.len() + NONCE;
            source.into_inner().take(NONCE as u64).read_to_end(&mut head).map_err(failed)?;
            if head.len() < length {
                break;
            }
            return Ok(head);
        }
    }
    Err(Error::damage(format!("the header of {name} is cut, or longer than {HEADER_MAX} bytes or {LINES_MAX} lines")))
}

/// Opens an age header; returns where the payload begins and its cipher. `recipients` are those of the manifest.
pub(super) fn open_age(stored: &dyn ReadAt, recipients: &[String], keys: &Keys, name: &str) -> Result<(u64, Cipher)> {
    if !keys.has_identities() {
        return Err(Error::new(Kind::NoKey, format!("{name} is sealed with age and no identity was given"))
            .hint(Hint::GiveIdentity));
    }
    let head = age_head(stored, name)?;
    let secret = Secret::default();
    let captures: Vec<_> = keys.identities().map(|inner| Capture { inner, secret: &secret }).collect();
    // `decrypt` checks the header's MAC with the file key.
    let opened = Decryptor::new_buffered(&head[..]).and_then(|d| d.decrypt(captures.iter().map(|c| c as _)).map(drop));
    opened.map_err(|e| match e {
        // Without the file key nothing in a header can be checked, but the manifest says who must be able to open it.
        DecryptError::NoMatchingKeys if recipients.iter().any(|r| keys.holds_recipient(r)) => {
            Error::damage(format!("the header of {name} is damaged: it does not open for a recipient in the manifest"))
        }
        DecryptError::NoMatchingKeys => {
            Error::new(Kind::WrongKey, format!("none of the {} given identities opens {name}", captures.len()))
                .hint(format!("it is sealed to {}", recipients.join(", ")))
        }
        e => Error::damage(format!("the header of {name} is damaged")).because(e),
    })?;
    let nonce = head.last_chunk::<NONCE>().ok_or_else(|| Error::failed("age read no nonce"))?;
    let cipher = age_cipher(&*taken(&secret)?, nonce);
    Ok((head.len() as u64, cipher))
}

fn aes_line(key_id: &str) -> String {
    format!("ccbackup-aes-256-gcm v1 {key_id}\n")
}

fn aes_cipher(key: &AesKey, salt: &[u8]) -> Cipher {
    Cipher::aes(&Zeroizing::new(hkdf(salt, b"ccbackup payload", key.bytes())))
}

/// A new AES header, and the cipher of the payload after it.
pub(super) fn new_aes(key: &AesKey) -> Result<(Vec<u8>, Cipher)> {
    let mut salt = [0; SALT];
    keys::random(&mut salt)?;
    let mut header = aes_line(&key.id()).into_bytes();
    header.extend_from_slice(&salt);
    Ok((header, aes_cipher(key, &salt)))
}

/// Opens an AES header; returns where the payload begins and its cipher. `key_id` is that of the manifest.
pub(super) fn open_aes(stored: &dyn ReadAt, key_id: &str, keys: &Keys, name: &str) -> Result<(u64, Cipher)> {
    let Some(key) = keys.aes_key(key_id) else {
        let (kind, why) = if keys.has_aes_keys() {
            (Kind::WrongKey, ", which is not among the given")
        } else {
            (Kind::NoKey, " and no AES key was given")
        };
        let message = format!("{name} is sealed with the AES key {key_id}{why}");
        return Err(Error::new(kind, message).hint(Hint::GiveAesKey));
    };
    let line = aes_line(key_id);
    let start = (line.len() + SALT) as u64;
    if stored.size() < start {
        return Err(Error::damage(format!("{name} is cut within its header")));
    }
    let mut header = vec![0; line.len() + SALT];
    read(stored, &mut header, 0, name)?;
    let (text, salt) = header.split_at(line.len());
    if text != line.as_bytes() {
        let fault = format!("the header of {name} does not say that it is sealed with the key {key_id}");
        return Err(Error::damage(fault));
    }
    Ok((start, aes_cipher(key, salt)))
}

/// Reads stored bytes; a file that got shorter since it was opened is damage.
pub(super) fn read(stored: &dyn ReadAt, buffer: &mut [u8], offset: u64, name: &str) -> Result<()> {
    stored.read_exact_at(buffer, offset).map_err(|e| {
        let end = offset.saturating_add(buffer.len() as u64);
        cannot_read(format!("bytes {offset} to {end} of {name}"), e)
    })
}

fn cannot_read(what: String, cause: io::Error) -> Error {
    let kind = if cause.kind() == io::ErrorKind::UnexpectedEof { Kind::Damage } else { Kind::Unreadable };
    Error::new(kind, format!("cannot read {what}")).because(cause)
}
