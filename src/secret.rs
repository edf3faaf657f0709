//! Secrets and where they are kept: never in the configuration, always by a reference to a file, a variable, a Vault or a
//! program.
//!
//! Invariant: a [`Secret`] prints as `***`, is wiped when its last holder drops it, and its bytes are copied only by who
//! asks for them. `credential` gets the secret of a [`SecretRef`] at the moment of use.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Largest secret, in bytes.
pub const SECRET_MAX: usize = 64 * 1024;

/// Bytes that nobody may see. A copy shares them.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.into())))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text; none when they are not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// A secret that is made of others, such as a line of a password file.
    #[must_use]
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a [u8]> + Clone) -> Self {
        // Room for all at once: a vector that grows leaves copies behind.
        let mut bytes = Vec::with_capacity(parts.clone().into_iter().map(<[u8]>::len).sum());
        parts.into_iter().for_each(|part| bytes.extend_from_slice(part));
        Self::new(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is kept; what stands in the configuration instead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `{ file = "…" }`: a file that others cannot read.
    File(PathBuf),
    /// `{ env = "…" }`: a variable of the environment.
    Env(String),
    /// `{ vault = "secret/data/name#field" }`: a field of a secret of a Vault server.
    Vault {
        /// The path below `/v1/`, with the `data/` of the key-value engine's second version.
        path: String,
        /// The field.
        field: String,
    },
    /// `{ command = ["…"] }`: what a program prints.
    Command(Vec<String>),
}

impl SecretRef {
    /// Names of the keys, one of which makes a reference.
    pub const KEYS: [&'static str; 4] = ["file", "env", "vault", "command"];

    /// Reads `secret/data/name#field`; none when it is not of that form.
    #[must_use]
    pub fn vault(text: &str) -> Option<Self> {
        let (path, field) = text.rsplit_once('#')?;
        let path = path.trim_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        // Nothing that a URL would give another meaning.
        let good =
            !path.is_empty() && path.chars().all(plain) && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        (good && !field.is_empty()).then(|| Self::Vault { path: path.to_owned(), field: field.to_owned() })
    }
}

/// Says where, never what.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", crate::error::path_text(path)),
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::Vault { path, field } => write!(f, "the field {field} of {path} in the vault"),
            Self::Command(argv) => write!(f, "the program {}", argv.first().map_or("", String::as_str)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!((secret.expose(), secret.text()), (&b"hunter2"[..], Some("hunter2")));
        assert_eq!(Secret::join([&b"user:"[..], secret.expose()]).text(), Some("user:hunter2"));
        assert_eq!(Secret::new([0xff]).text(), None);
    }

    #[test]
    fn a_vault_path_names_a_field_and_means_the_same_in_a_url() {
        let good = SecretRef::vault("/secret/data/ccbackup#grafana").unwrap();
        assert_eq!(good, SecretRef::Vault { path: "secret/data/ccbackup".into(), field: "grafana".into() });
        for bad in ["", "#", "secret/data/x", "#f", "x#", "a/../b#f", "a//b#f", "a?b#f", "a%2fb#f", "a b#f", "a#b#f"] {
            assert_eq!(SecretRef::vault(bad), None, "{bad}");
        }
    }
}
