//! Judges a collection by the files of its folder.
//!
//! contextd's own check calls a collection healthy as soon as its metadata file exists, and passes over compressed
//! stores. Here every file is decoded: healthy is only what chromem-go would load with all its documents.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{Document, Metadata, Unreadable};
use crate::model::{Digest, Hasher};

/// The name, without its ending, of the file that holds a collection's metadata.
const METADATA_STEM: &[u8] = b"00000000";
/// The folder into which contextd moves collections that it could not load.
pub const QUARANTINE: &[u8] = b".quarantine";

/// What a file in the folder of a collection is, by its name alone, as chromem-go sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `00000000.gob`, or `.gob.gz` in a compressed store.
    Metadata {
        /// Whether it belongs to a compressed store.
        compressed: bool,
    },
    /// Any other `.gob` or `.gob.gz`.
    Document {
        /// Whether it belongs to a compressed store.
        compressed: bool,
    },
    /// What chromem-go does not look at.
    Other,
}

impl Role {
    /// By the file's name.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let (stem, compressed) = match (name.strip_suffix(b".gob"), name.strip_suffix(b".gob.gz")) {
            (Some(stem), _) => (stem, false),
            (_, Some(stem)) => (stem, true),
            _ => return Self::Other,
        };
        if stem == METADATA_STEM { Self::Metadata { compressed } } else { Self::Document { compressed } }
    }
}

/// What is known of one file after its bytes were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFacts {
    /// The metadata of a collection.
    Metadata {
        /// Whether it belongs to a compressed store.
        compressed: bool,
        /// Name and digest of what it says.
        read: Result<(Vec<u8>, Digest), Unreadable>,
    },
    /// A document.
    Document {
        /// Whether it belongs to a compressed store.
        compressed: bool,
        /// What it holds.
        read: Result<DocumentFacts, Unreadable>,
    },
    /// What chromem-go does not look at.
    Other,
}

/// What is remembered of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentFacts {
    /// Numbers in its vector.
    pub dimensions: usize,
    /// Digest of all it says.
    pub digest: Digest,
    /// Digest of its id and its vector.
    pub embedding: Digest,
    /// Whether its file has the name that chromem-go gives to this id. If not, a change of the document would be
    /// written to another file and this one stay as it is.
    pub well_named: bool,
}

impl FileFacts {
    /// Judges a file; `bytes` are all it holds, or why nobody has them.
    #[must_use]
    pub fn of(name: &[u8], bytes: Result<&[u8], Unreadable>) -> Self {
        match Role::of(name) {
            Role::Metadata { compressed } => {
                let read = bytes.and_then(Metadata::decode).map(|m| (m.name.clone(), m.digest()));
                Self::Metadata { compressed, read }
            }
            Role::Document { compressed } => {
                let read = bytes.and_then(Document::decode).map(|document| DocumentFacts::of(name, &document));
                Self::Document { compressed, read }
            }
            Role::Other => Self::Other,
        }
    }

    /// Why it could not be read, if it could not.
    #[must_use]
    pub fn fault(&self) -> Option<Unreadable> {
        match self {
            Self::Metadata { read, .. } => read.as_ref().err().copied(),
            Self::Document { read, .. } => read.as_ref().err().copied(),
            Self::Other => None,
        }
    }
}

impl DocumentFacts {
    fn of(file: &[u8], document: &Document) -> Self {
        let mut embedding = Hasher::default();
        embedding.update(&(document.id.len() as u64).to_le_bytes());
        embedding.update(&document.id);
        document.embedding.iter().for_each(|number| embedding.update(&number.to_le_bytes()));
        Self {
            dimensions: document.embedding.len(),
            digest: document.digest(),
            embedding: embedding.finish(),
            well_named: file.split(|b| *b == b'.').next() == Some(hash_of_name(&document.id).as_bytes()),
        }
    }
}

/// How a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// chromem-go loads it with all its documents.
    Healthy,
    /// With it in its place chromem-go loads nothing at all.
    Corrupt,
    /// A folder without metadata and without documents.
    Empty,
    /// contextd has put it aside; whatever it holds, it is not in use.
    Quarantined,
}

impl Health {
    /// A stable name for documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Corrupt => "corrupt",
            Self::Empty => "empty",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Why chromem-go would not load a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There are documents and no metadata.
    MissingMetadata,
    /// The metadata cannot be read.
    Metadata(Unreadable),
    /// The metadata has no name, which chromem-go takes for no metadata.
    Unnamed,
    /// Documents cannot be read; their number.
    Documents(u64),
    /// Files of a compressed and of a plain store lie together, so that some are not looked at; their number.
    Mixed(u64),
}

impl Reason {
    /// A stable name for documents.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MissingMetadata => "missing-metadata",
            Self::Metadata(_) => "unreadable-metadata",
            Self::Unnamed => "unnamed",
            Self::Documents(_) => "unreadable-documents",
            Self::Mixed(_) => "mixed-compression",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingMetadata => f.write_str("its metadata file is missing"),
            Self::Metadata(why) => write!(f, "its metadata file cannot be read: {why}"),
            Self::Unnamed => f.write_str("its metadata has no name"),
            Self::Documents(1) => f.write_str("1 document cannot be read"),
            Self::Documents(n) => write!(f, "{n} documents cannot be read"),
            Self::Mixed(n) => write!(f, "{n} of its files are compressed in another way than its metadata"),
        }
    }
}

/// A collection as its files show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Its folder below the store.
    pub folder: Vec<u8>,
    /// Its name; none where nobody can read it.
    pub name: Option<Vec<u8>>,
    /// How it is.
    pub health: Health,
    /// Why it cannot be loaded; also of one in quarantine.
    pub reasons: Vec<Reason>,
    /// Whether it belongs to a compressed store.
    pub compressed: bool,
    /// Documents that can be read.
    pub documents: u64,
    /// Files that cannot be read, by name.
    pub unreadable: Vec<(Vec<u8>, Unreadable)>,
    /// How many documents have how many dimensions.
    pub dimensions: BTreeMap<usize, u64>,
    /// Documents whose file has another name than their id asks for.
    pub misnamed: u64,
    /// Digest of all that metadata and documents say, whatever their order and the order of their maps.
    pub digest: Digest,
    /// Digest of ids and vectors alone.
    pub embeddings: Digest,
}

impl Collection {
    /// Judges the folder by its files, each with its name and what is known of it.
    pub fn judge<'f>(folder: &[u8], files: impl IntoIterator<Item = (&'f [u8], &'f FileFacts)>) -> Self {
        let (mut metadata, mut documents) = ([None, None], Vec::new());
        let mut unreadable = Vec::new();
        let mut known = Vec::new();
        for (name, facts) in files {
            if let Some(why) = facts.fault() {
                unreadable.push((name.to_vec(), why));
            }
            match facts {
                FileFacts::Metadata { compressed, read } => metadata[usize::from(*compressed)] = Some(read),
                FileFacts::Document { compressed, read } => documents.push((*compressed, read)),
                FileFacts::Other => {}
            }
            if let FileFacts::Document { read: Ok(facts), .. } = facts {
                known.push(*facts);
            }
        }
        unreadable.sort();
        let any_compressed = documents.iter().any(|(compressed, _)| *compressed);
        let any_plain = documents.iter().any(|(compressed, _)| !*compressed);
        // chromem-go looks at one sort only; which one, its metadata says, or else its documents.
        let compressed = match metadata {
            [None, Some(_)] => true,
            [None, None] => any_compressed && !any_plain,
            [Some(_), _] => false,
        };
        let mut reasons = Vec::new();
        let mut name = None;
        match metadata[usize::from(compressed)] {
            None if documents.is_empty() => {}
            None => reasons.push(Reason::MissingMetadata),
            Some(Err(why)) => reasons.push(Reason::Metadata(*why)),
            Some(Ok((text, _))) if text.is_empty() => reasons.push(Reason::Unnamed),
            Some(Ok((text, _))) => name = Some(text.clone()),
        }
        let of_documents = documents.iter().filter(|(_, read)| read.is_err()).count() as u64;
        if of_documents > 0 {
            reasons.push(Reason::Documents(of_documents));
        }
        let other_sort = documents.iter().filter(|(c, _)| *c != compressed).count()
            + usize::from(metadata[usize::from(!compressed)].is_some());
        if other_sort > 0 {
            reasons.push(Reason::Mixed(other_sort as u64));
        }
        let health = if is_quarantined(folder) {
            Health::Quarantined
        } else if metadata == [None, None] && documents.is_empty() {
            Health::Empty
        } else if reasons.is_empty() {
            Health::Healthy
        } else {
            Health::Corrupt
        };
        let mut dimensions = BTreeMap::new();
        known.iter().for_each(|document| *dimensions.entry(document.dimensions).or_default() += 1);
        let described = metadata.into_iter().flatten().flatten().map(|(_, digest)| *digest);
        Self {
            folder: folder.to_vec(),
            name,
            health,
            reasons,
            compressed,
            documents: known.len() as u64,
            unreadable,
            dimensions,
            misnamed: known.iter().filter(|document| !document.well_named).count() as u64,
            digest: digest_of(described.chain(known.iter().map(|document| document.digest))),
            embeddings: digest_of(known.iter().map(|document| document.embedding)),
        }
    }

    /// Whether the folder has the name that chromem-go gives to this collection; so if nobody knows its name.
    #[must_use]
    pub fn well_named(&self) -> bool {
        let last = self.folder.rsplit(|b| *b == b'/').next().unwrap_or_default();
        self.name.as_ref().is_none_or(|name| hash_of_name(name).as_bytes() == last)
    }

    /// How it is and why, in words.
    #[must_use]
    pub fn state(&self) -> String {
        let reasons: Vec<_> = self.reasons.iter().map(ToString::to_string).collect();
        let because = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
        format!("{}{because}", self.health.name())
    }
}

/// Whether a folder lies in contextd's quarantine.
fn is_quarantined(folder: &[u8]) -> bool {
    folder.split(|b| *b == b'/').any(|part| part == QUARANTINE)
}

/// One digest of many, whatever their order.
fn digest_of(digests: impl Iterator<Item = Digest>) -> Digest {
    let mut sorted: Vec<_> = digests.collect();
    sorted.sort_unstable();
    let mut hasher = Hasher::default();
    let mut hex = Vec::with_capacity(64);
    for digest in sorted {
        hex.clear();
        digest.push_hex(&mut hex);
        hasher.update(&hex);
    }
    hasher.finish()
}

/// The name of a collection's folder, or the beginning of the name of a document's file: eight hex digits.
#[must_use]
pub fn hash_of_name(name: &[u8]) -> String {
    let mut hex = Digest::of(name).to_string();
    hex.truncate(8);
    hex
}
