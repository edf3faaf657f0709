//! Zstd frames and the seek table.
