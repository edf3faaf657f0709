//! Backup and disaster recovery for self-hosted stacks, in files that need nobody's tool to be restored.
//!
//! Data goes one way through the rooms of this crate:
//!
//! ```text
//! bin → cli → engine → {source, repo, index} → archive → model
//! ```
//!
//! `create` walks the sources and joins the walk with the last index in path order. What is unchanged is referenced;
//! what is changed is read, hashed, packed into tar members, compressed as independent frames by all cores, sealed and
//! written in order. The index, the manifest, the digests and the signature follow, and one rename publishes the whole.
//!
//! # Use
//!
//! A [`Session`] is a repository as one [`Host`] sees it; its methods are the verbs.
//!
//! ```
//! use ccbackup::{ComponentConfig, CreateOptions, Host, Recorder, RestoreOptions, Session, Signer, VerifyOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! # std::fs::create_dir(dir.join("app"))?;
//! # std::fs::write(dir.join("app/settings.yaml"), "color: green")?;
//! let monitor = Recorder::default();
//! let signer = Signer::generate(&dir.join("signer"))?;
//! let session = Session::open_or_create(&dir.join("backups"), Host::new(dir.join("state"), Some(signer)), false)?;
//! let app = ComponentConfig::of_files("app", vec![dir.join("app")]);
//! let options = CreateOptions { components: vec![app], ..CreateOptions::default() };
//! let id = session.create(&options, &monitor)?.id;
//! assert!(session.verify(&id, &VerifyOptions::default(), &monitor)?.ok);
//! let restored = session.restore(&id, &dir.join("out"), RestoreOptions::default(), &monitor)?;
//! assert!(restored.findings.is_empty() && restored.problems.is_empty());
//! # assert_eq!(std::fs::read(dir.join("out/app/app/settings.yaml"))?, b"color: green");
//! # // Reading alone needs no signer, only the knowledge whom to believe.
//! # let signers = session.trust.signers.clone();
//! # let trust = ccbackup::Trust { signers, ..Default::default() };
//! # let reader = Session::open(&dir.join("backups"), Host::new(dir.join("elsewhere"), None), trust, Default::default())?;
//! # assert_eq!(reader.latest()?.0.id, id);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Archives are not sealed there; a [`Sealer`] in the options seals them. The stable contracts are the command line, its
//! JSON and the repository format (docs/FORMAT.md), not this API.

pub mod archive;
pub mod cli;
pub mod config;
pub mod credential;
pub mod durable;
pub mod engine;
pub mod environment;
pub mod error;
pub mod http;
pub mod index;
pub mod keys;
pub mod model;
pub mod monitor;
pub mod page_cache;
pub mod process;
pub mod rate_limit;
pub mod repo;
pub mod secret;
pub mod source;
mod threads;
pub mod vectorstore;

pub use archive::seal::Sealer;
pub use config::ComponentConfig;
pub use engine::create::{CreateOptions, CreateReport};
pub use engine::restore::{RestoreOptions, RestorePlan, RestoreReport};
pub use engine::select::Selection;
pub use engine::verify::{Depth, Finding, FindingKind, VerifyOptions, VerifyReport};
pub use engine::{Host, Session};
pub use error::{Error, Kind, Result};
pub use keys::Keys;
pub use model::{BackupId, Problem, ProblemKind};
pub use monitor::{Monitor, Recorder};
pub use repo::backup::Trust;
pub use repo::signing::{Signer, SignerKey};
