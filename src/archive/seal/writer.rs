//! Writes sealed files (FORMAT.md §8).
//!
//! Plaintext is copied once, into the block that is written; chunks are encrypted there, in the caller's thread. A full
//! chunk is held back until more bytes or the end come, since only the last chunk carries the flag.
//!
//! Invariant: what was written is a whole sealed file only after [`SealWriter::finish`]; after a failed write nothing
//! more is written.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use super::header;
use super::stream::{CHUNK, Cipher, SEALED_CHUNK};
use crate::error::{Context, Error, Result};
use crate::keys::AesKey;
use crate::model::Sealing;

/// Bytes that are collected before they are written.
const BLOCK: usize = 16 * SEALED_CHUNK;

/// How files are sealed; cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Sealer(Arc<Seal>);

type BoxedRecipient = Box<dyn age::Recipient + Send + Sync>;

enum Seal {
    Age { names: Vec<String>, recipients: Vec<BoxedRecipient> },
    Aes(AesKey),
    None,
}

impl Sealer {
    /// age, to all of `recipients`: `age1…`, `ssh-ed25519 …` or `ssh-rsa …` (a comment after it is dropped). They are
    /// sorted and repeated ones dropped. Fails with [`crate::Kind::Usage`] if there is none, or one is not valid.
    pub fn age(recipients: &[String]) -> Result<Self> {
        let mut parsed = recipients.iter().map(|r| parse_recipient(r.trim())).collect::<Result<Vec<_>>>()?;
        if parsed.is_empty() {
            return Err(Error::usage("sealing with age needs at least one recipient"));
        }
        parsed.sort_by(|a, b| a.0.cmp(&b.0));
        parsed.dedup_by(|a, b| a.0 == b.0);
        let (names, recipients) = parsed.into_iter().unzip();
        Ok(Self(Arc::new(Seal::Age { names, recipients })))
    }

    /// AES-256-GCM with a raw key.
    #[must_use]
    pub fn aes(key: &AesKey) -> Self {
        Self(Arc::new(Seal::Aes(key.clone())))
    }

    /// No encryption.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Seal::None))
    }

    /// What the manifest says about it.
    #[must_use]
    pub fn sealing(&self) -> Sealing {
        match &*self.0 {
            Seal::Age { names, .. } => Sealing::Age { recipients: names.clone() },
            Seal::Aes(key) => Sealing::Aes256Gcm { key_id: key.id() },
            Seal::None => Sealing::None,
        }
    }

    /// Begins a sealed file with a key of its own. Writes nothing yet.
    pub fn start<W: Write>(&self, out: W) -> Result<SealWriter<W>> {
        let (header, cipher) = match &*self.0 {
            Seal::Age { recipients, .. } => {
                header::new_age(recipients.iter().map(|r| &**r as _)).map(|(h, c)| (h, Some(c)))?
            }
            Seal::Aes(key) => header::new_aes(key).map(|(h, c)| (h, Some(c)))?,
            Seal::None => (Vec::new(), None),
        };
        let mut buffer = Vec::with_capacity(header.len() + BLOCK + SEALED_CHUNK);
        buffer.extend_from_slice(&header);
        Ok(SealWriter { out, cipher, ready: buffer.len(), buffer, number: 0, failed: false })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").field(&self.sealing()).finish()
    }
}

/// The canonical text of a recipient and the recipient.
fn parse_recipient(text: &str) -> Result<(String, BoxedRecipient)> {
    // Whoever gives a secret key by mistake must not find it in a log.
    if text.get(..14).is_some_and(|t| t.eq_ignore_ascii_case("AGE-SECRET-KEY")) || text.contains("PRIVATE KEY") {
        return Err(Error::usage("a recipient must be a public key, and a secret key was given")
            .hint("age-keygen -y prints the public key of an identity file"));
    }
    let shown: String = text.chars().take(100).collect();
    let bad = |why: &str| Error::usage(format!("{shown:?} is not a recipient: {why}"));
    if text.starts_with("ssh-") {
        use age::ssh::ParseRecipientKeyError as E;
        let recipient: age::ssh::Recipient = text.parse().map_err(|e| match e {
            E::RsaModulusTooLarge => bad("the RSA key is too long"),
            E::RsaModulusTooSmall => bad("RSA keys must have 2048 bits or more"),
            _ => bad("it is not an OpenSSH public key"),
        })?;
        Ok((recipient.to_string(), Box::new(recipient)))
    } else if text.starts_with("age1") || text.starts_with("AGE1") {
        let recipient: age::x25519::Recipient = text.parse().map_err(bad)?;
        Ok((recipient.to_string(), Box::new(recipient)))
    } else {
        Err(bad("expected age1…, ssh-ed25519 … or ssh-rsa …"))
    }
}

/// Seals what is written to it. Call [`SealWriter::finish`], else the file is cut.
#[must_use = "a sealed file is whole only after finish()"]
pub struct SealWriter<W> {
    out: W,
    cipher: Option<Cipher>,
    /// Bytes ready to be written, then, with a cipher, the plaintext of the chunk that is still open.
    buffer: Vec<u8>,
    /// How many bytes of `buffer` are ready; everything without a cipher.
    ready: usize,
    /// Number of the open chunk.
    number: u64,
    /// A write failed halfway, so what follows would not fit.
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    /// Seals and writes the rest, flushes and returns the inner writer (nothing is synced).
    pub fn finish(mut self) -> Result<W> {
        self.seal_chunk(true).and_then(|()| self.flush()).doing("cannot write a sealed file")?;
        Ok(self.out)
    }

    fn seal_chunk(&mut self, last: bool) -> io::Result<()> {
        if let Some(cipher) = &self.cipher {
            let tag = cipher
                .seal(self.number, last, &mut self.buffer[self.ready..])
                .map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
            self.buffer.extend_from_slice(&tag);
            self.number += 1;
        }
        self.ready = self.buffer.len();
        Ok(())
    }

    fn write_out(&mut self, ready: usize) -> io::Result<()> {
        self.guarded(|w| w.out.write_all(&w.buffer[..ready]))?;
        self.buffer.drain(..ready);
        self.ready -= ready;
        Ok(())
    }

    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        self.failed = true;
        write(self)?;
        self.failed = false;
        Ok(())
    }

    fn write_plain(&mut self, data: &[u8]) -> io::Result<()> {
        if self.buffer.len() + data.len() > BLOCK {
            self.write_out(self.buffer.len())?;
        }
        if data.len() >= BLOCK {
            return self.guarded(|w| w.out.write_all(data));
        }
        self.buffer.extend_from_slice(data);
        self.ready = self.buffer.len();
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        if self.cipher.is_none() {
            return self.write_plain(data).map(|()| data.len());
        }
        let mut rest = data;
        while !rest.is_empty() {
            let open = self.buffer.len() - self.ready;
            if open == CHUNK {
                self.seal_chunk(false)?;
                if self.ready >= BLOCK {
                    self.write_out(self.ready)?;
                }
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(CHUNK - open));
            self.buffer.extend_from_slice(now);
            rest = later;
        }
        Ok(data.len())
    }

    /// Writes what is sealed; the open chunk stays.
    fn flush(&mut self) -> io::Result<()> {
        self.write_out(self.ready)?;
        self.out.flush()
    }
}

impl<W> fmt::Debug for SealWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealWriter").field("chunk", &self.number).field("failed", &self.failed).finish_non_exhaustive()
    }
}
