//! Writing into a restore target.
