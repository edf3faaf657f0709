//! The verbs.

pub mod target;
