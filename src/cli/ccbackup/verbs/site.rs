//! What most verbs need first: the repository, the keys of this host, whom to trust.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::ccbackup::args::BackupRef;
use crate::cli::{Context, Terminal};
use crate::config::{Config, SignerRef};
use crate::durable::Disk;
use crate::engine::Clock;
use crate::engine::chain::Chain;
use crate::error::{Error, Kind, Result, path_text};
use crate::keys::{Keys, generate_identity, recipients_of};
use crate::model::BackupId;
use crate::repo::backup::Trust;
use crate::repo::catalog::Catalog;
use crate::repo::places::{Places, joined};
use crate::repo::signing::{Signer, SignerKey};
use crate::repo::state::LocalState;
use crate::repo::{Repository, read_small};

/// Backups that were passed over and are named.
const SHOWN_PASSED_OVER: usize = 5;

/// An opened repository with all that reading it takes.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) repo: Repository,
    pub(super) state: LocalState,
    pub(super) keys: Keys,
    pub(super) trust: Trust,
    terminal: Terminal,
}

impl Site {
    /// Opens the repository that is meant.
    pub(super) fn open(context: &Context) -> Result<Self> {
        let config = context.config()?;
        let (repo, id) = open_repository(context, &config)?;
        let state = LocalState::new(&context.home.state_dir()?, &id, Disk::default());
        let keys = keys(context)?;
        let trust = trust(context, &config, &state, &keys)?;
        Ok(Self { repo, state, keys, trust, terminal: context.terminal.clone() })
    }

    /// The backup that is meant. Says so when `latest` is not the last that is listed, or not the last that was made.
    pub(super) fn resolve(&self, id: &BackupRef) -> Result<BackupId> {
        let catalog = Catalog::load(&self.repo)?;
        if !id.is_latest() {
            return catalog.resolve(id.as_str());
        }
        // Notes that are lost are no reason not to look.
        let head = self.state.head().unwrap_or_default();
        let latest = catalog.latest(&self.repo, &self.trust, head.as_ref())?;
        for passed_over in latest.passed_over.iter().take(SHOWN_PASSED_OVER) {
            let (id, why) = (&passed_over.id, passed_over.why.one_line());
            self.terminal.warn(&format!("backup {id} does not count, though it claims to be newer: {why}"));
        }
        if let Some(head) = head.filter(|head| catalog.backups.iter().all(|b| b.id != head.id)) {
            self.terminal.warn(&format!(
                "backup {}, the last that this host made, is not in the repository; the latest is {}",
                head.id, latest.id
            ));
        }
        Ok(latest.id)
    }

    /// The backup that is meant with all it depends on.
    pub(super) fn chain(&self, id: &BackupRef) -> Result<Arc<Chain>> {
        Chain::open(&self.repo, &self.resolve(id)?, &self.trust, self.keys.clone())
    }
}

/// Opens the repository that is meant, and says which it is, as far as it says so itself or this host knows. Where this
/// host knows another at this place, it says so.
fn open_repository(context: &Context, config: &Config) -> Result<(Repository, String)> {
    let root = context.repository(config)?;
    let known = context.home.state_dir().map(|dir| Places::new(&dir, Disk::default()).known(&root)).unwrap_or_default();
    let was_here = || format!("this host has written to the repository {} at {}", joined(&known), path_text(&root));
    let repo = match Repository::open_to_read(&root) {
        Err(e) if e.kind() == Kind::NotFound && !known.is_empty() => {
            return Err(e.hint(format!("{}: is its disk mounted?", was_here())));
        }
        other => other?,
    };
    let id = repo.record().repository_id.clone();
    if let Some(fault) = repo.fault() {
        context.terminal.warn(&format!("{fault}; what is signed can be read without it"));
        let id = if known.len() == 1 { known.into_iter().next().unwrap_or(id) } else { id };
        return Ok((repo, id));
    }
    if !known.is_empty() && !known.contains(&id) {
        context.terminal.warn(&format!("this is the repository {id}; {}", was_here()));
    }
    Ok((repo, id))
}

/// The key files that were named, else those of this host; none is fine until something has to be opened.
pub(super) fn keys(context: &Context) -> Result<Keys> {
    let named = context.identities();
    let files: Vec<PathBuf> = if named.is_empty() {
        let own = [context.home.identity(), context.home.aes_key()];
        own.into_iter().filter_map(Result::ok).filter(|path| path.exists()).collect()
    } else {
        named
    };
    let keys = if files.is_empty() { Keys::none() } else { Keys::load(&files)? };
    keys.warnings().iter().for_each(|warning| context.terminal.warn(warning));
    Ok(keys)
}

/// Whom to believe: those who were named; else this host itself, those pinned for the repository, and those whom an
/// identity file names. Never anybody whom only the repository names.
fn trust(context: &Context, config: &Config, state: &LocalState, keys: &Keys) -> Result<Trust> {
    let mut signers = named_signers(context, config)?;
    if signers.is_empty() {
        if let Some(own) = own_signer(context)? {
            signers.push(own.public());
        }
        signers.extend(state.pinned()?);
        for text in keys.signers() {
            signers.push(text.parse()?);
        }
    }
    let mut seen = std::collections::HashSet::new();
    signers.retain(|key| seen.insert(key.to_string()));
    Ok(Trust { signers, allow_unsigned: context.global.allow_unsigned })
}

pub(super) fn named_signers(context: &Context, config: &Config) -> Result<Vec<SignerKey>> {
    let mut keys = Vec::new();
    for named in context.signers(config)? {
        match named {
            SignerRef::Key(text) => keys.push(text.parse()?),
            SignerRef::File(path) => {
                let text = String::from_utf8(read_small(&path)?)
                    .map_err(|_| Error::usage(format!("{} is not a file of public keys", path_text(&path))))?;
                let before = keys.len();
                // A line of allowed_signers has the principal and options before the key.
                let lines = text.lines().filter_map(|line| line.find("ssh-ed25519 ").map(|at| &line[at..]));
                for line in lines.filter(|line| !line.starts_with('#')) {
                    keys.push(line.parse()?);
                }
                if keys.len() == before {
                    return Err(Error::usage(format!("{} names no ssh-ed25519 public key", path_text(&path))));
                }
            }
        }
    }
    Ok(keys)
}

/// The signer of this host, if it has one.
pub(super) fn own_signer(context: &Context) -> Result<Option<Signer>> {
    match context.home.signer() {
        Ok(path) if path.exists() => Signer::load(&path).map(Some),
        _ => Ok(None),
    }
}

/// The signer of this host, made if there is none. The flag tells that it is new.
pub(super) fn make_signer(context: &Context) -> Result<(Signer, bool)> {
    match own_signer(context)? {
        Some(signer) => Ok((signer, false)),
        None => Ok((Signer::generate(&context.home.signer()?)?, true)),
    }
}

/// Makes the identity of this host; the file also names the signer, so that it alone opens and trusts a repository.
fn make_identity(context: &Context, signer: &SignerKey) -> Result<String> {
    let path = context.home.identity()?;
    let recipient = generate_identity(&path, Some(&signer.to_string()), Clock::System.now())?;
    context.terminal.warn(&format!(
        "a new identity was made in {}\nIt is the only key that opens these backups. Copy it to another place now, off this machine:\n  \
         ccbackup key export --secret\nWithout a copy, losing this machine means losing the backups too.",
        path_text(&path)
    ));
    Ok(recipient)
}

/// The public halves of this host's identity, which is made for a signer if there is none.
pub(super) fn own_recipients(context: &Context, signer: Option<&SignerKey>) -> Result<Vec<String>> {
    match (context.home.identity(), signer) {
        (Ok(path), _) if path.exists() => recipients_of(&path),
        (_, Some(signer)) => Ok(vec![make_identity(context, signer)?]),
        (_, None) => Ok(Vec::new()),
    }
}
