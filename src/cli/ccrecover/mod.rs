//! `ccrecover`: its verbs are listed, and refused until they are built.

mod args;

pub use args::{Recover, RecoverVerb};
