//! Names in a repository (FORMAT.md §3).

/// Name of the repository's own record.
pub const REPOSITORY_FILE: &str = "repository.json";
/// Convenience copy of the signers' public keys.
pub const ALLOWED_SIGNERS_FILE: &str = "allowed_signers";
/// Link to the newest backup.
pub const LATEST_LINK: &str = "latest";
/// Link to the newest backup that holds all that was expected.
pub const LATEST_GOOD_LINK: &str = "latest-good";
/// Held with `flock` while something is written.
pub const LOCK_FILE: &str = ".lock";
/// What staging folders begin with.
pub const INCOMPLETE_PREFIX: &str = ".incomplete-";

/// The signed list of a backup's files.
pub const SUMS_FILE: &str = "SHA256SUMS";
/// Its signature; also the commit marker where rename does not exist.
pub const SIGNATURE_FILE: &str = "SHA256SUMS.sig";
/// The table of contents.
pub const MANIFEST_FILE: &str = "manifest.json";
