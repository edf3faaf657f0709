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
/// Parts of a secret shorter than this are not looked for: they would be found everywhere.
const PART_MIN: usize = 4;

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

/// What must not be shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hidden(Vec<Secret>);

impl Hidden {
    /// Hides the secret as it is, each of its lines, and its form in URLs.
    pub(crate) fn add(&mut self, secret: &Secret) {
        let mut needles = vec![secret.clone()];
        let text = Zeroizing::new(String::from_utf8_lossy(secret.expose()).into_owned());
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| line.len() >= PART_MIN).collect();
        needles.extend(lines.iter().map(|line| Secret::new(*line)));
        needles.extend(lines.iter().map(|line| Secret::new(url_form(line))));
        let new = needles.into_iter().filter(|needle| !needle.expose().is_empty());
        self.0.extend(new);
        // The longest first, so that no part of a secret spoils the search for the whole.
        self.0.sort_by_key(|needle| std::cmp::Reverse(needle.expose().len()));
    }

    /// The text with `***` for what is hidden.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.0.iter().filter_map(Secret::text).fold(text.to_owned(), |text, needle| text.replace(needle, "***"))
    }

    /// Bytes of the longest text that is hidden.
    pub(crate) fn longest(&self) -> usize {
        self.0.first().map_or(0, |needle| needle.expose().len())
    }
}

fn url_form(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
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

    fn hidden(secrets: &[&str]) -> Hidden {
        let mut hidden = Hidden::default();
        secrets.iter().for_each(|secret| hidden.add(&Secret::new(*secret)));
        hidden
    }

    #[test]
    fn secrets_are_taken_out_in_every_form() {
        let hidden = hidden(&["p@ss word", "host:5432:*:user:p@ss word\n", "", "first line\nsecond line"]);
        for text in ["p@ss word", "p%40ss%20word", "first line", "x second line x", "host:5432:*:user:p@ss word"] {
            let shown = hidden.redact(&format!("could not log in: {text}!"));
            assert!(shown.contains("***") && !shown.contains("word") && !shown.contains(" line"), "{shown}");
        }
    }
}
