//! What kept an entry from being captured, or from coming back, whole.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something about one entry. A problem is a value: it travels to the index, the manifest, the output and the exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which sort.
    pub kind: ProblemKind,
    /// Escaped path inside the component; what a restore says has the component before it.
    pub path: String,
    /// What happened, for people.
    pub detail: String,
}

/// Sorts of problems (FORMAT.md §7, OUTPUT.md). Ordered by their words, as manifests list them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ProblemKind {
    /// It, or a part of it, could not be read.
    Unreadable,
    /// It was found, and gone or replaced when its turn came.
    Vanished,
    /// It was written to or replaced while it was read.
    Changed,
    /// The format, or the program, cannot hold it.
    Unsupported,
    /// The component as a whole is not what is expected of it: empty, too small, shrunken, or too old.
    Unexpected,
    /// A service gave less than there is, or did not let us see everything.
    Incomplete,
    /// A person has to do something about it.
    Manual,
    /// Its path is longer than the format allows.
    TooLong,
    /// A rule of the user left it out. It is wanted, so it does not count as a problem.
    LeftOut,
    /// It came back without some of its metadata.
    Metadata,
    /// It came back as it was stored, and was not read cleanly then.
    Unsettled,
    /// The file system of the destination cannot hold it.
    NotRestored,
    /// Nothing was removed there, because nobody knows what belongs to the backup.
    NotRemoved,
    /// A word that only a newer program knows.
    Other(Box<str>),
}

/// All that this program knows, with their words.
const WORDS: [(ProblemKind, &str); 13] = [
    (ProblemKind::Unreadable, "unreadable"),
    (ProblemKind::Vanished, "vanished"),
    (ProblemKind::Changed, "changed"),
    (ProblemKind::Unsupported, "unsupported"),
    (ProblemKind::Unexpected, "unexpected"),
    (ProblemKind::Incomplete, "incomplete"),
    (ProblemKind::Manual, "manual"),
    (ProblemKind::TooLong, "too-long"),
    (ProblemKind::LeftOut, "left-out"),
    (ProblemKind::Metadata, "metadata"),
    (ProblemKind::Unsettled, "unsettled"),
    (ProblemKind::NotRestored, "not-restored"),
    (ProblemKind::NotRemoved, "not-removed"),
];

impl ProblemKind {
    /// The word in documents and indexes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(word) => word,
            known => {
                let same = |kind: &Self| std::mem::discriminant(kind) == std::mem::discriminant(known);
                WORDS.iter().find(|(kind, _)| same(kind)).map_or("", |(_, word)| word)
            }
        }
    }
}

impl From<&str> for ProblemKind {
    fn from(word: &str) -> Self {
        let known = WORDS.iter().find(|(_, known)| *known == word);
        known.map_or_else(|| Self::Other(word.into()), |(kind, _)| kind.clone())
    }
}

impl From<String> for ProblemKind {
    fn from(word: String) -> Self {
        word.as_str().into()
    }
}

impl From<ProblemKind> for String {
    fn from(kind: ProblemKind) -> Self {
        kind.as_str().to_owned()
    }
}

/// Two are equal when their words are, however they were made.
impl PartialEq for ProblemKind {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ProblemKind {}

impl std::hash::Hash for ProblemKind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for ProblemKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ProblemKind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
