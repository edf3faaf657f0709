//! What most verbs need first: the repository, the keys of this host, whom to trust.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Context;
use crate::cli::ccbackup::args::BackupRef;
use crate::config::{Config, SignerRef};
use crate::engine::chain::Chain;
use crate::engine::{Clock, Host, Session};
use crate::error::{Error, Result, path_text};
use crate::keys::{Keys, generate_identity, recipients_of};
use crate::model::BackupId;
use crate::repo::backup::Trust;
use crate::repo::catalog::SHOWN_PASSED_OVER;
use crate::repo::read_small;
use crate::repo::signing::{Signer, SignerKey};

/// Opens the repository that is meant, to read it.
pub(super) fn open(context: &Context) -> Result<Session> {
    let config = context.config()?;
    let location = context.repository(&config)?;
    let signers = named_signers(context, &config)?;
    let trust = Trust { signers, allow_unsigned: context.global.allow_unsigned };
    // Whoever names somebody does not depend on what this host is.
    let own = if trust.signers.is_empty() { own_signer(context)? } else { None };
    let session = Session::open(&location, host(context, own)?, trust, keys(context)?)?;
    session.warnings.iter().for_each(|warning| context.terminal.warn(warning));
    Ok(session)
}

/// This host, with the signer that it has.
pub(super) fn host(context: &Context, signer: Option<Signer>) -> Result<Host> {
    let environment = context.environment.variables.clone();
    Ok(Host { environment, ..Host::new(context.dirs.state_dir()?, signer) })
}

/// The backup that is meant. Says so when `latest` is not the last that is listed, or not the last that was made.
pub(super) fn resolve(context: &Context, session: &Session, id: &BackupRef) -> Result<BackupId> {
    if id.is_latest_good() {
        return session.latest_good();
    }
    if !id.is_latest() {
        return session.find(id.as_str());
    }
    let (latest, gone) = session.latest()?;
    for passed_over in latest.passed_over.iter().take(SHOWN_PASSED_OVER) {
        let (id, why) = (&passed_over.id, passed_over.why.one_line());
        context.terminal.warn(&format!("backup {id} does not count, though it claims to be newer: {why}"));
    }
    if let Some(gone) = gone {
        let gone = format!("backup {gone}, the last that this host made, is not in the repository");
        context.terminal.warn(&format!("{gone}; the latest is {}", latest.id));
    }
    Ok(latest.id)
}

/// The backup that is meant with all it depends on.
pub(super) fn chain(context: &Context, session: &Session, id: &BackupRef) -> Result<Arc<Chain>> {
    session.chain(&resolve(context, session, id)?)
}

/// The key files that were named, else those of this host; none is fine until something has to be opened.
pub(super) fn keys(context: &Context) -> Result<Keys> {
    let named = context.identities();
    let files: Vec<PathBuf> = if named.is_empty() {
        let own = [context.dirs.identity(), context.dirs.aes_key()];
        own.into_iter().filter_map(Result::ok).filter(|path| path.exists()).collect()
    } else {
        named
    };
    let keys = if files.is_empty() { Keys::none() } else { Keys::load(&files)? };
    keys.warnings().iter().for_each(|warning| context.terminal.warn(warning));
    Ok(keys)
}

/// Whom the command line and the configuration name.
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
    match context.dirs.signer() {
        Ok(path) if path.exists() => Signer::load(&path).map(Some),
        _ => Ok(None),
    }
}

/// The signer of this host, made if there is none. The flag tells that it is new.
pub(super) fn make_signer(context: &Context) -> Result<(Signer, bool)> {
    match own_signer(context)? {
        Some(signer) => Ok((signer, false)),
        None => Ok((Signer::generate(&context.dirs.signer()?)?, true)),
    }
}

/// Makes the identity of this host; the file also names the signer, so that it alone opens and trusts a repository.
fn make_identity(context: &Context, signer: &SignerKey) -> Result<String> {
    let path = context.dirs.identity()?;
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
    match (context.dirs.identity(), signer) {
        (Ok(path), _) if path.exists() => recipients_of(&path),
        (_, Some(signer)) => Ok(vec![make_identity(context, signer)?]),
        (_, None) => Ok(Vec::new()),
    }
}
