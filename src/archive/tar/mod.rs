//! Tar members.
