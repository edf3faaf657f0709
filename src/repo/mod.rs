//! Repositories: what lies where, which backups count, and how a new one is published (FORMAT.md §3, §10).

pub mod backup;
pub mod catalog;
mod layout;
mod lock;
pub mod places;
pub mod publish;
mod repository;
pub mod signing;
pub mod state;
mod untrusted;

pub use layout::{
    ALLOWED_SIGNERS_FILE, INCOMPLETE_PREFIX, LATEST_GOOD_LINK, LATEST_LINK, LOCK_FILE, MANIFEST_FILE, REPOSITORY_FILE,
    SIGNATURE_FILE, SUMS_FILE,
};
pub use lock::LockGuard;
pub use repository::Repository;
pub use untrusted::{MAX_SMALL_FILE_BYTES, read_small};
