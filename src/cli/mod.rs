//! Shared by the binaries.
