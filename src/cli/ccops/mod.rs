//! `ccops`: its verbs are listed, and refused until they are built.

mod args;

pub use args::{Ops, OpsVerb};
