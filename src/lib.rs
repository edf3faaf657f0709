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
//! The stable contracts are the command line, its JSON and the repository format (docs/FORMAT.md), not this API.

pub mod archive;
pub mod cli;
pub mod config;
pub mod durable;
pub mod engine;
pub mod error;
pub mod index;
pub mod keys;
pub mod model;
pub mod monitor;
pub mod page_cache;
pub mod rate_limit;
pub mod repo;
pub mod source;
mod threads;

pub use error::{Error, Kind, Result};
